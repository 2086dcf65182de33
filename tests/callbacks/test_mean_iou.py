"""In-training scores: one confusion matrix over the loader, against the reference's metric; and SyncBN's conversion."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from catalyst_cityscapes.callbacks.mean_iou import BatchMeanIoU, MeanIoU, count_by_histogram, count_confusion
from catalyst_cityscapes.callbacks.sync_bn import SyncBNConversion, convert_sync_bn
from semseg_ref.base.errors import DataError, OptionError
from semseg_ref.metric import areas_from_matrix, confusion_matrix, intersection_and_union, scores_from_areas

CLASSES, IGNORE = 5, 255
ABSENT = 3


def random_maps(seed: int, images: int, absent: int | None = ABSENT) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and target, int64 [N, 9, 11]; a fifth of the target is ignored, and one class is in neither."""
    rng = np.random.default_rng(seed)
    present = [c for c in range(CLASSES) if c != absent]
    target = rng.choice(present, (images, 9, 11))
    prediction = np.where(rng.random(target.shape) < 0.6, target, rng.choice(present, target.shape))
    target[rng.random(target.shape) < 0.2] = IGNORE
    return torch.from_numpy(prediction), torch.from_numpy(target)


def logits_of(prediction: torch.Tensor) -> torch.Tensor:
    """float [N, K, H, W] whose arg-max is the prediction."""
    return nn.functional.one_hot(prediction, CLASSES).permute(0, 3, 1, 2).float()


def run_loader(callback, batches, valid: bool = True) -> dict[str, float]:
    """The loader metrics that a callback reports after the batches, in one process."""
    engine = SimpleNamespace(device=torch.device("cpu"), sum_reduce=lambda *tensors: None)
    runner = SimpleNamespace(engine=engine, loader_metrics={}, is_valid_loader=valid)
    callback.on_loader_start(runner)
    for prediction, target in batches:
        runner.batch = {"logits": logits_of(prediction), "targets": target}
        callback.on_batch_end(runner)
    callback.on_loader_end(runner)
    return runner.loader_metrics


def expected_scores(prediction: torch.Tensor, target: torch.Tensor):
    return scores_from_areas(*intersection_and_union(prediction.numpy(), target.numpy(), CLASSES, IGNORE))


# -- counting ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kinds", [361, 2, 1], ids=["uniform", "road", "one cell"])
@pytest.mark.parametrize("size", [362, 26, 2])
def test_a_gpus_counting_is_that_of_a_cpu(kinds, size):
    """Its arithmetic in whole numbers, tried in float64: the CPU's histogram takes no integers."""
    generator = torch.Generator().manual_seed(kinds)
    cells = torch.randint(max(size - kinds, 0), size, (20_000,), generator=generator)
    expected = torch.bincount(cells, minlength=size)
    assert torch.equal(count_by_histogram(cells.double(), size), expected)
    # CUDA's bin of an integer is (value - min) * bins / (max - min).
    assert torch.equal(cells * size // size, cells)


@pytest.mark.parametrize("seed", range(5))
def test_confusion_counts_are_the_references_areas(seed):
    prediction, target = random_maps(seed, 3)
    matrix = count_confusion(prediction, target, CLASSES, IGNORE)
    assert matrix.dtype == torch.int64
    np.testing.assert_array_equal(matrix, confusion_matrix(prediction.numpy(), target.numpy(), CLASSES, IGNORE))
    expected = intersection_and_union(prediction.numpy(), target.numpy(), CLASSES, IGNORE)
    for found, area in zip(areas_from_matrix(matrix.numpy()), expected, strict=True):
        np.testing.assert_array_equal(found, area)
    assert matrix.sum() == (target != IGNORE).sum()
    assert matrix[ABSENT].sum() == matrix[:, ABSENT].sum() == 0


def test_confusion_rows_are_targets():
    matrix = count_confusion(torch.tensor([1, 1, 2]), torch.tensor([0, 0, 2]), 3, IGNORE)
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_an_ignore_index_among_the_classes_does_not_count():
    prediction, target = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1])
    assert count_confusion(prediction, target, 3, ignore_index=1).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_a_batch_that_is_all_ignored_adds_nothing():
    target = torch.full((1, 4, 4), IGNORE)
    assert count_confusion(torch.zeros(1, 4, 4, dtype=torch.int64), target, CLASSES, IGNORE).sum() == 0


# -- over a loader -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sizes", [[7], [1, 6], [3, 3, 1], [1] * 7])
def test_uneven_batches_give_the_score_of_the_whole_set(sizes):
    prediction, target = random_maps(11, 7)
    batches = zip(prediction.split(sizes), target.split(sizes), strict=True)
    found = run_loader(MeanIoU(CLASSES, IGNORE), batches)
    expected = expected_scores(prediction, target)
    assert found == {"mIoU": expected.mIoU, "mAcc": expected.mAcc, "allAcc": expected.allAcc}
    assert 0 < found["mIoU"] < 1


