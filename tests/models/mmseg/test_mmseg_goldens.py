"""mmsegmentation's networks against what mmsegmentation 1.2.2 itself computed, at its README's tolerances.

Left out of the folder, because each is above 100 kB: keys_hrnet_* and keys_ocrnet_* (train_* lists their parameters and
buffers by name, and every weight is drawn from its name), forward_* of deeplabv3plus_r50 at 769, ocrnet_w48 and
segformer_b0 at even sizes.
"""

import numpy as np
import pytest
import torch

from catalyst_cityscapes.losses import mmseg_loss
from catalyst_cityscapes.models.mmseg import build
from catalyst_cityscapes.models.mmseg.hamburger import NMF2D
from support.golden.inputs import golden_input, layout, load_golden, rec_input
from support.golden.mmseg_networks import filled, geometry, golden_batch, on_meta

LARGE = pytest.mark.slow
LISTED = ("segformer_b0", "segformer_b3", "deeplabv3plus_r18", "deeplabv3plus_r50", "pspnet_r50", "segnext_b")
FORWARD = {
    "segformer_b0": ("segformer_b0_odd",),
    "segformer_b3": ("segformer_b3",),
    "pspnet_r50": ("pspnet_r50", "pspnet_r50_512x1024"),
    "deeplabv3plus_r50": ("deeplabv3plus_r50_512x1024",),
    "hrnet_w48": ("hrnet_w48_odd",),
    "ocrnet_w48": ("ocrnet_w48_odd",),
    "segnext_b": ("segnext_b", "segnext_b_odd_b2"),
}
"""Golden files of each network's logits."""
COMPARED = {"conv", "bn", "ln", "gn", "mha", "dropout2d"}


@pytest.mark.parametrize("listed", LISTED)
def test_names_shapes_order_and_geometry(listed):
    golden = load_golden(f"mmseg/keys_{listed}.json")
    network = on_meta(listed)

    assert layout(network) == golden["state_dict"]
    assert geometry(network) == {name: rest for name, *rest in golden["geometry"] if rest[0] in COMPARED}


@pytest.fixture(
    scope="module",
    params=[
        "segformer_b0",
        "segnext_b",
        *(
            pytest.param(name, marks=LARGE)
            for name in ("segformer_b3", "pspnet_r50", "deeplabv3plus_r50", "hrnet_w48", "ocrnet_w48")
        ),
    ],
)
def name(request) -> str:
    """Of a network; one fixture for several tests, so that pytest runs all of one network's together."""
    return request.param


def test_logits(name):
    for case in FORWARD[name]:
        check_logits(case)


def check_logits(case):
    golden = load_golden(f"mmseg/forward_{case}.npz")
    meta = golden["meta"]
    network = filled(meta["model"].removesuffix("_512x1024"), meta["align_corners"]).eval()
    x = golden_input(meta)
    tolerance = max(10 * meta["max_abs_gap_f32_f64"], 1e-4)
    with torch.no_grad():
        torch.manual_seed(meta.get("torch_manual_seed", 0))
        (main,) = network(x)
        torch.manual_seed(meta.get("torch_manual_seed", 0))
        outputs = network.all_logits(x)

    assert torch.equal(outputs[0], main)
    expected = [golden[key] for key in ("logits", "aux_logits", "decode0_logits") if key in golden]
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=tolerance)


def test_losses_gradients_and_running_statistics_in_float64(name):
    golden = load_golden(f"mmseg/train_{name}.npz")
    meta = golden["meta"]
    network = filled(name, name.startswith(("pspnet", "deeplab"))).double().train()
    x, target = golden_batch(meta)
    if meta["ham_torch_seed"] is not None:
        torch.manual_seed(meta["ham_torch_seed"])
    outputs = network(x)
    losses = mmseg_loss(outputs, target, (1.0, 0.4), network.align_corners, network.loss_names)
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


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_matrix_decomposition(mode):
    golden = load_golden(f"mmseg/nmf_{mode}.npz")
    meta = golden["meta"]
    x = torch.from_numpy(np.abs(rec_input(meta["seed"], meta["shape"])))
    torch.manual_seed(meta["torch_manual_seed"])
    y = NMF2D().train(mode == "train")(x)

    np.testing.assert_allclose(y.numpy(), golden["y"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "drawn",
    [
        pytest.param("pspnet_r50", marks=LARGE),
        pytest.param("deeplabv3plus_r50", marks=LARGE),
        "hrnet_w18",
        "ocrnet_w18",
        "segformer_b0",
        "segnext_t",
    ],
)
def test_random_weights_follow_the_laws(drawn):
    """Constants exactly; the spread within 5 %, or as far as chance takes it where there are few numbers."""
    torch.manual_seed(0)
    rows = load_golden(f"mmseg/init_{drawn}.json")["rows"]
    parameters = dict(build(drawn).named_parameters())

    assert list(parameters) == [key for key, *_ in rows]
    for key, shape, mean, std, *_ in rows:
        ours = parameters[key].detach()
        assert list(ours.shape) == shape, key
        if std == 0:
            assert torch.equal(ours, torch.full_like(ours, mean)), key
            continue
        # Both are estimates from n numbers, each off by 1 / sqrt(2 n) of itself, so their difference by 1 / sqrt(n).
        tolerance = max(0.05, 5 / ours.numel() ** 0.5)
        assert ours.std(correction=0).item() == pytest.approx(std, rel=tolerance), key
        assert abs(ours.mean().item()) < 6 * std / ours.numel() ** 0.5, key
