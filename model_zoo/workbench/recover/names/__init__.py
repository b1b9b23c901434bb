"""Which known constructor gives a module with the names and shapes of a checkpoint."""
