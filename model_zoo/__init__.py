"""model_zoo: put neural networks on Snapdragon NPUs, from your own machine."""

__version__ = "0.1.0"
