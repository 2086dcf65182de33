"""Criteria against torch, the golden of mmsegmentation and formulas written out pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catalyst_cityscapes.losses import CrossEntropy, OhemCrossEntropyBiSeNet, OhemCrossEntropyMmseg, SumOfLosses
from catalyst_cityscapes.recipe.nodes.tensor_arguments import check_criterion
from semseg_ref.base.errors import OptionError
from support.golden.inputs import load_golden, rec_input, rec_label

CLASSES, IGNORED = 5, 255
WEIGHTS = [1.0, 2.0, 0.5, 3.0, 0.0]
EPSILON = 1.1920929e-07
"""What mmsegmentation adds to its divisors."""


def batch(images: int = 2, scale: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """float64 logits [N, 5, 6, 7] that carry a gradient, and targets with ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(images, CLASSES, 6, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, (images, 6, 7), generator=generator)
    target[:, 2, 1:4] = IGNORED
    return logits.requires_grad_(), target


def pixels(logits: Tensor, target: Tensor) -> list[tuple[float, int]]:
    """(probability of the true class, class) of each labelled pixel, by numpy."""
    values, labels = logits.detach().numpy(), target.numpy()
    found = []
    for n, y, x in np.ndindex(*labels.shape):
        if labels[n, y, x] != IGNORED:
            powers = np.exp(values[n, :, y, x])
            found.append((float(powers[labels[n, y, x]] / powers.sum()), int(labels[n, y, x])))
    return found


