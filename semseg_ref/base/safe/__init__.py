"""Readers of files that others wrote: bounded, and running no code."""
