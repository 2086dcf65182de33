"""Measurements of ours against the control arm, in turns in one process."""
