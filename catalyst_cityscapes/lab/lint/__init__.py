"""Findings about a recipe before it is trained: rules over measured facts, one module a theme."""

DRAWS, SAMPLES = 40, 8
"""Draws of the augmentation and training samples, unless told; here, so that `lint --help` imports no rule."""
