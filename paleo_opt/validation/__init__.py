"""Predicted against measured: tables of published figures, what the model says of each, and how far it is from them."""
