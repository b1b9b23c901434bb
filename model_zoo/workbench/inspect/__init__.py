"""`model-zoo inspect`: everything that is in a checkpoint."""
