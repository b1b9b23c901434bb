"""Any file that holds a model, read as data: nothing in it is imported or run, and torch only to give tensors."""
