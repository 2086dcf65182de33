"""Scores of predictions that lie in a folder as grey PNGs, and the score file.

The arithmetic and the wording are the reference's. Where the reference silently miscounts a label or a prediction
outside the classes, this is an error that names the file.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from semseg_ref.base.errors import DataError, OptionError
from semseg_ref.base.files import file_sha256, replace_atomically
from semseg_ref.base.image_format import check_pair_formats, read_format
from semseg_ref.dataset import check_label_values, read_label
from semseg_ref.metric import EPSILON, Scores, areas_from_matrix, confusion_matrix, scores_from_areas
from semseg_ref.protocol import Protocol


def output_name(image_path: str | Path) -> str:
    """File name of an image's prediction: the last part of its path up to the **first** dot, and `.png` (as in the
    reference: `img/a.b_c.png` -> `a.png`).

    Raises:
        DataError: nothing stands before the first dot.
    """
    stem = os.path.basename(str(image_path)).split(".")[0]
    if not stem:
        raise DataError(f"{image_path}: no name for its prediction, which is what stands before the first dot")
    return f"{stem}.png"


def output_names(data_list: Sequence[tuple[str, str]]) -> list[str]:
    """`output_name` of every (image, label) pair.

    Raises:
        DataError: two images would get the same name, so that one prediction would overwrite the other (the reference
            lets it).
    """
    owners: dict[str, str] = {}
    for image_path, _ in data_list:
        name = output_name(image_path)
        if name in owners:
            raise DataError(
                f"{owners[name]} and {image_path} would both be predicted into {name} (a name ends at its first dot, "
                "folders do not count); rename one of them"
            )
        owners[name] = image_path
    return list(owners)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a set of images.

    `matrices` has one confusion matrix an image, int64 [n, K, K], rows target, columns prediction; `scores` come from
    their sum; `images` are the predictions' file names, in the same order; `names` the K class names.
    """

    scores: Scores
    matrices: np.ndarray
    images: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def iou_class(self) -> np.ndarray:
        """IoU of each class, float64 [K]."""
        return self.scores.iou_class

    @property
    def accuracy_class(self) -> np.ndarray:
        """Accuracy (recall) of each class, float64 [K]."""
        return self.scores.accuracy_class

    @property
    def mIoU(self) -> float:  # noqa: N802 - the field's name
        """Mean IoU over all K classes, 0..1."""
        return self.scores.mIoU

    @property
    def mAcc(self) -> float:  # noqa: N802
        """Mean accuracy over all K classes, 0..1."""
        return self.scores.mAcc

    @property
    def allAcc(self) -> float:  # noqa: N802
        """Share of correct pixels, 0..1."""
        return self.scores.allAcc


def evaluation_from_matrices(matrices: np.ndarray, images: Sequence[str], names: Sequence[str]) -> Evaluation:
    """Evaluation of per-image confusion matrices, int64 [n, K, K]."""
    scores = scores_from_areas(*areas_from_matrix(matrices.sum(axis=0)))
    return Evaluation(scores, matrices, tuple(images), tuple(names))


def check_labels(data_list: Sequence[tuple[str, str]], classes: int, ignore_index: int = 255) -> None:
    """Reads every label, so that a bad one is found before hours of prediction and not after.

    Raises:
        DataError: a missing or unreadable label, values outside the classes, or a label that does not lie on its image.
    """
    for image_path, path in data_list:
        check_pair_formats(read_format(image_path), read_format(path), (image_path, path))
        check_label_values(read_label(path), classes, ignore_index, path)


def score_prediction(
    prediction: np.ndarray,
    label: np.ndarray,
    classes: int,
    ignore_index: int,
    paths: tuple[str | Path, str | Path],
) -> np.ndarray:
    """Confusion matrix int64 [classes, classes], rows label, columns prediction.

    Args:
        prediction, label: uint8 [H, W].
        classes: number of classes.
        ignore_index: label value of pixels that do not count.
        paths: of the prediction and of the label, for the messages.

    Raises:
        DataError: sizes that differ, or values outside the classes.
    """
    prediction_path, label_path = paths
    if prediction.shape != label.shape:
        raise DataError(f"{prediction_path}: size {prediction.shape} differs from {label_path}, {label.shape}")
    check_label_values(label, classes, ignore_index, label_path)
    if prediction.max() >= classes:
        raise DataError(f"{prediction_path}: class {prediction.max()}, expected 0..{classes - 1}")
    return confusion_matrix(prediction, label, classes, ignore_index)


