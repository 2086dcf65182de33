"""Timings against the control arm, in turns in one process."""
