"""Losses as a recipe writes them: this project's, segmentation_models_pytorch's, and sums whose parts are checked."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from catalyst_cityscapes.lab.measure.loss import measure_loss
from catalyst_cityscapes.recipe.consistency import check_consistency
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.nodes.tensor_arguments import check_criterion
from semseg_ref.base.errors import InputError
from semseg_ref.base.iteration_log import read_iteration_log
from support.runs.toy import SMALL, toy_recipe, train_catalyst

OURS, SMP = "catalyst_cityscapes.losses", "segmentation_models_pytorch.losses"
CE = f"{{_target_: {OURS}.CrossEntropy, ignore_index: 255}}"
DICE = f"{{_target_: {SMP}.DiceLoss, mode: multiclass, ignore_index: 255}}"
FOCAL = f"{{_target_: {SMP}.FocalLoss, mode: multiclass, ignore_index: 255}}"

pytest.importorskip("segmentation_models_pytorch")


def sum_of(*losses: str, weights: str = "null") -> str:
    return f"{{_target_: {OURS}.SumOfLosses, losses: [{', '.join(losses)}], weights: {weights}}}"


def argument(node: str, more: str) -> str:
    return f"{node.removesuffix('}')}, {more}}}"


def checked(node: str) -> nn.Module:
    """A criterion of three classes after the checks of a run, which sets the loss alone."""
    criterion = build(
        toy_recipe("city", "data.classes=3", "model.classes=3", f"criterion={node}").criterion, "criterion"
    )
    check_criterion(criterion, 3, 255)
    return criterion


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits float [2, 3, 4, 5] and labels with a row of ignored pixels."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)
    target[:, 1] = 255
    return torch.randn(2, 3, 4, 5, generator=generator), target


def valid_pixels() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [n, 3] and one-hot labels [n, 3] of the labelled pixels alone."""
    logits, target = batch()
    valid = target != 255
    return logits.permute(0, 2, 3, 1)[valid], F.one_hot(target[valid], 3).float()


def test_smps_dice_and_focal_are_what_the_page_says():
    logits, truth = valid_pixels()
    share = logits.softmax(1)
    dice = 1 - 2 * (share * truth).sum(0) / (share.sum(0) + truth.sum(0))
    torch.testing.assert_close(checked(DICE)(*batch()), dice.mean())
    binary = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    focal = (1 - (-binary).exp()) ** 2 * binary  # a sigmoid for each class, no softmax over them
    torch.testing.assert_close(checked(FOCAL)(*batch()), focal.mean())


def test_smps_losses_of_a_batch_without_labels():
    logits, target = batch()
    logits.requires_grad_()
    nowhere = torch.full_like(target, 255)
    dice = checked(DICE)(logits, nowhere)
    dice.backward()
    assert dice.item() == 0
    assert logits.grad.abs().max() == 0
    assert checked(FOCAL)(logits, nowhere).isnan()


def test_a_sum_builds_its_parts_with_their_tensors():
    weighted = argument(CE, "weight: [1, 2, 30]")
    criterion = checked(sum_of(weighted, DICE, weights="[1, 0.5]"))
    cross_entropy = F.cross_entropy(*batch(), torch.tensor([1.0, 2, 30]), ignore_index=255)
    torch.testing.assert_close(criterion(*batch()), cross_entropy + 0.5 * checked(DICE)(*batch()))
    assert "losses.0.weight" in dict(criterion.named_buffers())  # so that `.to(device)` takes it along
    nested = sum_of(sum_of(argument(CE, "weight: {_target_: torch.tensor, data: [1.0, 2, 30]}")))
    torch.testing.assert_close(checked(nested)(*batch()), cross_entropy)


