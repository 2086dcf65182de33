"""Trainings, finished runs and labs."""
