"""Devices, links and clusters: what the estimator runs on, and what it costs."""
