"""Fits of the model's constants to measurements, with their uncertainty."""
