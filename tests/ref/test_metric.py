"""Areas and scores against the reference's metric functions."""

import numpy as np
import pytest
import torch

from semseg_ref.metric import (
    AverageMeter,
    areas_from_matrix,
    confusion_matrix,
    intersection_and_union,
    intersection_and_union_torch,
    scores_from_areas,
)
from support.golden.inputs import load_golden

CASES = ["iou_k19", "iou_k19_1d_2d", "iou_k19_outofrange", "iou_k2", "iou_k21_missing"]
AREAS = ("inter", "union", "target")
SCORES = ("iou_class", "accuracy_class", "mIoU", "mAcc", "allAcc")


def batches(golden):
    return [(golden[f"output_{b}"], golden[f"target_{b}"]) for b in range(golden["meta"]["n_batches"])]


@pytest.mark.parametrize("case", CASES)
def test_numpy_areas_and_scores(case):
    golden = load_golden(case)
    meters = [AverageMeter() for _ in AREAS]
    for index, (output, target) in enumerate(batches(golden)):
        before = output.copy(), target.copy()
        areas = intersection_and_union(output, target, golden["meta"]["K"], golden["meta"]["ignore_index"])
        np.testing.assert_array_equal(output, before[0])
        np.testing.assert_array_equal(target, before[1])
        for meter, area, name in zip(meters, areas, AREAS, strict=True):
            assert area.dtype == np.int64
            np.testing.assert_array_equal(area, golden[f"np_{name}_{index}"])
            meter.update(area)
        accuracy = sum(meters[0].val) / (sum(meters[2].val) + 1e-10)
        assert accuracy == golden["np_running_accuracy"][index]
    for meter, name in zip(meters, AREAS, strict=True):
        np.testing.assert_array_equal(meter.sum, golden[f"np_sum_{name}"])
    scores = scores_from_areas(*(meter.sum for meter in meters))
    for name in SCORES:
        np.testing.assert_array_equal(getattr(scores, name), golden[f"np_{name}"])


@pytest.mark.parametrize("case", CASES)
def test_torch_areas_scores_and_overwritten_predictions(case):
    golden = load_golden(case)
    meters = [AverageMeter() for _ in AREAS]
    for index, (output, target) in enumerate(batches(golden)):
        prediction = torch.from_numpy(output.astype(np.int64))
        labels = torch.from_numpy(target.astype(np.int64))
        areas = intersection_and_union_torch(prediction, labels, golden["meta"]["K"], golden["meta"]["ignore_index"])
        np.testing.assert_array_equal(prediction.numpy(), golden[f"torch_output_after_{index}"])
        for meter, area, name in zip(meters, areas, AREAS, strict=True):
            np.testing.assert_array_equal(area.numpy(), golden[f"torch_{name}_{index}"])
            meter.update(area.numpy())
    scores = scores_from_areas(*(meter.sum for meter in meters))
    for name in SCORES:
        np.testing.assert_array_equal(getattr(scores, name), golden[f"torch_{name}"])


@pytest.mark.parametrize("case", ["iou_k19", "iou_k2", "iou_k21_missing"])
def test_confusion_matrix_holds_the_same_areas(case):
    golden = load_golden(case)
    for index, (output, target) in enumerate(batches(golden)):
        matrix = confusion_matrix(output, target, golden["meta"]["K"], 255)
        assert matrix.dtype == np.int64
        assert matrix.sum() == (target != 255).sum()
        for area, name in zip(areas_from_matrix(matrix), AREAS, strict=True):
            np.testing.assert_array_equal(area, golden[f"np_{name}_{index}"])


def test_confusion_matrix_rows_are_targets():
    matrix = confusion_matrix(np.array([2, 2, 0]), np.array([1, 1, 255]), 3, 255)
    assert matrix.tolist() == [[0, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_last_bin_is_closed_for_numpy_only():
    output, target = np.array([0, 3, 4, -1]), np.array([0, 3, 4, -1])
    assert intersection_and_union(output, target, 3)[0].tolist() == [1, 0, 1]
    tensors = torch.from_numpy(output), torch.from_numpy(target)
    assert intersection_and_union_torch(*tensors, 3)[0].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("output", "target", "message"),
    [([0, 3], [0, 1], "output"), ([0, 1], [0, 3], "target"), ([0, -1], [0, 1], "output"), ([0], [0, 1], "shape")],
)
def test_confusion_matrix_refuses_values_and_shapes(output, target, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(output), np.array(target), 3, 255)


@pytest.mark.parametrize("shapes", [((2, 2), (2, 3)), ((), ()), ((1, 1, 1, 1), (1, 1, 1, 1))])
def test_shapes_must_match_with_1_to_3_dimensions(shapes):
    output, target = (np.zeros(shape, np.int64) for shape in shapes)
    with pytest.raises(ValueError, match="1 to 3 dimensions"):
        intersection_and_union(output, target, 2)
    with pytest.raises(ValueError, match="1 to 3 dimensions"):
        intersection_and_union_torch(torch.from_numpy(output), torch.from_numpy(target), 2)


def test_average_meter_weights_and_resets():
    meter = AverageMeter()
    meter.update(2.0, 3)
    meter.update(6.0)
    assert (meter.val, meter.sum, meter.count, meter.avg) == (6.0, 12.0, 4, 3.0)
    meter.reset()
    assert (meter.val, meter.sum, meter.count, meter.avg) == (0, 0, 0, 0)
