"""Intersection over union and accuracy from areas that are summed over the data set, as in the reference.

A class that never occurs counts as 0 in the means, as it does there.
"""

from dataclasses import dataclass

import numpy as np
import torch

from semseg_ref.base.errors import OptionError

EPSILON = 1e-10


def check_ignored_value(ignore_index: int, classes: int, key: str) -> None:
    """Raises OptionError, naming `key`, for an ignored value that is a class.

    The loss would leave its pixels out, while the scores below count such a class each in its own way.
    """
    if 0 <= ignore_index < classes:
        raise OptionError(
            f"{key}: {ignore_index} is one of the {classes} classes (0..{classes - 1}); expected a value that is none, "
            "as 255, which the labels then hold where nothing is to be learnt"
        )


def _areas(values: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class, int64 [classes]; the last histogram bin is closed: `classes` counts as `classes - 1`."""
    kept = values[(values >= 0) & (values <= classes)]
    counts = np.bincount(kept, minlength=classes + 1)
    counts[classes - 1] += counts[classes]
    return counts[:classes]


def intersection_and_union(
    output: np.ndarray, target: np.ndarray, classes: int, ignore_index: int = 255
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The reference's numpy metric (its tester's). Works on copies.

    Predictions are ignored where the target is. A stray value `classes` is counted as class `classes - 1` (the closed
    last bin of a histogram), larger and negative ones are dropped. An `ignore_index` within 0..classes is counted like
    a class.

    Args:
        output: predicted class indices, integers of 1 to 3 dimensions.
        target: class indices of the same shape.
        classes: number of classes.
        ignore_index: target value of pixels that do not count.

    Returns:
        Areas of intersection, union and target in pixels, each int64 [classes].

    Raises:
        ValueError: shapes differ, or the arrays have not 1 to 3 dimensions.
    """
    if output.ndim not in (1, 2, 3) or output.shape != target.shape:
        raise ValueError(f"output {output.shape} and target {target.shape}: expected one shape of 1 to 3 dimensions")
    output = output.astype(np.int64).ravel()
    target = target.astype(np.int64).ravel()
    output[target == ignore_index] = ignore_index
    intersection = _areas(output[output == target], classes)
    area_target = _areas(target, classes)
    union = _areas(output, classes) + area_target - intersection
    return intersection, union, area_target


def intersection_and_union_torch(
    output: torch.Tensor, target: torch.Tensor, classes: int, ignore_index: int = 255
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference's torch metric (its training loop's).

    **Overwrites `output` in place** with `ignore_index` where the target is ignored, as the reference does. All values
    outside 0..classes-1 are dropped.

    Args:
        output: predicted class indices, 1 to 3 dimensions, any device.
        target: class indices of the same shape on the same device.
        classes: number of classes.
        ignore_index: target value of pixels that do not count.

    Returns:
        Areas of intersection, union and target, each [classes]: float32 on the CPU, where `torch.histc` has no integer
        kernel (exact up to 2**24 pixels a class), else of the inputs' integer type.

    Raises:
        ValueError: shapes differ, or the tensors have not 1 to 3 dimensions.
    """
    if output.dim() not in (1, 2, 3) or output.shape != target.shape:
        raise ValueError(
            f"output {tuple(output.shape)} and target {tuple(target.shape)}: expected one shape of 1 to 3 dimensions"
        )
    output[target == ignore_index] = ignore_index
    intersection = output[output == target]

    def areas(values: torch.Tensor) -> torch.Tensor:
        if values.device.type == "cpu":
            values = values.float()
        return torch.histc(values, bins=classes, min=0, max=classes - 1)

    area_intersection = areas(intersection)
    area_target = areas(target)
    return area_intersection, areas(output) + area_target - area_intersection, area_target


def confusion_matrix(output: np.ndarray, target: np.ndarray, classes: int, ignore_index: int = 255) -> np.ndarray:
    """Pixel counts int64 [classes, classes], rows target, columns prediction, without the ignored pixels.

    Args:
        output: predicted class indices, integers of any shape, 0..classes-1 where the target is not ignored.
        target: class indices of the same shape, 0..classes-1 or `ignore_index`.
        classes: number of classes.
        ignore_index: target value of pixels that do not count.

    Raises:
        ValueError: shapes differ, or a value that counts lies outside 0..classes-1.
    """
    if output.shape != target.shape:
        raise ValueError(f"output {output.shape} and target {target.shape}: expected the same shape")
    counted = target != ignore_index
    rows, columns = target[counted].astype(np.int64), output[counted].astype(np.int64)
    for name, values in (("target", rows), ("output", columns)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise ValueError(f"{name} holds values {values.min()}..{values.max()}, expected 0..{classes - 1}")
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def areas_from_matrix(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Areas of intersection, union and target, each [K], from a confusion matrix [K, K] (rows target)."""
    intersection = np.diagonal(matrix).copy()
    target = matrix.sum(axis=1)
    return intersection, target + matrix.sum(axis=0) - intersection, target


@dataclass(frozen=True)
class Scores:
    """Scores in 0..1: IoU and accuracy (recall) of each class [K], their means, and the share of correct pixels."""

    iou_class: np.ndarray
    accuracy_class: np.ndarray
    mIoU: float  # noqa: N815 - the field's name
    mAcc: float  # noqa: N815
    allAcc: float  # noqa: N815


def scores_from_areas(intersection: np.ndarray, union: np.ndarray, target: np.ndarray) -> Scores:
    """The reference's scores from summed areas [K]; every ratio has 1e-10 added to its denominator.

    Computed in the areas' precision: float64 for integer areas, float32 for float32 ones.
    """
    iou_class = intersection / (union + EPSILON)
    accuracy_class = intersection / (target + EPSILON)
    return Scores(
        iou_class=iou_class,
        accuracy_class=accuracy_class,
        mIoU=float(np.mean(iou_class)),
        mAcc=float(np.mean(accuracy_class)),
        allAcc=float(sum(intersection) / (sum(target) + EPSILON)),
    )


class AverageMeter:
    """Running sum and mean of a number or an array.

    `val` is the last value, `sum` the sum of value x weight, `count` the sum of weights, `avg` their ratio.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.val: float | np.ndarray = 0
        self.sum: float | np.ndarray = 0
        self.count: float = 0
        self.avg: float | np.ndarray = 0

    def update(self, val: float | np.ndarray, n: float = 1) -> None:
        """Adds `val` with weight `n`."""
        self.val = val
        self.sum = self.sum + val * n
        self.count += n
        self.avg = self.sum / self.count
