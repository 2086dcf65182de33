"""Our own scores beside the official ones, from the same exported predictions and the same label images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalyst_cityscapes.evaluation.label_ids import (
    CLASSES,
    NO_PREDICTION,
    label_table,
    read_prediction,
    to_label_ids,
    write_label_ids,
)
from catalyst_cityscapes.evaluation.official import (
    OfficialScores,
    Progress,
    check_instances,
    official_module,
    run_official,
)
from catalyst_cityscapes.evaluation.predictions import TRAIN_IDS, beside
from semseg_ref.base.errors import DataError
from semseg_ref.base.files import create_folder
from semseg_ref.dataset import read_label
from semseg_ref.metric import scores_from_areas

TOLERANCE = 1e-9


@dataclass(frozen=True)
class OwnCounts:
    """Our counts of a set of images.

    Attributes:
        matrices: int64 [n, 19, 20], rows labels, columns predictions, both in train ids; the last column counts pixels
            without a prediction, which are wrong for the class that they are of, and no other class's.
        differing: images whose `labelTrainIds` differ from their `labelIds` (first path, images, pixels), or None.
    """

    matrices: np.ndarray
    differing: tuple[Path, int, int] | None


@dataclass(frozen=True)
class Comparison:
    """Own and official scores of the same predictions, classes in the order of train ids.

    Attributes:
        names: of the 19 classes.
        own: our IoU float64 [19]; a class that is nowhere counts as 0.
        official: the script's IoU float64 [19]; nan for a class that is nowhere.
        accuracy: our accuracy (recall) float64 [19].
        means: our `mIoU` over all 19 classes, `mIoU present` without those that are nowhere, `mAcc`, `allAcc`.
        scores: all that the script says.
        counts: our pixel counts.
        images: names of the predictions.
    """

    names: tuple[str, ...]
    own: np.ndarray
    official: np.ndarray
    accuracy: np.ndarray
    means: dict[str, float]
    scores: OfficialScores
    counts: OwnCounts
    images: tuple[str, ...]

    @property
    def difference(self) -> np.ndarray:
        """own - official, float64 [19]; nan for a class that is nowhere."""
        return self.own - self.official

    @property
    def largest_difference(self) -> float:
        """Largest absolute difference over the classes that occur."""
        found = np.abs(self.difference[~np.isnan(self.official)])
        return float(found.max()) if found.size else 0.0


def count_image(prediction: np.ndarray, train_ids: np.ndarray) -> np.ndarray:
    """Pixel counts int64 [19, 20] of one image, without the pixels whose label is ignored.

    Args:
        prediction: uint8 [H, W], train ids 0..18 or 255 (no prediction), counted in the last column.
        train_ids: uint8 [H, W], 0..18 or 255 (ignored).
    """
    counted = train_ids != NO_PREDICTION
    columns = prediction[counted].astype(np.int64)
    columns[columns == NO_PREDICTION] = CLASSES
    cells = train_ids[counted].astype(np.int64) * (CLASSES + 1) + columns
    return np.bincount(cells, minlength=CLASSES * (CLASSES + 1)).reshape(CLASSES, CLASSES + 1)


def export_and_count(pairs: Sequence[tuple[Path, Path]], folder: Path) -> tuple[list[Path], OwnCounts]:
    """Writes each prediction as label ids into `folder` under its own name, and counts it against its label.

    Args:
        pairs: (prediction in train ids, label in label ids) files.
        folder: created when needed; other PNG files in it are removed.

    Returns:
        The written files, in order, and the counts.

    Raises:
        DataError: unreadable files, values that no train id has, sizes that differ.
    """
    table = label_table()
    create_folder(folder)
    wanted = {prediction.name for prediction, _ in pairs}
    for path in folder.glob("*.png"):
        if path.name not in wanted:
            path.unlink()
    matrices = np.empty((len(pairs), CLASSES, CLASSES + 1), np.int64)
    first, images, pixels = None, 0, 0
    for index, (prediction_path, label_path) in enumerate(pairs):
        prediction, label_ids = read_prediction(prediction_path), read_label(label_path)
        if prediction.shape != label_ids.shape:
            raise DataError(
                f"{prediction_path}: size {prediction.shape[0]} x {prediction.shape[1]}, expected that of "
                f"{label_path}, {label_ids.shape[0]} x {label_ids.shape[1]}"
            )
        train_ids = table.train_id_of[label_ids]
        matrices[index] = count_image(prediction, train_ids)
        train_path = beside(label_path, TRAIN_IDS)
        if train_path.is_file():
            drawn = read_label(train_path)
            wrong = int((drawn != train_ids).sum()) if drawn.shape == train_ids.shape else drawn.size
            if wrong:
                first, images, pixels = first or train_path, images + 1, pixels + wrong
        write_label_ids(to_label_ids(prediction), folder / prediction_path.name)
    differing = None if first is None else (first, images, pixels)
    return [folder / prediction.name for prediction, _ in pairs], OwnCounts(matrices, differing)


def compare(
    pairs: Sequence[tuple[Path, Path]], folder: Path, instances: bool = True, progress: Progress | None = None
) -> Comparison:
    """Scores predictions both ways.

    Args:
        pairs: (prediction in train ids, label in label ids) files.
        folder: for the exported label ids.
        instances: with the instance-weighted scores.
        progress: of the official script, called with (images done, images).

    Raises:
        DataError, InputError: see `export_and_count`, `run_official`.
        AssertionError: the two disagree by more than 1e-9 on a class: a bug of this project or of the script.
    """
    official_module()
    if instances:
        check_instances([label for _, label in pairs])
    exported, counts = export_and_count(pairs, folder)
    labels = [label for _, label in pairs]
    scores = run_official(list(zip(exported, labels, strict=True)), instances, progress)
    matrix = counts.matrices.sum(axis=0)
    intersection, target = matrix.diagonal(), matrix.sum(axis=1)
    union = target + matrix[:, :CLASSES].sum(axis=0) - intersection
    own = scores_from_areas(intersection, union, target)
    names = label_table().names
    comparison = Comparison(
        names=names,
        own=own.iou_class,
        official=np.array([scores.classes[name] for name in names]),
        accuracy=own.accuracy_class,
        means={
            "mIoU": own.mIoU,
            "mIoU present": float(own.iou_class[union > 0].mean()) if union.any() else math.nan,
            "mAcc": own.mAcc,
            "allAcc": own.allAcc,
        },
        scores=scores,
        counts=counts,
        images=tuple(path.name for path in exported),
    )
    if comparison.largest_difference > TOLERANCE or (np.isnan(comparison.official) != (union == 0)).any():
        raise AssertionError(
            f"own and official scores disagree: {dict(zip(names, comparison.difference, strict=True))}"
        )
    return comparison


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values; what is nowhere is null."""
    scores = comparison.scores
    rows = zip(comparison.names, comparison.own, comparison.official, comparison.accuracy, strict=True)
    return {
        "images": len(comparison.images),
        "cityscapesscripts": scores.version,
        "means": {name: _number(value) for name, value in scores.means.items()},
        "own": {name: _number(value) for name, value in comparison.means.items()},
        "largest_difference": comparison.largest_difference,
        "classes": [
            {
                "name": name,
                "iou": _number(float(official)),
                "own_iou": float(own),
                "difference": _number(float(own - official)),
                "iiou": _number(scores.class_instances.get(name, math.nan)),
                "own_accuracy": float(accuracy),
            }
            for name, own, official, accuracy in rows
        ],
        "categories": [
            {"name": name, "iou": _number(iou), "iiou": _number(scores.category_instances.get(name, math.nan))}
            for name, iou in scores.categories.items()
        ],
        "unpredicted_pixels": int(comparison.counts.matrices[:, :, CLASSES].sum()),
    }