@pytest.mark.parametrize(
    "node",
    [
        argument(CE, "average: all"),
        f"{{_target_: {OURS}.OhemCrossEntropyMmseg, ignore_index: 255, thresh: 0.7, min_kept: 9}}",
        f"{{_target_: {OURS}.OhemCrossEntropyBiSeNet, ignore_index: 255}}",
        sum_of(CE, FOCAL),
        f"{{_target_: {SMP}.LovaszLoss, mode: multiclass, ignore_index: 255}}",
    ],
)
def test_lint_measures_them(node):
    loss = measure_loss(toy_recipe("city", *SMALL, f"criterion={node}"))
    assert loss.refused is None
    assert loss.ignored_gradient == 0


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (argument(DICE, "from_logits: false"), "criterion: segmentation_models_pytorch.losses.DiceLoss takes probabil"),
        (
            sum_of(CE, argument(FOCAL, "from_logits: false")),
            "criterion.losses.1: segmentation_models_pytorch.losses.F",
        ),
        (argument(DICE, "class_weights: [1, 2]"), "criterion.class_weights: has 2 numbers, expected 3"),
        (argument(DICE, "class_weights: [1, 2, -3]"), "criterion.class_weights: expected finite numbers >= 0"),
        (f"{{_target_: {SMP}.DiceLoss, mode: binary, ignore_index: 255}}", "criterion: DiceLoss does not take logits"),
        (f"{{_target_: {SMP}.FocalLoss, mode: multilabel, ignore_index: 255}}", "criterion: FocalLoss does not take"),
        (f"{{_target_: {SMP}.DiceLoss, mode: Multiclass}}", "DiceLoss: AssertionError, without a word"),
        (sum_of(argument(CE, "weight: [1, 2]")), "criterion.losses.0.weight: has 2 numbers, expected 3, one a class"),
        (argument(CE, "average: vaild"), "criterion.average: Input should be 'valid' or 'all' (got 'vaild')"),
        (sum_of("ce"), "criterion.losses: Input should be a '_target_' (got ['ce'])"),
        (sum_of(CE, weights="[1, 2]"), "SumOfLosses: weights: has 2 numbers, expected 1, one a loss"),
        (f"{{_target_: {OURS}.SumOfLosses, losses: {CE}}}", "losses: expected a list of at least one loss, got Cross"),
        (sum_of(CE, "{_target_: torch.nn.NLLLoss, ignore_index: 255}", weights="[1, 0.1]"), "takes log-probab"),
        (sum_of("{_target_: torch.load, f: x}"), "criterion.losses.0._target_: target 'torch.load' is outside"),
    ],
)
def test_what_is_no_loss_of_logits_is_refused(node, said):
    with pytest.raises(InputError) as error:
        checked(node)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (f"{{_target_: {SMP}.DiceLoss, mode: multiclass}}", r"criterion\.ignore_index: None \(its default\) differs"),
        (sum_of(CE, "{_target_: torch.nn.CrossEntropyLoss}"), r"criterion\.losses\.1\.ignore_index: -100 \(its defaul"),
        (sum_of(sum_of(argument(DICE, "eps: 0.1").replace("255", "0"))), r"losses\.0\.losses\.0\.ignore_index: 0 diff"),
    ],
)
def test_another_ignored_value_is_found_in_every_nesting(node, said):
    with pytest.raises(InputError, match=said):
        check_consistency(toy_recipe("city", *SMALL, f"criterion={node}"))


def test_a_heads_own_criterion_is_checked_like_the_recipes():
    weighted = argument(CE, "weight: [1, 2, 30]")
    three = ("data.classes=3", "model.classes=3")
    recipe = toy_recipe("city", *three, f"callbacks.aux_loss.criteria=[{sum_of(weighted)}]")
    criterion = build(recipe.callbacks["aux_loss"], "callbacks.aux_loss").criteria[0]
    assert criterion.losses[0].weight.tolist() == [1, 2, 30]
    for node, said in (
        (argument(CE, "weight: [1, 2]"), r"aux_loss\.criteria\.0\.losses\.0\.weight: has 2 numbers"),
        (argument(DICE, "from_logits: false"), r"aux_loss\.criteria\.0\.losses\.0: .* takes probabilities"),
    ):
        with pytest.raises(InputError, match=said):
            toy_recipe("city", *three, f"callbacks.aux_loss.criteria=[{sum_of(node)}]")


def test_a_training_with_cross_entropy_and_dice(toy_city, workdir):
    settings = (*SMALL, "experiment.epochs=1", f"criterion={sum_of(CE, DICE, weights='[1, 0.5]')}")
    train_catalyst(toy_recipe(toy_city, *settings))
    rows = read_iteration_log("run/iterations.csv")
    assert len(rows) == 2
    # Of random logits: ln 19 of the cross entropy, and half of a Dice loss between 0 and 1.
    assert all(2 < row.main_loss < 4.5 for row in rows)
