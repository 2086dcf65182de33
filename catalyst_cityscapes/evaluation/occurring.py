"""Scores whose means leave out the classes that do not occur, as mmsegmentation 1.2.2 computes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semseg_ref.base.errors import OptionError, did_you_mean

METRICS = {"mIoU": ("IoU", "Acc"), "mDice": ("Dice", "Acc"), "mFscore": ("Fscore", "Precision", "Recall")}
"""What each metric gives a class; `aAcc`, the share of correct pixels, comes always."""


@dataclass(frozen=True)
class OccurringScores:
    """Scores over the classes that occur.

    Attributes:
        aAcc: share of correct pixels, float32, 0..1; nan where no pixel counts.
        classes: `IoU`, `Acc` and so on: float32 [K], 0..1, nan where the class gives none.
        summary: the same in percent, rounded to two decimals: `aAcc`, and `m` with each name of `classes`, its mean
            without the nan; nan where nothing is left.
        absent: indices of the classes that are in no label and no prediction; their IoU is nan.
    """

    aAcc: np.float32  # noqa: N815 - its usual name
    classes: dict[str, np.ndarray]
    summary: dict[str, float]
    absent: tuple[int, ...]

    def mean(self, name: str) -> float:
        """Mean of a name of `classes` over those that have one, float32's value in 0..1, not rounded."""
        return float(_mean(self.classes[name]))


def mmseg_iou(
    areas: np.ndarray, metrics: str | Sequence[str] = ("mIoU",), nan_to_num: float | None = None, beta: float = 1
) -> OccurringScores:
    """mmsegmentation's scores of a set of images.

    Where `semseg_ref.metric` counts a class that never occurs as 0, here it is left out of the means. One that is
    predicted but in no label has an IoU of 0, which counts, and no accuracy.

    Numeric: areas are summed image by image in float32, as there; above 2^24 pixels a class that rounds, by 3e-7 of the
    sum after 500 images.

    Args:
        areas: pixels, [n, 4, K] or, of one image, [4, K]: rows intersection, union, prediction, label, without the
            ignored pixels.
        metrics: of `METRICS`, one or several.
        nan_to_num: put in the place of each nan before the means are taken; None leaves them out.
        beta: weight of recall in the F-score.

    Raises:
        OptionError: an unknown metric, or areas of another shape, or an intersection that is larger than its union.
    """
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    for metric in metrics:
        if metric not in METRICS:
            raise OptionError(f"metric '{metric}'{did_you_mean(str(metric), METRICS)}")
    areas = np.asarray(areas)
    if areas.ndim == 2:
        areas = areas[None]
    if areas.ndim != 3 or areas.shape[1] != 4 or not len(areas):
        raise OptionError(f"areas {areas.shape}: expected [images, 4, classes] with at least one image")
    if (areas[:, 0] > areas[:, 1]).any():
        raise OptionError(
            "areas: an intersection (row 0) is larger than its union (row 1); expected rows intersection, union, "
            "prediction, label"
        )
    totals = np.zeros(areas.shape[1:], np.float32)
    for each in areas.astype(np.float32):
        totals += each
    intersection, union, predicted, labelled = totals
    with np.errstate(divide="ignore", invalid="ignore"):
        correct = intersection.sum() / labelled.sum()
        precision, recall = intersection / predicted, intersection / labelled
        weight = np.float32(beta**2)
        known = {
            "IoU": intersection / union,
            "Acc": recall,
            "Dice": 2 * intersection / (predicted + labelled),
            "Fscore": (1 + weight) * precision * recall / (weight * precision + recall),
            "Precision": precision,
            "Recall": recall,
        }
    classes = {name: known[name] for metric in metrics for name in METRICS[metric]}
    if nan_to_num is not None:
        correct = np.nan_to_num(correct, nan=nan_to_num)
        classes = {name: np.nan_to_num(values, nan=nan_to_num) for name, values in classes.items()}
    means = {"aAcc": correct} | {f"m{name}": _mean(values) for name, values in classes.items()}
    summary = {name: float(np.round(100 * np.float32(value), 2)) for name, value in means.items()}
    return OccurringScores(np.float32(correct), classes, summary, tuple(np.flatnonzero(union == 0).tolist()))


def areas_of_matrices(matrices: np.ndarray) -> np.ndarray:
    """The areas that `mmseg_iou` takes, int64 [n, 4, K], of confusion matrices int64 [n, K, K], rows label."""
    intersection = np.diagonal(matrices, axis1=1, axis2=2)
    predicted, labelled = matrices.sum(axis=1), matrices.sum(axis=2)
    return np.stack([intersection, predicted + labelled - intersection, predicted, labelled], axis=1)


def _mean(values: np.ndarray) -> np.float32:
    kept = values[~np.isnan(values)]
    return kept.mean(dtype=np.float32) if len(kept) else np.float32(np.nan)
