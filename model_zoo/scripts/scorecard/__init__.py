"""What every model of the zoo does on every target, measured on this machine and kept beside the models."""
