"""From a checkpoint to a model that loads it: by its names, or by the shapes of its tensors."""