def evaluate_folder(
    gray_folder: str | Path,
    data_list: Sequence[tuple[str, str]],
    classes: int,
    names: Sequence[str],
    ignore_index: int = 255,
    progress: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Compares `<gray_folder>/<name>.png` with the label of every (image, label) pair.

    Args:
        gray_folder: folder of predictions, uint8 class indices.
        data_list: (image path, label path) pairs.
        classes: number of classes.
        names: their names.
        ignore_index: label value of pixels that do not count; outside 0..classes-1.
        progress: called with (images done, images, prediction's name) after each image.

    Raises:
        OptionError: not `classes` names, or an `ignore_index` that is a class.
        DataError: an empty list, a missing or unreadable file, sizes that differ, values outside the classes, two
            images of one name.
    """
    if len(names) != classes:
        raise OptionError(f"{len(names)} class names, expected {classes}")
    if 0 <= ignore_index < classes:
        raise OptionError(f"ignore_label {ignore_index} is a class; expected a value outside 0..{classes - 1}")
    if not data_list:
        raise DataError(f"{gray_folder}: no images to evaluate")
    images = output_names(data_list)
    matrices = np.empty((len(images), classes, classes), np.int64)
    for index, (name, (_, label_path)) in enumerate(zip(images, data_list, strict=True)):
        prediction_path = Path(gray_folder) / name
        matrices[index] = score_prediction(
            read_label(prediction_path), read_label(label_path), classes, ignore_index, (prediction_path, label_path)
        )
        if progress is not None:
            progress(index + 1, len(images), name)
    return evaluation_from_matrices(matrices, images, names)


def format_report(evaluation: Evaluation, per_image: bool = True) -> list[str]:
    """The reference's log lines of an evaluation: one an image (its own accuracy), the means, one a class."""
    lines = []
    total = len(evaluation.images)
    if per_image:
        for index, (name, matrix) in enumerate(zip(evaluation.images, evaluation.matrices, strict=True), start=1):
            accuracy = np.trace(matrix) / (matrix.sum() + EPSILON)
            lines.append(f"Evaluating {index}/{total} on image {name}, accuracy {accuracy:.4f}.")
    lines.append(f"Eval result: mIoU/mAcc/allAcc {evaluation.mIoU:.4f}/{evaluation.mAcc:.4f}/{evaluation.allAcc:.4f}.")
    for index, name in enumerate(evaluation.names):
        iou, accuracy = evaluation.iou_class[index], evaluation.accuracy_class[index]
        lines.append(f"Class_{index} result: iou/accuracy {iou:.4f}/{accuracy:.4f}, name: {name}.")
    return lines


def write_score(
    path: str | Path,
    evaluation: Evaluation,
    protocol: Protocol | None = None,
    checkpoint: str | Path | None = None,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a score file (JSON) and, beside it under the suffix `.npz`, the per-image confusion matrices.

    Both are written to a temporary name and renamed; the JSON file comes last, so that it never lacks its matrices.

    Args:
        path: the JSON file, e.g. `score.json`.
        evaluation: the scores.
        protocol: how the predictions were made; None when that is not known.
        checkpoint: file of the network's weights, recorded with its sha256; None when that is not known.
        extra: more entries, JSON values.

    Returns:
        The JSON file's content: mIoU, mAcc, allAcc, images, classes (name, iou, accuracy, pixels), protocol (its values
        and `hash`), checkpoint (path, sha256), versions, matrices (file name; arrays `matrices` int64 [n, K, K],
        `images`, `names`), and the entries of `extra`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = areas_from_matrix(evaluation.matrices.sum(axis=0))[2]
    table = zip(evaluation.names, evaluation.iou_class, evaluation.accuracy_class, pixels, strict=True)
    matrices_path = path.with_suffix(".npz")
    content = {
        "mIoU": evaluation.mIoU,
        "mAcc": evaluation.mAcc,
        "allAcc": evaluation.allAcc,
        "images": len(evaluation.images),
        "classes": [
            {"name": name, "iou": float(iou), "accuracy": float(accuracy), "pixels": int(count)}
            for name, iou, accuracy, count in table
        ],
        "protocol": None if protocol is None else {**protocol.to_dict(), "hash": protocol.hash},
        "checkpoint": None if checkpoint is None else {"path": str(checkpoint), "sha256": file_sha256(checkpoint)},
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "cv2": cv2.__version__},
        "matrices": matrices_path.name,
        **(extra or {}),
    }
    arrays = {"matrices": evaluation.matrices, "images": evaluation.images, "names": evaluation.names}
    replace_atomically(matrices_path, lambda file: np.savez_compressed(file, **arrays))
    text = json.dumps(content, indent=1) + "\n"
    replace_atomically(path, lambda file: file.write(text.encode()))
    return content
