"""Schedules as pure functions of the position in the training; the callbacks that write them are in `callbacks`."""

from catalyst_cityscapes.schedules.mmseg import mmseg_rate
from catalyst_cityscapes.schedules.one_cycle import one_cycle
from catalyst_cityscapes.schedules.phases import Constant, Cosine, Exponential, LinearWarmup, Poly, Step
from catalyst_cityscapes.schedules.poly import poly_learning_rate

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "LinearWarmup",
    "Poly",
    "Step",
    "mmseg_rate",
    "one_cycle",
    "poly_learning_rate",
]
