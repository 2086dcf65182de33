"""What a golden file of mmsegmentation says about this project's networks, file kind by file kind.

Each `check_*` takes the content of one file (`inputs.load_golden`) and fails where a number is outside the tolerance
that the files' README derives. Any file of that kind will do: of another depth, class count or size than those in
tests/goldens/mmseg.
"""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catalyst_cityscapes.data.augmentation import mmseg as augmentation
from catalyst_cityscapes.evaluation import mmseg_iou
from catalyst_cityscapes.evaluation.occurring import areas_of_matrices
from catalyst_cityscapes.losses import CrossEntropy, mmseg_loss
from catalyst_cityscapes.models.mmseg import build
from catalyst_cityscapes.models.mmseg.hamburger import NMF2D
from semseg_ref.metric import confusion_matrix
from support.golden.inputs import golden_input, layout, rec_image, rec_input, rec_label, sha256
from support.golden.mmseg_networks import filled, geometry, golden_batch, on_meta

Golden = dict[str, Any]
COMPARED = {"conv", "bn", "ln", "gn", "mha", "dropout2d"}
"""Kinds of layers whose settings `geometry` lists."""


def logits_tolerance(meta: Golden) -> float:
    """Of float32 logits: ten times the distance of the package's own float32 and float64, and 1e-4 at least."""
    return max(10 * meta["max_abs_gap_f32_f64"], 1e-4)


def check_keys(name: str, golden: Golden) -> None:
    """`keys_*`: names, shapes, dtypes and order of the state dict; the layers' geometry."""
    network = on_meta(name, classes=golden["num_classes"])
    assert layout(network) == golden["state_dict"]
    assert geometry(network) == {key: rest for key, *rest in golden["geometry"] if rest[0] in COMPARED}
    assert sum(value.numel() for value in network.parameters()) == golden["n_params"]


def check_forward(golden: Golden, dtype: torch.dtype = torch.float32) -> None:
    """`forward_*`: logits of all heads in eval mode, resized to the input, and their classes."""
    meta = golden["meta"]
    network = filled(meta["model"].removesuffix("_512x1024"), meta["align_corners"], meta["num_classes"])
    network, x = network.to(dtype).eval(), golden_input(meta).to(dtype)
    # In float64 nothing is left but the package's own rounding in float32.
    gap = meta["max_abs_gap_f32_f64"]
    tolerance = logits_tolerance(meta) if dtype == torch.float32 else gap + 1e-9
    with torch.no_grad():
        torch.manual_seed(meta.get("torch_manual_seed", 0))
        (main,) = network(x)
        torch.manual_seed(meta.get("torch_manual_seed", 0))
        outputs = network.all_logits(x)

    assert torch.equal(outputs[0], main)
    expected = [golden[key] for key in ("logits", "aux_logits", "decode0_logits") if key in golden]
    for index, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
        # The stored distance is that of the main logits.
        allowed = tolerance if index == 0 or dtype == torch.float32 else max(tolerance, 1e-4)
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=allowed)
    resized = F.interpolate(main, x.shape[-2:], mode="bilinear", align_corners=meta["align_corners"])
    np.testing.assert_allclose(
        resized[..., ::4, ::4].numpy(), golden["resized_sub4"], rtol=0, atol=max(tolerance, 1e-4)
    )
    assert_same_classes(resized, golden["argmax"], 2 * logits_tolerance(meta))


def assert_same_classes(scores: Tensor, classes: np.ndarray, margin: float) -> None:
    """Fails where the arg-max of float [N, K, H, W] is another class, unless the two best are nearer than `margin`."""
    best = scores.topk(2, dim=1).values
    clear = (best[:, 0] - best[:, 1]) > margin
    differs = scores.argmax(1) != torch.from_numpy(np.asarray(classes)).long().reshape(clear.shape)
    assert not (differs & clear).any()


def check_train(name: str, golden: Golden) -> None:
    """`train_*`: in float64 losses, the norm of each parameter's gradient, and batch norm's running statistics."""
    meta = golden["meta"]
    align_corners = meta.get("align_corners", name.startswith(("pspnet", "deeplab")))
    network = filled(name, align_corners, meta["num_classes"]).double().train()
    losses = losses_of_batch(network, meta)
    sum(losses.values()).backward()

    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {name: loss for name, loss in meta["losses_f64"].items() if name.endswith(".loss_ce")}, rel=1e-6
    )
    parameters = dict(network.named_parameters())
    assert list(parameters) == golden["grad_names"].tolist()
    norms = np.array([value.grad.norm().item() for value in parameters.values()])
    np.testing.assert_allclose(norms, golden["f64_grad_norms"], rtol=1e-6, atol=1e-9)
    buffers = {key: value for key, value in network.named_buffers() if value.is_floating_point()}
    assert list(buffers) == golden["buffer_names"].tolist()
    sums = np.array([value.sum().item() for value in buffers.values()])
    np.testing.assert_allclose(sums, golden["f64_buffer_sums"], rtol=1e-6, atol=1e-9)
    counts = {key: value.item() for key, value in network.named_buffers() if key.endswith("num_batches_tracked")}
    assert [key for key, count in counts.items() if count == 2] == meta["keys_tracked_twice"]
    assert set(counts.values()) == {int(count) for count in meta["num_batches_tracked_values"]}


