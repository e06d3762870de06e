"""Settings of the whole suite: property tests draw the same examples on every run, and no terminal is of note."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("fixed")

# Of the terminal that the tests were started in; processes that share them are told another.
os.environ.pop("COLUMNS", None)
