"""Findings about a recipe before it is trained: rules over measured facts, one module a theme."""
