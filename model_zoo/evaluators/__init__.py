"""Scores out: a model names the class of its evaluator in `get_evaluator`."""
