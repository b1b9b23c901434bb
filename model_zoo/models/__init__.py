"""One folder for each model."""

import logging

# Importing transformers imports torchao where that is installed, and torch then warns of torchao's own registrations.
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
