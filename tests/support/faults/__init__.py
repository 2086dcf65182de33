"""Faults that are planted, and files that are hostile."""
