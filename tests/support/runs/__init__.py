"""Trainings, labs and the one way to call the command line."""
