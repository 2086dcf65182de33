"""Data sets for tests."""
