"""Official checkpoints become bundles: a file a family of systems, `table.import_checkpoint` for all."""