def test_an_absent_class_counts_as_zero():
    _, target = random_maps(1, 2)
    found = run_loader(MeanIoU(CLASSES, IGNORE), [(target.clamp(max=CLASSES - 1), target)])
    assert found["mIoU"] == pytest.approx((CLASSES - 1) / CLASSES, abs=1e-9)
    assert found["allAcc"] == pytest.approx(1, abs=1e-9)


def test_a_new_loader_starts_from_nothing():
    callback = MeanIoU(CLASSES, IGNORE)
    run_loader(callback, [random_maps(1, 2)])
    assert run_loader(callback, [random_maps(2, 2)]) == run_loader(MeanIoU(CLASSES, IGNORE), [random_maps(2, 2)])


def test_names_add_one_score_a_class_in_validation_only(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("road\nsky\ncar\nbus\ntree\n")
    prediction, target = random_maps(4, 3)
    callback = MeanIoU(CLASSES, IGNORE, str(names))
    found = run_loader(callback, [(prediction, target)])
    expected = expected_scores(prediction, target).iou_class
    assert [found[f"iou/{n}"] for n in ("road", "sky", "car", "bus", "tree")] == expected.tolist()
    assert run_loader(callback, [(prediction, target)], valid=False).keys() == {"mIoU", "mAcc", "allAcc"}
    with pytest.raises(DataError, match="5 class names, expected 19"):
        MeanIoU(19, IGNORE, str(names))


# -- the 2020 Catalyst attempt's number
# ----------------------------------------------------------------------------------
def test_batch_mean_iou_is_the_mean_over_batches_with_absent_classes_as_one():
    batches = [random_maps(seed, 1) for seed in range(4)]
    expected = []
    for prediction, target in batches:
        intersection, union, _ = intersection_and_union(prediction.numpy(), target.numpy(), CLASSES, IGNORE)
        expected.append(np.where(union == 0, 1.0, intersection / np.maximum(union, 1)).mean())
    found = run_loader(BatchMeanIoU(CLASSES, IGNORE), batches)
    assert found == {"batch_mIoU": pytest.approx(np.mean(expected), abs=1e-6)}


def test_batch_mean_iou_is_biased_upwards():
    """One class an image, half of each image wrong: the truth is 1/3 a class, the batch number far above."""
    batches = []
    for label in range(CLASSES):
        target = torch.full((1, 2, 4), label)
        prediction = target.clone()
        prediction[:, 0] = (label + 1) % CLASSES
        batches.append((prediction, target))
    together = tuple(torch.cat(maps) for maps in zip(*batches, strict=True))
    assert run_loader(MeanIoU(CLASSES, IGNORE), batches)["mIoU"] == pytest.approx(1 / 3, abs=1e-9)
    # Of five classes three are absent in each image and score 1, one scores 0.5 and one 0.
    assert run_loader(BatchMeanIoU(CLASSES, IGNORE), batches)["batch_mIoU"] == pytest.approx(3.5 / 5, abs=1e-6)
    # It is no property of the predictions either: the same ones in one batch give the truth.
    assert run_loader(BatchMeanIoU(CLASSES, IGNORE), [together])["batch_mIoU"] == pytest.approx(1 / 3, abs=1e-6)


# -- batch norm ----------------------------------------------------------------------------------------------------
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))


def test_sync_bn_replaces_every_batch_norm_and_keeps_the_parameter_objects():
    model = network()
    parameters, state = dict(model.named_parameters()), {k: v.clone() for k, v in model.state_dict().items()}
    converted = convert_sync_bn(model)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == 2
    assert not any(isinstance(module, nn.BatchNorm2d) for module in converted.modules())
    # An optimiser built before the conversion must go on training this network.
    assert all(value is parameters[name] for name, value in converted.named_parameters())
    assert list(converted.state_dict()) == list(state)
    assert all(torch.equal(converted.state_dict()[key], value) for key, value in state.items())


@pytest.mark.parametrize(("processes", "device"), [(1, "cuda"), (1, "cpu"), (2, "cpu")])
def test_sync_bn_leaves_one_process_and_cpus_alone(processes, device):
    runner = SimpleNamespace(engine=SimpleNamespace(num_processes=processes, device=torch.device(device)))
    model = network()
    assert SyncBNConversion().convert_model(model, runner) is model
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())


def test_sync_bn_converts_several_processes_on_gpus():
    runner = SimpleNamespace(engine=SimpleNamespace(num_processes=2, device=torch.device("cuda")))
    converted = SyncBNConversion().convert_model(network(), runner)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in converted.modules())


def test_apex_that_is_missing_or_another_project_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "apex", None)
    with pytest.raises(
        OptionError, match=r"callbacks\.sync_bn\.backend: NVIDIA's apex is not importable .* use backend: torch"
    ):
        convert_sync_bn(network(), "apex")
    impostor = ModuleType("apex")
    impostor.__path__ = []
    monkeypatch.setitem(sys.modules, "apex", impostor)
    with pytest.raises(OptionError, match="is not importable"):
        convert_sync_bn(network(), "apex")


def test_an_unknown_backend_names_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'torch'"):
        convert_sync_bn(network(), "torhc")
    with pytest.raises(OptionError, match="did you mean 'apex'"):
        SyncBNConversion("apx")
