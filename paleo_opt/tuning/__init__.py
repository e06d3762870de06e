"""Tuning by real runs: the estimator ranks and vetoes, the command runs, and what it reports corrects the estimator."""
