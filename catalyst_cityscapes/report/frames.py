"""The worst and the best frames of a score, as small pictures in data URIs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from catalyst_cityscapes.recipe.schema import Data
from catalyst_cityscapes.report.picture import COLUMNS, image_miou
from catalyst_cityscapes.report.run_record import ScoreRecord
from semseg_ref.base.errors import InputError
from semseg_ref.dataset import make_dataset, read_image, read_label
from semseg_ref.evaluation import output_names
from semseg_ref.metric import EPSILON

LARGEST_SIDE = 512
ERROR_COLORS = np.array([(225, 225, 225), (205, 40, 40), (0, 0, 0)], np.uint8)
"""Right, wrong, ignored."""


@dataclass(frozen=True)
class Frame:
    """A frame: rank from 1, name, own scores 0..1, pictures as (title, data URI), or why there are none."""

    rank: int
    name: str
    miou: float
    accuracy: float
    pictures: tuple[tuple[str, str], ...]
    problem: str = ""


def ranked_frames(
    score: ScoreRecord, data: Data | None, colors: np.ndarray, most: int = 10
) -> tuple[list[Frame], list[Frame]]:
    """The worst frames, worst first, and the best ones, best first, by each image's own mIoU; no frame is in both.

    Args:
        score: with its per-image matrices.
        data: where the images and labels are; None: no pictures.
        colors: uint8 [K, 3].
        most: of either; fewer than twice as many images are shared out.
    """
    mious = np.array([image_miou(matrix) for matrix in score.matrices])
    order = np.argsort(mious, kind="stable")
    worst = order[: min(most, -(-len(order) // 2))]
    best = order[::-1][: min(most, len(order) - len(worst))]
    pairs, problem = _pairs(score, data)

    def frame(rank: int, index: int) -> Frame:
        matrix, name = score.matrices[index], score.images[index]
        accuracy = float(np.trace(matrix) / (matrix.sum() + EPSILON))
        pictures, trouble = (), problem
        if not problem:
            try:
                pictures = _pictures(score, name, pairs, colors)
            except (InputError, ValueError) as error:
                trouble = str(error)
        return Frame(rank, name, float(mious[index]), accuracy, pictures, trouble)

    return tuple([frame(rank, i) for rank, i in enumerate(chosen, start=1)] for chosen in (worst, best))


def _pairs(score: ScoreRecord, data: Data | None) -> tuple[dict[str, tuple[str, str]], str]:
    """(image, label) paths by prediction name, and why there are none."""
    if data is None:
        return {}, "the recipe could not be read"
    try:
        pairs = make_dataset("val", data.root, score.content.list or data.val_list)
        return dict(zip(output_names(pairs), pairs, strict=True)), ""
    except InputError as error:
        return {}, str(error)


def _pictures(
    score: ScoreRecord, name: str, pairs: dict[str, tuple[str, str]], colors: np.ndarray
) -> tuple[tuple[str, str], ...]:
    if name not in pairs:
        raise InputError("not in the list file any more")
    image_path, label_path = pairs[name]
    image, label = read_image(image_path).astype(np.uint8), read_label(label_path)
    # `name` is one of `output_names` now, a bare file name, so this stays in the folder.
    prediction = read_label(score.path.parent / "gray" / name)
    if not image.shape[:2] == label.shape == prediction.shape:
        raise InputError(
            f"image {image.shape[:2]}, label {label.shape} and prediction {prediction.shape} differ in size"
        )
    counted = label < len(colors)
    error = np.where(counted, (prediction != label).astype(np.uint8), np.uint8(2))
    uris = (
        photo_uri(image),
        labels_uri(label, colors),
        labels_uri(prediction, colors),
        labels_uri(error, ERROR_COLORS),
    )
    return tuple(zip(COLUMNS, uris, strict=True))


def _size(shape: Sequence[int]) -> tuple[int, int]:
    factor = min(LARGEST_SIDE / max(shape[:2]), 1.0)
    return max(round(shape[1] * factor), 1), max(round(shape[0] * factor), 1)


def photo_uri(image: np.ndarray) -> str:
    """An image uint8 [H, W, 3], RGB, as a JPEG data URI, at most 512 pixels a side."""
    small = cv2.resize(image, _size(image.shape), interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def labels_uri(label: np.ndarray, colors: np.ndarray) -> str:
    """Class ids uint8 [H, W] as a palette PNG data URI, at most 512 pixels a side; ids without a colour are black."""
    small = cv2.resize(label, _size(label.shape), interpolation=cv2.INTER_NEAREST)
    image = Image.fromarray(np.minimum(small, len(colors)).astype(np.uint8))
    palette = Image.frombytes("P", image.size, image.tobytes())
    palette.putpalette([*colors.ravel().tolist(), 0, 0, 0])
    buffer = io.BytesIO()
    palette.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
