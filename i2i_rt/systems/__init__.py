"""The systems of the papers: which networks make one, its losses and training step, and its stages."""
