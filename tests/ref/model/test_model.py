"""PSPNet and its backbone against the reference's layouts, logits, losses and gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semseg_ref.base.errors import InputError, OptionError
from semseg_ref.model import PSANet, PSPNet, ResNet, downsample_target, resnet50, resnet101, resnet152
from support.golden.inputs import (
    layout,
    load_golden,
    needs_the_goldens_machine,
    rec_input,
    rec_label,
    sha256,
)
from support.golden.runs import forward, probes, training_step
from support.golden.tolerances import running_statistics, tolerances

BACKBONES = {"resnet50": resnet50, "resnet101": resnet101, "resnet152": resnet152}
SMALL = (1, 1, 1, 1)


pytestmark = pytest.mark.usefixtures("golden_threads")


def small_batch(zoom_factor: int = 8, classes: int = 5) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(rec_input(3, (2, 3, 33, 41)))
    label = torch.from_numpy(np.stack([rec_label(seed, 33, 41, classes) for seed in (0, 1)])).long()
    return x, downsample_target(label, zoom_factor)


# ---------------------------------------------------------------- layout


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_state_dict_layout(depth):
    golden = load_golden(f"keys_pspnet{depth}")
    with torch.device("meta"):
        model = PSPNet(**golden["kwargs"])
    assert layout(model) == golden["state_dict"]
    assert [name for name, _ in model.named_parameters()] == golden["parameter_order"]
    assert sum(p.numel() for p in model.parameters()) == golden["n_parameters"]


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_backbone_layout(depth):
    with torch.device("meta"):
        model = BACKBONES[f"resnet{depth}"]()
    assert layout(model) == load_golden(f"keys_resnet{depth}")["state_dict"]


def test_geometry():
    golden = load_golden("geometry_pspnet50")
    with torch.device("meta"):
        model = PSPNet(**golden["kwargs"])
    rows = []
    for name, m in model.named_modules():
        if isinstance(m, nn.Conv2d):
            sizes = [list(v) for v in (m.kernel_size, m.stride, m.padding, m.dilation)]
            rows.append([name, "conv", *sizes, m.bias is not None])
        elif isinstance(m, nn.BatchNorm2d):
            assert m.affine
            assert m.track_running_stats
            rows.append([name, "bn", m.eps, m.momentum])
        elif isinstance(m, nn.MaxPool2d):
            rows.append([name, "maxpool", m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode])
        elif isinstance(m, nn.AdaptiveAvgPool2d):
            rows.append([name, "adaptiveavgpool", m.output_size])
        elif isinstance(m, nn.Dropout2d):
            rows.append([name, "Dropout2d", m.p])
    assert rows == golden["modules"]


@pytest.mark.parametrize(("name", "network"), [("pspnet50", PSPNet), ("psanet50", PSANet)])
def test_children_hold_the_optimizer_groups(name, network):
    groups = load_golden(f"groups_{name}")["groups"]
    with torch.device("meta"):
        model = network(layers=50, classes=19, pretrained=False)
    children = {n: m for n, m in model.named_children() if any(True for _ in m.parameters())}
    assert list(children) == [group["module"] for group in groups]
    for group in groups:
        parameters = dict(children[group["module"]].named_parameters(prefix=group["module"]))
        assert list(parameters) == group["params"]
        assert sum(p.numel() for p in parameters.values()) == group["numel"]


def test_plain_stem():
    with torch.device("meta"):
        model = ResNet(SMALL, num_classes=7, deep_base=False)
    assert list(model.conv1.weight.shape) == [64, 3, 7, 7]
    assert list(model.layer1[0].conv1.weight.shape) == [64, 64, 1, 1]
    assert not hasattr(model, "conv2")


@pytest.mark.parametrize("deep_base", [True, False])
def test_backbone_classifies(deep_base):
    model = ResNet(SMALL, num_classes=7, deep_base=deep_base).eval()
    x = torch.zeros(2, 3, 64, 96)
    assert model(x).shape == (2, 7)
    assert model.layer4(model.layer3(model.layer2(model.layer1(model.stem()(x))))).shape == (2, 2048, 2, 3)


# ---------------------------------------------------------------- initialisation


def test_initialisation_repeats_the_reference_draw_for_draw():
    """The reference's own initialisation was sampled once, with torch's seed 0."""
    golden = load_golden("init_stats")
    torch.manual_seed(0)
    parameters = dict(PSPNet(layers=golden["layers"], classes=19, pretrained=False).named_parameters())
    assert list(parameters) == [row["name"] for row in golden["parameters"]]
    for row in golden["parameters"]:
        value = parameters[row["name"]].detach().double()
        got = [value.mean(), value.std(unbiased=False) if value.numel() > 1 else 0.0, value.min(), value.max()]
        want = [row[key] for key in ("mean", "std", "min", "max")]
        assert got == pytest.approx(want, rel=1e-2, abs=1e-6), row["name"]


def test_initialisation_laws():
    torch.manual_seed(1)
    parameters = dict(PSPNet(layers=50, classes=19, pretrained=False).named_parameters())
    for row in load_golden("init_stats")["parameters"]:
        value = parameters[row["name"]].detach().double()
        if "law" not in row:
            continue
        # Five standard errors of the sample's standard deviation (normal: 1 / sqrt(2 n); uniform is tighter) and mean.
        assert value.std().item() == pytest.approx(row["law_std"], rel=5 / (2 * row["numel"]) ** 0.5), row["name"]
        assert abs(value.mean().item()) < 5 * row["law_std"] / row["numel"] ** 0.5, row["name"]
        bound = row["fan_in"] ** -0.5
        if row["law"].startswith("uniform"):
            assert value.abs().max() <= bound * (1 + 1e-6)
        else:
            assert value.abs().max() > 3 * row["law_std"]


# ---------------------------------------------------------------- eval forward


FORWARD = ["forward_pspnet50_z1", "forward_pspnet50_z8", "forward_pspnet101_c11"]


@pytest.mark.golden
@pytest.mark.parametrize("name", FORWARD)
def test_logits(name):
    golden, found, allowed = load_golden(name), forward(name), tolerances(name)
    logits = found["logits"]
    assert logits.dtype == golden["logits"].dtype
    allowed.check("logits", logits, golden["logits"])
    runner_up, best = np.sort(golden["logits"], axis=1)[:, -2:].swapaxes(0, 1)
    clear = best - runner_up > 2 * allowed.each("logits")
    assert clear.mean() > 0.99
    assert (logits.argmax(1) == golden["argmax"])[clear].all()
    for i, stage in enumerate(golden["stage_names"]):
        value = found[f"stage/{stage}"].astype(np.float64)
        assert list(value.shape) == golden["stage_shapes"][i].tolist()
        of_all = allowed.sum(f"stage/{stage}", value.size)
        allowed.check(f"stage/{stage}", value.sum(), golden["stage_sum"][i], of_all)
        allowed.check(f"stage/{stage}", np.abs(value).sum(), golden["stage_abs_sum"][i], of_all)


@needs_the_goldens_machine
@pytest.mark.parametrize("name", FORWARD)
def test_logits_to_the_bit(name):
    assert sha256(forward(name)["logits"]) == load_golden(name)["meta"]["logits_sha256"]


@pytest.mark.parametrize(("zoom_factor", "size"), [(1, (5, 6)), (2, (9, 11)), (4, (17, 21)), (8, (33, 41))])
def test_size_of_the_logits(zoom_factor, size):
    x, target = small_batch(zoom_factor)
    model = PSPNet(classes=5, zoom_factor=zoom_factor, pretrained=False)
    prediction, _, _ = model(x, target)
    assert prediction.shape == target.shape == (2, *size)
    assert prediction.dtype == torch.int64
    with torch.no_grad():
        main, aux = model.eval().two_head_logits(x)
    assert main.shape == (2, 5, *size)
    assert aux is None


def test_without_pyramid_pooling():
    x, target = small_batch()
    model = PSPNet(classes=5, use_ppm=False, pretrained=False)
    assert not hasattr(model, "ppm")
    assert model.cls[0].in_channels == 2048
    assert model(x[:1], target[:1])[1].isfinite()


@pytest.mark.parametrize(("shape", "expected"), [((1, 3, 96, 97), "89, 97"), ((1, 3, 97, 100), "97, 105")])
def test_impossible_size(shape, expected):
    model = PSPNet(pretrained=False).eval()
    with pytest.raises(AssertionError, match=expected) as caught:
        model(torch.zeros(shape))
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 34}, "layers=34.*nearest: 50"),
        ({"zoom_factor": 3}, "zoom_factor=3.*nearest: 2"),
        ({"classes": 1}, "classes=1"),
        ({"bins": (1, 2, 3)}, "bins=.*2048"),
        ({"bins": ()}, "bins="),
        ({"bins": (0, 1)}, "bins="),
    ],
)
def test_impossible_option(arguments, message):
    with pytest.raises(OptionError, match=message):
        PSPNet(**{"pretrained": False, **arguments})


# ---------------------------------------------------------------- training forward


TRAINING = ["forward_train_pspnet50_z1", "forward_train_pspnet50_z8"]


@pytest.mark.golden
@pytest.mark.parametrize("name", TRAINING)
def test_losses_and_gradients(name):
    golden, found, allowed = load_golden(name), training_step(name), tolerances(name)
    for kind in ("main_loss", "aux_loss"):
        allowed.check(kind, found[kind], golden[kind], allowed.loss())
    assert (found["prediction"] == golden["pred"]).mean() > 0.999

    assert [key.removeprefix("grad/") for key in found if key.startswith("grad/")] == golden["grad_names"].tolist()
    for kind in ("grad_norms", "f64_grad_norms"):
        allowed.check("log_grad_norms", found["log_grad_norms"], np.log(golden[kind]))
    for key, expected in zip(golden["grad_names"], golden["grad_probes"], strict=True):
        allowed.check(f"grad/{key}", probes(found[f"grad/{key}"].ravel()), expected)

    buffers = [key.removeprefix("buffer/") for key in found if key.startswith("buffer/")]
    assert buffers == golden["buffer_names"].tolist()
    for key, total, of_magnitudes in zip(buffers, golden["buffer_sums"], golden["buffer_abs_sums"], strict=True):
        values = found[f"buffer/{key}"]
        if values.dtype.kind != "f":
            assert values.sum() == total, key
            continue
        of_all = allowed.sum(f"buffer/{key}", values.size) + running_statistics(1) * of_magnitudes
        allowed.check(f"buffer/{key}", values.astype(np.float64).sum(), total, of_all)


@needs_the_goldens_machine
@pytest.mark.parametrize("name", TRAINING)
def test_losses_and_gradients_to_the_bit(name):
    golden, found = load_golden(name), training_step(name)
    assert (found["main_loss"], found["aux_loss"]) == (golden["main_loss"], golden["aux_loss"])
    assert (found["prediction"] == golden["pred"]).all()
    for key, expected in zip(golden["grad_names"], golden["grad_probes"], strict=True):
        assert probes(found[f"grad/{key}"].ravel()).tolist() == expected.tolist()


@pytest.mark.parametrize("network", [PSPNet, lambda **kw: PSANet(mask_h=5, mask_w=5, **kw)], ids=["PSPNet", "PSANet"])
def test_losses_outside_the_model_give_the_same_gradients(network):
    x, target = small_batch()
    x, target = x[..., :33], target[..., :33]
    torch.manual_seed(0)
    model = network(classes=5, pretrained=False)

    def gradients(inside: bool) -> list[Tensor]:
        model.zero_grad()
        torch.manual_seed(7)
        if inside:
            _, main_loss, aux_loss = model(x, target)
        else:
            main, aux = model.two_head_logits(x)
            main_loss, aux_loss = (nn.functional.cross_entropy(v, target, ignore_index=255) for v in (main, aux))
        (main_loss + 0.4 * aux_loss).backward()
        return [p.grad.clone() for p in model.parameters()]

    inside, outside = gradients(inside=True), gradients(inside=False)
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))
    assert all(g.abs().max() > 0 for g in inside)


def test_custom_criterion_sees_both_heads():
    seen = []

    class Criterion(nn.Module):
        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            seen.append(logits)
            return logits.mean() * 0 + len(seen)

    x, target = small_batch()
    prediction, main_loss, aux_loss = PSPNet(classes=5, criterion=Criterion(), pretrained=False)(x, target)
    assert (main_loss.item(), aux_loss.item()) == (1, 2)
    assert torch.equal(prediction, seen[0].max(1)[1])


def test_all_ignored_gives_nan():
    x, target = small_batch()
    _, main_loss, aux_loss = PSPNet(classes=5, pretrained=False)(x, torch.full_like(target, 255))
    assert main_loss.isnan()
    assert aux_loss.isnan()


def test_batch_of_one():
    x, target = small_batch()
    model = PSPNet(classes=5, pretrained=False)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(x[:1], target[:1])
    assert model.eval()(x[:1]).shape == (1, 5, 33, 41)


def test_training_without_a_target():
    with pytest.raises(OptionError, match="target"):
        PSPNet(classes=5, pretrained=False)(small_batch()[0])


# ---------------------------------------------------------------- targets


def test_downsample_target():
    golden = load_golden("targetdown")
    for size, seed in golden["meta"]["seeds"].items():
        height, width = map(int, size.split("x"))
        label = torch.from_numpy(rec_label(seed, height, width, 19, block=5)).long()[None]
        for zoom_factor in (1, 2, 4):
            small = downsample_target(label, zoom_factor)
            assert small.dtype == torch.int64
            assert small.is_contiguous()
            assert np.array_equal(small[0].numpy(), golden[f"z{zoom_factor}_{size}"])
        assert downsample_target(label, 8) is label


def test_downsample_target_refuses():
    with pytest.raises(OptionError, match="nearest: 89, 97"):
        downsample_target(torch.zeros(1, 96, 97, dtype=torch.int64), 4)
    with pytest.raises(OptionError, match=r"zoom_factor=16.*nearest: 8"):
        downsample_target(torch.zeros(1, 97, 97, dtype=torch.int64), 16)
