"""Measurements on the machine at hand, with PyTorch: single operations, collectives, and steps of a network."""
