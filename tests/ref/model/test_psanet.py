"""PSANet and its mask operation against the reference's numbers and the definition."""

import numpy as np
import pytest
import torch
from torch import Tensor

from semseg_ref.base.errors import OptionError
from semseg_ref.model import PSANet, psa_mask
from support.golden.inputs import (
    layout,
    load_golden,
    needs_the_goldens_machine,
    rec_input,
    rec_label,
    sha256,
)
from support.golden.runs import forward
from support.golden.tolerances import tolerances

pytestmark = pytest.mark.usefixtures("golden_threads")


def mask_by_definition(x: Tensor, psa_type: int, mask_h: int, mask_w: int) -> Tensor:
    count, _, height, width = x.shape
    out = torch.zeros(count, height * width, height, width, dtype=x.dtype)
    for i, j, u, v in np.ndindex(height, width, mask_h, mask_w):
        a, b = i + u - (mask_h - 1) // 2, j + v - (mask_w - 1) // 2
        if 0 <= a < height and 0 <= b < width:
            cell = x[:, u * mask_w + v, i, j]
            if psa_type == 0:
                out[:, a * width + b, i, j] = cell
            else:
                out[:, i * width + j, a, b] = cell
    return out


@pytest.mark.parametrize("case", range(4))
def test_mask_golden(case):
    golden = load_golden("psamask")
    settings = golden["meta"]["cases"][case]
    x = torch.from_numpy(golden[f"x_{case}"]).requires_grad_()
    y = psa_mask(x, settings["psa_type"], settings["mask_h"], settings["mask_w"])
    y.backward(torch.from_numpy(golden[f"gy_{case}"]))
    assert np.array_equal(y.detach().numpy(), golden[f"y_{case}"])
    assert np.array_equal(x.grad.numpy(), golden[f"gx_{case}"])


@pytest.mark.parametrize("psa_type", [0, 1])
@pytest.mark.parametrize(("size", "mask"), [((3, 4), (1, 1)), ((3, 4), (3, 5)), ((4, 2), (7, 3)), ((2, 3), (9, 11))])
def test_mask_by_its_definition(psa_type, size, mask):
    x = torch.from_numpy(rec_input(9, (2, mask[0] * mask[1], *size)))
    assert torch.equal(psa_mask(x, psa_type, *mask), mask_by_definition(x, psa_type, *mask))


@pytest.mark.parametrize("psa_type", [0, 1])
def test_mask_default_size_reaches_every_position(psa_type):
    x = torch.from_numpy(rec_input(9, (1, 5 * 7, 3, 4)))
    assert torch.equal(psa_mask(x, psa_type), psa_mask(x, psa_type, 5, 7))
    assert (psa_mask(x, psa_type) != 0).all()


@pytest.mark.parametrize("psa_type", [0, 1])
def test_mask_gradient(psa_type):
    x = torch.randn(1, 15, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: psa_mask(v, psa_type, 3, 5), x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 5), "mask_h=4.*nearest: 3, 5"),
        ((1, 5, 0), "mask_w=0"),
        ((2, 5, 5), "psa_type=2"),
        ((0, 5, None), "both sizes or none"),
        ((0, 5, 7), "25 channels.*expected 35"),
    ],
)
def test_mask_refuses(arguments, message):
    with pytest.raises(AssertionError, match=message):
        psa_mask(torch.zeros(1, 25, 3, 3), *arguments)


def test_state_dict_layout():
    golden = load_golden("keys_psanet50")
    with torch.device("meta"):
        model = PSANet(**golden["kwargs"])
    assert layout(model) == golden["state_dict"]
    assert [name for name, _ in model.named_parameters()] == golden["parameter_order"]


GOLDEN = "forward_psanet50_type2"


@pytest.mark.golden
def test_logits():
    golden, logits, allowed = load_golden(GOLDEN), forward(GOLDEN)["logits"], tolerances(GOLDEN)
    allowed.check("logits", logits[:, :, ::2, ::2], golden["logits_sub2"])
    runner_up, best = np.sort(logits, axis=1)[:, -2:].swapaxes(0, 1)
    clear = best - runner_up > 2 * allowed.each("logits")
    assert clear.mean() > 0.99
    assert (logits.argmax(1) == golden["argmax"])[clear].all()


