"""Tables and pictures of scores."""

import io

import cv2
import numpy as np
import pytest
from rich.console import Console

from catalyst_cityscapes.recipe.schema import Expected
from catalyst_cityscapes.report.picture import colorize, error_map, image_miou, save_comparison
from catalyst_cityscapes.report.table import print_score, verdict
from semseg_ref.evaluation import evaluation_from_matrices
from semseg_ref.metric import confusion_matrix

COLORS = np.array([[128, 64, 128], [70, 130, 180], [0, 0, 142]], np.uint8)
NAMES = ("road", "sky", "car")
PUBLISHED = Expected(mIoU=0.773, tolerance=0.01, source="README")


def score(**values) -> dict:
    """The content of a score file."""
    classes = [
        {"name": "road", "iou": 0.75, "accuracy": 0.875, "pixels": 1000},
        {"name": "sky", "iou": 0.5, "accuracy": 0.625, "pixels": 234},
        {"name": "car", "iou": 0.0, "accuracy": 0.0, "pixels": 0},
    ]
    return {
        "experiment": "pspnet50",
        "epoch": 200,
        "images": 500,
        "mIoU": 0.7712,
        "mAcc": 0.8,
        "allAcc": 0.9,
        "classes": classes,
        "protocol": {"name": "semseg-ss", "hash": "0123456789ab"},
        "limit": None,
        **values,
    }


def printed(*arguments) -> str:
    """What `print_score` writes on a wide terminal."""
    stream = io.StringIO()
    print_score(*arguments, console=Console(file=stream, width=100))
    return stream.getvalue()


# -- the table -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("miou", "expected"),
    [
        (0.7712, "within 0.0100 of the published 0.7730 (-0.0018; README)"),
        (0.7820, "within 0.0100 of the published 0.7730 (+0.0090; README)"),
        (0.7390, "0.0340 below the published 0.7730 (README)"),
        (0.7959, "0.0229 above the published 0.7730 (README)"),
        (0.7830, "within 0.0100 of the published 0.7730 (+0.0100; README)"),
    ],
)
def test_verdict(miou, expected):
    assert verdict(miou, PUBLISHED) == expected


def test_the_table_has_a_row_a_class_the_means_and_the_protocol():
    text = printed(score())
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.count("│") >= 4}
    assert [cell.strip() for cell in rows["road"].split("│")[2:5]] == ["0.7500", "0.8750", "1,000"]
    assert [cell.strip() for cell in rows["car"].split("│")[2:5]] == ["0.0000", "absent", "0"]
    assert [cell.strip() for cell in rows["mean"].split("│")[2:5]] == ["0.7712", "0.8000", "1,234"]
    for part in ("pspnet50, epoch 200, 500 images", "semseg-ss 0123456789ab", "mIoU/mAcc/allAcc 0.7712/0.8000/0.9000"):
        assert part in text
    assert "published" not in text


def test_the_published_number_is_shown_for_the_whole_list_only():
    assert "within 0.0100 of the published 0.7730" in printed(score(), PUBLISHED)
    assert "published" not in printed(score(limit=10), PUBLISHED)


# -- the picture ---------------------------------------------------------------------------------------------------
def test_colorize():
    label = np.array([[0, 1, 2, 255, 3]], np.uint8)
    assert colorize(label, COLORS).tolist() == [[[128, 64, 128], [70, 130, 180], [0, 0, 142], [0, 0, 0], [0, 0, 0]]]


def test_error_map():
    label = np.array([[0, 1, 2, 255]], np.uint8)
    prediction = np.array([[0, 2, 2, 1]], np.uint8)
    found = error_map(prediction, label, 3)
    right, wrong, ignored = (225, 225, 225), (205, 40, 40), (0, 0, 0)
    assert [tuple(pixel) for pixel in found[0].tolist()] == [right, wrong, right, ignored]


def test_image_miou_leaves_absent_classes_out():
    label, prediction = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert image_miou(confusion_matrix(prediction, label, 3)) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert image_miou(np.zeros((3, 3), np.int64)) == 0.0


def frames(folder, count: int):
    """`count` frames of 40 x 60 pixels whose predictions are worse and worse, with their evaluation."""
    (folder / "gray").mkdir()
    pairs, matrices = [], []
    for index in range(count):
        label = np.zeros((40, 60), np.uint8)
        label[:20], label[30:, 20:40] = 1, 2
        label[:, :2] = 255
        prediction = np.where(label == 255, 0, label).astype(np.uint8)
        prediction[:, 60 - 8 * index :] = 2
        image = np.dstack([np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))] * 3)
        paths = (folder / f"frame{index}_image.png", folder / f"frame{index}_label.png")
        cv2.imwrite(str(paths[0]), image)
        cv2.imwrite(str(paths[1]), label)
        cv2.imwrite(str(folder / "gray" / f"frame{index}_image.png"), prediction)
        pairs.append(tuple(map(str, paths)))
        matrices.append(confusion_matrix(prediction, label, 3))
    names = [f"frame{index}_image.png" for index in range(count)]
    return pairs, evaluation_from_matrices(np.stack(matrices), names, NAMES)


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 2), (5, 3)])
def test_the_sheet_has_a_row_a_chosen_frame(tmp_path, count, rows):
    pairs, evaluation = frames(tmp_path, count)
    path = save_comparison(pairs, tmp_path / "gray", COLORS, NAMES, tmp_path / "sheet.png", evaluation)
    assert path == tmp_path / "sheet.png"
    sheet = cv2.imread(str(path))[:, :, ::-1].astype(int)
    colors = {tuple(color) for color in sheet.reshape(-1, 3).tolist()}
    assert {tuple(color) for color in COLORS.tolist()} <= colors
    assert (225, 225, 225) in colors
    assert ((205, 40, 40) in colors) == (count > 1)  # frame 0 is predicted without an error
    # Truth and prediction are drawn side by side once in each row: runs of rows that show the class of the sky.
    shown = np.abs(sheet - COLORS[1]).sum(axis=2).min(axis=1) == 0
    runs = np.diff(np.r_[0, shown.astype(int)]) == 1
    assert runs.sum() == rows + 1  # and once in the legend


def test_the_sheet_takes_the_worst_and_the_best_frame(tmp_path, monkeypatch):
    from catalyst_cityscapes.report import picture

    pairs, evaluation = frames(tmp_path, 5)
    read = []
    monkeypatch.setattr(picture, "read_image", lambda path: read.append(path) or cv2.imread(path).astype(np.float32))
    save_comparison(pairs, tmp_path / "gray", COLORS, NAMES, tmp_path / "sheet.png", evaluation)
    assert [path.rsplit("/", 1)[1] for path in read] == ["frame4_image.png", "frame2_image.png", "frame0_image.png"]
