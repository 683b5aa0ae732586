"""The training loop, its data and its checkpoints; knows systems, not papers."""