def assert_zero_with_gradient(criterion: nn.Module) -> None:
    logits, target = batch()
    loss = criterion(logits, torch.full_like(target, IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


# -- cross entropy -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_valid_has_the_bits_of_torch(weight, smoothing):
    logits, target = batch()
    logits = logits.detach().float().requires_grad_()
    tensor = None if weight is None else torch.tensor(weight)
    expected = nn.CrossEntropyLoss(tensor, ignore_index=IGNORED, label_smoothing=smoothing)(logits, target)
    loss = CrossEntropy(IGNORED, weight, smoothing)(logits, target)
    assert torch.equal(loss, expected)
    assert torch.equal(*(torch.autograd.grad(value, logits)[0] for value in (loss, expected)))


@pytest.mark.parametrize("average", ["valid", "all"])
def test_what_class_weights_do_to_the_divisor(average):
    logits, target = batch()
    found = pixels(logits, target)
    total = sum(-WEIGHTS[label] * math.log(p) for p, label in found)
    divisor = sum(WEIGHTS[label] for _, label in found) if average == "valid" else target.numel()
    criterion = CrossEntropy(IGNORED, WEIGHTS, average=average).double()
    assert criterion(logits, target).item() == pytest.approx(total / divisor, rel=1e-8)
    twice = CrossEntropy(IGNORED, [2 * w for w in WEIGHTS], average=average).double()(logits, target)
    assert twice.item() == pytest.approx(total / divisor * (1 if average == "valid" else 2), rel=1e-8)


@pytest.mark.parametrize("row", load_golden("mmseg_loss_ce.json")["rows"], ids=lambda row: str(row["seed"]))
def test_all_is_mmsegmentations(row):
    logits = torch.from_numpy(rec_input(row["seed"], row["shape"])).double().requires_grad_()
    labels = [rec_label(seed, *row["shape"][2:], row["shape"][1], row["label_block"]) for seed in row["label_seeds"]]
    target = torch.from_numpy(np.stack(labels)).long()
    assert int((target == IGNORED).sum()) == row["ignored"]
    loss = CrossEntropy(average="all")(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(row["default"], rel=1e-12)
    assert logits.grad.norm().item() == pytest.approx(row["grad_norm_default"], rel=1e-12)
    assert CrossEntropy()(logits, target).item() == pytest.approx(row["avg_non_ignore"], rel=1e-8)
    everywhere = torch.full_like(target, IGNORED)
    assert CrossEntropy(average="all")(logits, everywhere).item() == row["all_ignored_default"]


def test_smoothing_over_all_pixels():
    logits, target = batch()
    plain = nn.CrossEntropyLoss(ignore_index=IGNORED, label_smoothing=0.2, reduction="sum")(logits, target)
    found = CrossEntropy(IGNORED, label_smoothing=0.2, average="all")(logits, target)
    assert found.item() == pytest.approx(plain.item() / (target.numel() + EPSILON), rel=1e-12)


def test_a_batch_of_ignored_pixels_only():
    assert_zero_with_gradient(CrossEntropy(average="all"))
    logits, target = batch()
    assert CrossEntropy()(logits, torch.full_like(target, IGNORED)).isnan()  # torch's own


# -- hard pixels ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(
    ("thresh", "min_kept"), [(0.3, 5), (0.01, 20), (0.7, 5), (0.001, 10_000), (1.0, 10_000), (None, 7), (None, 10_000)]
)
@pytest.mark.parametrize("weight", [None, WEIGHTS])
def test_mmsegmentations_sampler(images, thresh, min_kept, weight):
    logits, target = batch(images)
    found = pixels(logits, target)
    losses = [-(weight[label] if weight else 1.0) * math.log(p) for p, label in found]
    if thresh is None:
        kept = sorted(losses, reverse=True)[: min_kept * images]
    else:
        rising = sorted(p for p, _ in found)
        limit = max(thresh, rising[min(min_kept * images, len(rising) - 1)])
        kept = [loss for loss, (p, _) in zip(losses, found, strict=True) if p < limit]
    expected = sum(kept) / (target.numel() + EPSILON)
    loss = OhemCrossEntropyMmseg(IGNORED, thresh, min_kept, weight).double()(logits, target)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_only_kept_pixels_have_a_gradient():
    logits, target = batch(1)
    OhemCrossEntropyMmseg(IGNORED, None, 4)(logits, target).backward()
    assert int((logits.grad.abs().sum(1) > 0).sum()) == 4
    logits, target = batch(1)
    OhemCrossEntropyMmseg(IGNORED, 0.001, 10_000)(logits, target).backward()
    labelled = int((target != IGNORED).sum())
    assert int((logits.grad.abs().sum(1) > 0).sum()) == labelled - 1  # all but the easiest


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(("thresh", "min_share"), [(0.7, 16), (0.01, 16), (1e-9, 16), (0.5, 1), (1.0, 16)])
def test_bisenets_hard_pixels(images, thresh, min_share):
    logits, target = batch(images)
    losses = sorted((-math.log(p) for p, _ in pixels(logits, target)), reverse=True)
    least = len(losses) // min_share
    hard = [loss for loss in losses if loss > -math.log(thresh)]
    kept = hard if len(hard) >= least else losses[:least]
    loss = OhemCrossEntropyBiSeNet(IGNORED, thresh, min_share)(logits, target)
    assert loss.item() == pytest.approx(sum(kept) / len(kept), rel=1e-10)


@pytest.mark.parametrize(
    "criterion",
    [OhemCrossEntropyMmseg(thresh=0.7), OhemCrossEntropyMmseg(), OhemCrossEntropyBiSeNet()],
    ids=["mmseg", "mmseg_fixed", "bisenet"],
)
def test_hard_pixels_of_a_batch_without_labels(criterion):
    assert_zero_with_gradient(criterion)
    check_criterion(criterion, CLASSES, IGNORED)


def test_bisenets_loss_of_a_few_easy_pixels_is_zero():
    logits = torch.zeros(1, CLASSES, 1, 3)
    logits[:, 0] = 9.0
    logits.requires_grad_()
    loss = OhemCrossEntropyBiSeNet()(logits, torch.zeros(1, 1, 3, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


# -- sums and settings ---------------------------------------------------------------------------------------------
def test_a_sum_weights_its_losses():
    logits, target = batch()
    first, second = CrossEntropy(), CrossEntropy(average="all")
    a, b = (loss(logits, target).item() for loss in (first, second))
    assert SumOfLosses([first, second])(logits, target).item() == pytest.approx(a + b, rel=1e-12)
    weighted = SumOfLosses([first, second], [0.5, 3.0])
    assert weighted(logits, target).item() == pytest.approx(0.5 * a + 3 * b, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CrossEntropy(average="vaild"), "average: expected valid or all, got 'vaild'; did you mean 'valid'?"),
        (lambda: CrossEntropy(label_smoothing=2), "label_smoothing: expected 0..1, got 2"),
        (lambda: OhemCrossEntropyMmseg(thresh=70), "thresh: expected a probability 0..1 or null, got 70"),
        (lambda: OhemCrossEntropyMmseg(min_kept=0), "min_kept: expected at least 1 pixel an image, got 0"),
        (lambda: OhemCrossEntropyBiSeNet(thresh=0), "thresh: expected a probability above 0 and at most 1, got 0"),
        (lambda: OhemCrossEntropyBiSeNet(min_share=0), "min_share: expected at least 1, got 0"),
        (lambda: SumOfLosses([]), "losses: expected a list of at least one loss, got []"),
        (lambda: SumOfLosses([CrossEntropy(), len]), "losses.1: expected a torch.nn.Module"),
        (lambda: SumOfLosses([CrossEntropy()], [1, 2]), "weights: has 2 numbers, expected 1, one a loss"),
    ],
)
def test_what_no_loss_can_be_made_of_is_refused(make, said):
    with pytest.raises(OptionError) as error:
        make()
    assert said in str(error.value)
