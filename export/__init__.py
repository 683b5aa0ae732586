"""From a bundle to exported graphs, and the proof that they give the same pictures."""