@needs_the_goldens_machine
def test_logits_to_the_bit():
    assert sha256(forward(GOLDEN)["logits"]) == load_golden(GOLDEN)["meta"]["logits_sha256"]


# Inputs are 33 x 49: features of 5 x 7, and of 3 x 4 at shrink factor 2.
@pytest.mark.parametrize("psa_type", [0, 1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"mask_h": 5, "mask_w": 7},
        {"mask_h": 3, "mask_w": 5, "psa_softmax": False, "normalization_factor": None},
        {"mask_h": 5, "mask_w": 7, "shrink_factor": 1, "normalization_factor": 4.0},
        {"mask_h": 3, "mask_w": 4, "compact": True},
        {"mask_h": 5, "mask_w": 7, "compact": True, "shrink_factor": 1, "zoom_factor": 1},
    ],
    ids=["default", "no-softmax", "no-shrink", "compact", "compact-no-shrink-zoom1"],
)
def test_every_setting_trains(psa_type, options):
    torch.manual_seed(0)
    model = PSANet(classes=5, psa_type=psa_type, pretrained=False, **options)
    x = torch.from_numpy(rec_input(3, (2, 3, 33, 49)))
    step = 8 if options.get("zoom_factor") == 1 else 1
    target = torch.from_numpy(np.stack([rec_label(s, 33, 49, 5)[::step, ::step] for s in (0, 1)])).long()
    prediction, main_loss, aux_loss = model(x, target)
    (main_loss + 0.4 * aux_loss).backward()
    assert prediction.shape == target.shape
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.psa.parameters())
    assert hasattr(model.psa, "attention_p") == (psa_type == 2)
    with torch.no_grad():
        assert model.eval()(x).shape == (2, 5, *target.shape[1:])


@pytest.mark.parametrize("psa_type", [0, 1])
def test_attention_by_its_definition(psa_type):
    """Affinities are normalised over the target; compact and masked attention agree where both describe the same."""
    torch.manual_seed(0)
    with torch.device("meta"):
        masked = PSANet(psa_type=psa_type, mask_h=5, mask_w=7, pretrained=False).psa
        compact = PSANet(psa_type=psa_type, mask_h=3, mask_w=4, compact=True, pretrained=False).psa
    attention = torch.from_numpy(rec_input(4, (2, 35, 3, 4)))
    affinity = masked.affinity(attention, psa_type)
    torch.testing.assert_close(affinity.sum(dim=1), torch.ones(2, 12))
    collected = mask_by_definition(attention, 0, 5, 7)
    assert torch.equal(compact.affinity(collected, psa_type), affinity)


def test_normalization_factor():
    x = torch.from_numpy(rec_input(6, (1, 8, 3, 3)))
    affinity = torch.from_numpy(rec_input(7, (1, 9, 9)))
    with torch.device("meta"):
        by_mask, by_one = (
            PSANet(mask_h=5, mask_w=5, normalization_factor=factor, pretrained=False).psa for factor in (None, 1.0)
        )
    torch.testing.assert_close(by_mask._attend(x, affinity) * 25, by_one._attend(x, affinity))


def test_without_attention():
    with torch.device("meta"):
        model = PSANet(use_psa=False, pretrained=False)
    assert not hasattr(model, "psa")
    assert model.cls[0].in_channels == 2048
    assert model.size_step == 8


def test_impossible_size():
    with torch.device("meta"):
        model = PSANet(pretrained=False).eval()
    with pytest.raises(OptionError, match=r"height 105.*multiple of 16 plus 1; nearest: 97, 113"):
        model(torch.zeros(1, 3, 105, 97, device="meta"))


def test_compact_fits_one_size():
    model = PSANet(compact=True, mask_h=3, mask_w=4, pretrained=False).eval()
    with pytest.raises(OptionError, match="set mask_h=3, mask_w=3"):
        model(torch.zeros(1, 3, 33, 33))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"psa_type": 3}, "psa_type=3.*nearest: 2"),
        ({"mask_h": 58}, "mask_h=58.*nearest: 57, 59"),
        ({"mask_w": 0}, "mask_w=0"),
        ({"compact": True, "mask_h": 0}, "mask_h=0"),
        ({"shrink_factor": 0}, "shrink_factor=0"),
        ({"classes": 1}, "classes=1"),
    ],
)
def test_impossible_option(arguments, message):
    with pytest.raises(OptionError, match=message):
        PSANet(**{"pretrained": False, **arguments})
