"""One sheet of image, truth, prediction and error for the worst, a middle and the best frame."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from catalyst_cityscapes.report.figure import fitted, save_png
from semseg_ref.dataset import read_image, read_label
from semseg_ref.evaluation import Evaluation, output_name
from semseg_ref.metric import areas_from_matrix

COLUMNS = ("image", "truth", "prediction", "error")


def colorize(label: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """uint8 [H, W] class ids as an RGB picture uint8 [H, W, 3]; ids without a colour (ignored pixels) are black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table[label]


def error_map(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """RGB picture uint8 [H, W, 3]: red where the prediction is wrong, light grey where right, black where ignored."""
    valid = label < classes
    picture = np.zeros((*label.shape, 3), np.uint8)
    picture[valid & (prediction == label)] = (225, 225, 225)
    picture[valid & (prediction != label)] = (205, 40, 40)
    return picture


def image_miou(matrix: np.ndarray) -> float:
    """mIoU of one image's confusion matrix over the classes that occur in it or in its prediction, 0..1."""
    intersection, union, _ = areas_from_matrix(matrix)
    present = union > 0
    return float((intersection[present] / union[present]).mean()) if present.any() else 0.0


def save_comparison(
    pairs: Sequence[tuple[str, str]],
    gray_folder: Path,
    colors: np.ndarray,
    names: Sequence[str],
    path: Path,
    evaluation: Evaluation,
    rows: int = 3,
) -> Path:
    """Writes the sheet as a PNG and returns its path.

    Args:
        pairs: (image path, label path), in the evaluation's order.
        gray_folder: predictions.
        colors, names: of the K classes.
        path: the PNG.
        evaluation: decides which frames: evenly spaced from the lowest to the highest per-image mIoU.
        rows: number of frames.
    """
    scores = [image_miou(matrix) for matrix in evaluation.matrices]
    ranked = np.argsort(scores)
    chosen = [ranked[i] for i in np.unique(np.linspace(0, len(ranked) - 1, rows).astype(int))]
    first = read_label(pairs[0][1])
    width, legend_columns = 3.4, 10
    height = width * first.shape[0] / first.shape[1] + 0.28
    legend_height = 0.2 * -(-len(names) // legend_columns) + 0.1
    figure = Figure(figsize=(4 * width, len(chosen) * height + legend_height))
    axes = figure.subplots(len(chosen), 4, squeeze=False)
    used: set[int] = set()
    for row, index in zip(axes, chosen, strict=True):
        image_path, label_path = pairs[index]
        label, prediction = read_label(label_path), read_label(gray_folder / output_name(image_path))
        used |= {int(v) for v in np.union1d(label, prediction) if v < len(names)}
        pictures = (
            read_image(image_path).astype(np.uint8),
            colorize(label, colors),
            colorize(prediction, colors),
            error_map(prediction, label, len(names)),
        )
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_title(f"{Path(image_path).name.split('.')[0]}   mIoU {scores[index]:.3f}", fontsize=8, loc="left")
        for axis, column in zip(row[1:], COLUMNS[1:], strict=True):
            axis.set_title(column, fontsize=8, loc="left")
    patches = [Patch(color=colors[i] / 255, label=fitted(names[i])) for i in sorted(used)]
    figure.legend(handles=patches, loc="lower center", ncol=legend_columns, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, legend_height / figure.get_figheight(), 1, 1))
    save_png(figure, path, dpi=110)
    return path
