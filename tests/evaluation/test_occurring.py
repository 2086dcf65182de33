"""Scores without the classes that do not occur, against mmsegmentation's own files; and beside ours in a test."""

import numpy as np
import pytest

from catalyst_cityscapes.evaluation import mmseg_iou
from semseg_ref.base.errors import OptionError
from support.golden.inputs import load_golden
from support.golden.mmseg_checks import check_iou, check_iou_of_sums

CASES = ("iou_k19", "iou_k19_absent", "iou_k5_absent", "iou_k19_all_metrics", "iou_k19_nan_to_num0", "iou_all_ignored")


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_against_mmsegmentation(case):
    check_iou(load_golden(f"mmseg/{case}.npz"))


@pytest.mark.golden
def test_areas_are_summed_in_float32():
    check_iou_of_sums(load_golden("mmseg/iou_float32_accumulation.json"))


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
    with pytest.raises(OptionError, match="an intersection \\(row 0\\) is larger than its union"):
        mmseg_iou([[3, 0], [2, 0], [2, 0], [2, 0]])
    assert mmseg_iou(np.ones((4, 3)), "mDice").classes.keys() == {"Dice", "Acc"}
    for shape in ((3, 4), (0, 4, 3), (2, 3, 5)):
        with pytest.raises(OptionError, match=r"^areas \(.*\): expected \[images, 4, classes\]"):
            mmseg_iou(np.ones(shape))
