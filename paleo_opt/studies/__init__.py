"""Optuna studies: what one searches, running it, keeping it in a file or database, and sharing it with workers."""
