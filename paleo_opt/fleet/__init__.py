"""One training job on nodes of several kinds: uneven micro-batches, or pipeline stages on different devices."""