def losses_of_batch(network: nn.Module, meta: Golden) -> dict[str, Tensor]:
    """The named losses of a `train_*` file's batch, in the network's dtype."""
    x, target = golden_batch(meta)
    if meta["ham_torch_seed"] is not None:
        torch.manual_seed(meta["ham_torch_seed"])
    outputs = network(x.to(next(network.parameters()).dtype))
    return mmseg_loss(outputs, target, (1.0, 0.4), network.align_corners)


def check_init(name: str, golden: Golden) -> None:
    """`init_*`: constants exactly; the spread within 5 %, or as far as chance takes it where there are few numbers."""
    torch.manual_seed(0)
    parameters = dict(build(name, golden.get("num_classes", 19)).named_parameters())
    assert list(parameters) == [key for key, *_ in golden["rows"]]
    for key, shape, mean, std, *_ in golden["rows"]:
        ours = parameters[key].detach()
        assert list(ours.shape) == shape, key
        if std == 0:
            assert torch.equal(ours, torch.full_like(ours, mean)), key
            continue
        # Both are estimates from n numbers, each off by 1 / sqrt(2 n) of itself, so their difference by 1 / sqrt(n).
        tolerance = max(0.05, 5 / ours.numel() ** 0.5)
        assert ours.std(correction=0).item() == pytest.approx(std, rel=tolerance), key
        assert abs(ours.mean().item()) < 6 * std / ours.numel() ** 0.5, key


def check_nmf(golden: Golden) -> None:
    """`nmf_*`: SegNeXt's matrix decomposition alone."""
    meta = golden["meta"]
    x = torch.from_numpy(np.abs(rec_input(meta["seed"], meta["shape"])))
    torch.manual_seed(meta["torch_manual_seed"])
    y = NMF2D().train(meta["training"])(x)
    np.testing.assert_allclose(y.numpy(), golden["y"], rtol=0, atol=max(10 * meta["gap"], 1e-4))


def check_loss_ce(golden: Golden) -> None:
    """`loss_ce`: both denominators, the weight, the gradient, and a batch that is ignored whole; float64."""
    for row in golden["rows"]:
        n, classes, height, width = row["shape"]
        logits = torch.from_numpy(rec_input(row["seed"], row["shape"])).double().requires_grad_()
        labels = [rec_label(seed, height, width, classes, row["label_block"]) for seed in row["label_seeds"]]
        target = torch.from_numpy(np.stack(labels)).long()
        assert (target == 255).sum().item() == row["ignored"]
        ignored = torch.full((n, height, width), 255)
        for average, key in (("all", "default"), ("valid", "avg_non_ignore")):
            criterion = CrossEntropy(average=average)
            assert criterion(logits, target).item() == pytest.approx(row[key], rel=1e-6), key
        (gradient,) = torch.autograd.grad(CrossEntropy(average="all")(logits, target), logits)
        assert gradient.norm().item() == pytest.approx(row["grad_norm_default"], rel=1e-6)
        assert CrossEntropy(average="all")(logits, ignored).item() == row["all_ignored_default"]
        weighted = mmseg_loss((logits,), target, (0.4,), False)
        assert weighted["decode.loss_ce"].item() == pytest.approx(row["weight_0.4"], rel=1e-6)


def check_iou(golden: Golden) -> None:
    """`iou_*.npz`: areas of each image, fractions of each class, and the rounded summary."""
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
    if meta["nan_to_num"] is None and np.any(golden["areas"]):
        absent = np.flatnonzero(golden["areas"][:, 1].sum(axis=0) == 0)
        assert found.absent == tuple(absent)
        assert np.isnan(found.classes["IoU"][absent]).all()


def check_iou_of_sums(golden: Golden) -> None:
    """`iou_float32_accumulation`: areas of 500 images are summed in float32, which rounds above 2^24."""
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


def check_tested_image(golden: Golden) -> None:
    """`pipeline_test_*`: an image at the size of the test, packed, and normalised."""
    meta = golden["meta"]
    h, w = meta["image"]["h"], meta["image"]["w"]
    image = np.ascontiguousarray(rec_image(meta["image"]["seed"], h, w)[..., ::-1])
    resized, _ = augmentation.RandomResize(meta["scale"], (1, 1))(image, np.zeros((h, w), np.uint8))
    packed, label = augmentation.Pack()(resized, np.zeros(resized.shape[:2], np.uint8))
    assert sha256(packed.numpy()) == meta["sha_inputs"]
    pixels, _ = augmentation.normalize_and_pad(packed, label, (1, 1))
    assert sha256(pixels.numpy()) == meta["sha_norm"]
    step = int(golden["sub"])
    assert np.array_equal(pixels.numpy()[:, ::step, ::step], golden["norm_sub"])
