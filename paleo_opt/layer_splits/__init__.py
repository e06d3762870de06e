"""Each layer of a network split in its own way over the devices of a cluster."""
