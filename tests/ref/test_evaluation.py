"""Scores of predictions in a folder against the reference's accuracy log, and the score file."""

import json

import numpy as np
import pytest
from PIL import Image

from semseg_ref import evaluation as E
from semseg_ref.base.errors import DataError, OptionError
from semseg_ref.catalog import load_names
from semseg_ref.protocol import Protocol
from support.golden.inputs import load_golden

CASES = ["landscape_ss", "landscape_ms", "portrait_ms", "small_padded", "three_images", "zoom1"]
SMALL = Protocol((17, 25), 60)


@pytest.fixture
def predicted(tmp_path):
    """Writes a golden's predictions and labels; returns (gray folder, data list)."""

    def write(golden):
        pairs = []
        (tmp_path / "gray").mkdir()
        entries = golden["meta"]["images"]
        for index, entry in enumerate(entries):
            suffix = f"_{index}" if len(entries) > 1 else ""
            label_path = tmp_path / f"label{suffix}.png"
            Image.fromarray(golden[f"label{suffix}"]).save(label_path)
            Image.fromarray(golden[f"gray{suffix}"]).save(tmp_path / "gray" / entry["output_png"])
            pairs.append((f"/data/{entry['rel_path']}", str(label_path)))
        return tmp_path / "gray", pairs

    return write


@pytest.mark.parametrize("case", CASES)
def test_accuracy_and_log_lines(predicted, case):
    golden = load_golden(f"tester_{case}")
    names = load_names("cityscapes_names.txt", 19)
    done = []
    evaluation = E.evaluate_folder(*predicted(golden), 19, names, progress=lambda *args: done.append(args))
    areas = E.areas_from_matrix(evaluation.matrices.sum(axis=0))
    for area, name in zip(areas, ("inter", "union", "target"), strict=True):
        np.testing.assert_array_equal(area, golden[f"acc_sum_{name}"])
    for name in ("iou_class", "accuracy_class", "mIoU", "mAcc", "allAcc"):
        np.testing.assert_array_equal(getattr(evaluation, name), golden[name])
    assert E.format_report(evaluation) == golden["cal_acc_log"].tolist()
    assert E.format_report(evaluation, per_image=False) == golden["cal_acc_log"].tolist()[-20:]
    assert [name for _, _, name in done] == list(evaluation.images)


def test_names_end_at_the_first_dot_and_may_not_collide():
    assert E.output_name("img/aachen/a.b_000001.png") == "a.png"
    with pytest.raises(DataError, match="first dot"):
        E.output_name("img/.png")
    with pytest.raises(DataError, match=r"x/a\.1\.png and y/a\.png would both be predicted into a\.png"):
        E.output_names([("x/a.1.png", ""), ("b.png", ""), ("y/a.png", "")])


def test_evaluation_errors(tmp_path):
    def evaluate(prediction, label, classes=3, ignore_index=255, names=("a", "b", "c")):
        Image.fromarray(np.uint8(prediction)).save(tmp_path / "x.png")
        Image.fromarray(np.uint8(label)).save(tmp_path / "label.png")
        pairs = [("x.jpg", str(tmp_path / "label.png"))]
        return E.evaluate_folder(tmp_path, pairs, classes, names, ignore_index)

    assert evaluate([[0, 1], [2, 2]], [[0, 1], [255, 2]]).mIoU == pytest.approx(1)
    with pytest.raises(DataError, match=r"label\.png: values 7"):
        evaluate([[0, 1]], [[0, 7]])
    with pytest.raises(DataError, match=r"x\.png: class 3, expected 0\.\.2"):
        evaluate([[0, 3]], [[0, 1]])
    with pytest.raises(DataError, match="differs"):
        evaluate([[0, 1]], [[0, 1, 1]])
    with pytest.raises(OptionError, match="2 class names, expected 3"):
        evaluate([[0]], [[0]], names=("a", "b"))
    with pytest.raises(DataError, match=r"size \(1, 1\) differs from .*label\.png, \(1, 2\)"):
        evaluate([[0]], [[0, 0]])
    with pytest.raises(OptionError, match="ignore_label 1 is a class"):
        evaluate([[0]], [[0]], ignore_index=1)
    with pytest.raises(DataError, match="no images"):
        E.evaluate_folder(tmp_path, [], 3, "abc")
    with pytest.raises(DataError, match=r"gone\.png: cannot be read"):
        E.evaluate_folder(tmp_path, [("gone.png", str(tmp_path / "label.png"))], 3, "abc")


def test_score_file(tmp_path):
    matrices = np.array([[[3, 1], [0, 4]], [[2, 0], [2, 0]]])
    evaluation = E.evaluation_from_matrices(matrices, ["a.png", "b.png"], ["x", "y"])
    (tmp_path / "w.pth").write_bytes(b"weights")
    content = E.write_score(tmp_path / "s" / "score.json", evaluation, SMALL, tmp_path / "w.pth", {"seed": 3})
    assert json.loads((tmp_path / "s" / "score.json").read_text()) == content
    assert content["mIoU"] == pytest.approx((5 / 8 + 4 / 7) / 2)
    assert content["classes"][1] == {
        "name": "y",
        "iou": pytest.approx(4 / 7),
        "accuracy": pytest.approx(4 / 6),
        "pixels": 6,
    }
    assert (content["images"], content["seed"]) == (2, 3)
    assert content["protocol"]["hash"] == SMALL.hash
    assert Protocol.from_dict({k: v for k, v in content["protocol"].items() if k != "hash"}) == SMALL
    assert content["checkpoint"]["sha256"] == E.file_sha256(tmp_path / "w.pth")
    assert set(content["versions"]) == {"torch", "numpy", "cv2"}
    with np.load(tmp_path / "s" / content["matrices"]) as archive:
        np.testing.assert_array_equal(archive["matrices"], matrices)
        assert archive["images"].tolist() == ["a.png", "b.png"]
        assert archive["names"].tolist() == ["x", "y"]
    assert len(list((tmp_path / "s").iterdir())) == 2


def test_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        E.replace_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
