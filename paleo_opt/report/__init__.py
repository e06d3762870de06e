"""Answers as text and JSON; nothing else in the package knows that a terminal exists."""
