"""The networks, a family a file: config, module, and the reading of official checkpoints' keys beside each."""
