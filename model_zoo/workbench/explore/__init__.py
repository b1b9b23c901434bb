"""Explore: run a model file on this machine, measure it, and report what was found."""
