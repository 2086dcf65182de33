"""Scores without the classes that do not occur, against mmsegmentation's own files; and beside ours in a test."""

import numpy as np
import pytest

from catalyst_cityscapes.evaluation import mmseg_iou
from catalyst_cityscapes.evaluation.occurring import areas_of_matrices
from semseg_ref.base.errors import OptionError
from semseg_ref.metric import confusion_matrix
from support.golden.inputs import load_golden

CASES = ("iou_k19", "iou_k19_absent", "iou_k5_absent", "iou_k19_all_metrics", "iou_k19_nan_to_num0", "iou_all_ignored")


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_against_mmsegmentation(case):
    golden = load_golden(f"mmseg/{case}.npz")
    meta = golden["meta"]
    pairs = [(golden[f"pred_{seed}"], golden[f"label_{seed}"]) for seed in meta["seeds"]]
    matrices = np.stack([confusion_matrix(prediction, label, meta["K"]) for prediction, label in pairs])
    areas = areas_of_matrices(matrices)
    found = mmseg_iou(areas, meta["iou_metrics"], meta["nan_to_num"])

    np.testing.assert_array_equal(areas, golden["areas"])
    assert set(found.classes) == {key.removeprefix("full_") for key in golden if key.startswith("full_")} - {"aAcc"}
    for name, values in found.classes.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, golden[f"full_{name}"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.aAcc, golden["full_aAcc"], rtol=0, atol=1e-6)
    assert set(found.summary) >= set(meta["result"])
    for name, value in meta["result"].items():
        assert found.summary[name] == pytest.approx(value, abs=0.011, nan_ok=True), name
    if meta["nan_to_num"] is None and case != "iou_all_ignored":
        absent = np.flatnonzero(golden["areas"][:, 1].sum(axis=0) == 0)
        assert found.absent == tuple(absent)
        assert np.isnan(found.classes["IoU"][absent]).all()


@pytest.mark.golden
def test_areas_are_summed_in_float32():
    golden = load_golden("mmseg/iou_float32_accumulation.json")
    rng = np.random.default_rng(golden["seed"])
    intersection = rng.integers(0, 60000, (500, 19))
    extra = rng.integers(0, 60000, (500, 2, 19))
    intersection[:, 0] += 800000
    label, predicted = intersection + extra[:, 0], intersection + extra[:, 1]
    areas = np.stack([intersection, label + predicted - intersection, predicted, label], axis=1)
    found = mmseg_iou(areas)

    assert found.classes["IoU"].tolist() == golden["iou"]
    assert found.classes["Acc"].tolist() == golden["acc"]
    assert found.summary == golden["result"]
    assert found.classes["IoU"].tolist() != np.float32(golden["iou_exact"]).tolist()


def test_a_class_that_is_predicted_only_counts_as_0():
    """And has no accuracy: so the two means are over different classes, as there."""
    found = mmseg_iou([[8, 0, 0], [10, 2, 0], [8, 2, 0], [10, 0, 0]])
    np.testing.assert_array_equal(found.classes["IoU"], np.float32([0.8, 0, np.nan]))
    np.testing.assert_array_equal(found.classes["Acc"], np.float32([0.8, np.nan, np.nan]))
    assert found.absent == (2,)
    assert found.summary == {"aAcc": 80.0, "mIoU": 40.0, "mAcc": 80.0}
    assert found.mean("IoU") == np.float32(0.4)


def test_what_is_no_metric_and_no_areas_is_refused():
    with pytest.raises(OptionError, match=r"^metric 'mIOU'; did you mean 'mIoU'\?$"):
        mmseg_iou(np.ones((4, 3)), ["mIOU"])
    for shape in ((3, 4), (0, 4, 3), (2, 3, 5)):
        with pytest.raises(OptionError, match=r"^areas \(.*\): expected \[images, 4, classes\]"):
            mmseg_iou(np.ones(shape))
