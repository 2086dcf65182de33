"""Schedules as pure functions of the position in the training; the callbacks that write them are in `callbacks`."""

from catalyst_cityscapes.schedules.one_cycle import one_cycle
from catalyst_cityscapes.schedules.poly import poly_learning_rate

__all__ = ["one_cycle", "poly_learning_rate"]
