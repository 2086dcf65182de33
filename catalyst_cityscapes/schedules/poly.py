"""The poly schedule: the reference's own, so that both arms compute it with the same operations."""

from semseg_ref.schedule import poly_learning_rate

__all__ = ["poly_learning_rate"]
