"""Class weights as a list of numbers: the loss is torch's with that tensor; anything that is none is refused."""

import pytest
import torch
from torch import nn

from catalyst_cityscapes.lab.measure.loss import measure_loss
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.nodes.tensor_arguments import check_criterion
from catalyst_cityscapes.recipe.translation import recipe_to_official
from semseg_ref.base.errors import InputError
from support.runs.toy import toy_recipe

THREE = ("data.classes=3", "model.classes=3")


def criterion_of(tmp_path, *settings: str) -> nn.Module:
    return build(toy_recipe(tmp_path, *THREE, *settings).criterion, "criterion")


def refused(tmp_path, *settings: str) -> str:
    with pytest.raises(InputError) as error:
        check_criterion(criterion_of(tmp_path, *settings), 3, 255)
    return str(error.value)


@pytest.mark.parametrize("weights", ["[1.0,2.0,30.0]", "[1,2,30]", "[0,0.5,1]"])
def test_the_loss_is_torchs_with_these_weights(tmp_path, weights):
    built = criterion_of(tmp_path, f"criterion.weight={weights}")
    expected = nn.CrossEntropyLoss(weight=torch.tensor(eval(weights), dtype=torch.float32), ignore_index=255)
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    labels[0, 0] = 255
    assert torch.equal(built(logits, labels), expected(logits, labels))
    assert "weight" in dict(built.named_buffers())  # so that `.to(device)` takes it along
    check_criterion(built, 3, 255)


def test_a_loss_of_the_users_own_and_one_inside_of_it(tmp_path):
    recipe = toy_recipe(tmp_path, *THREE)
    node = {"_target_": "support.faults.components.WrappedLoss", "weight": [1, 2, 3]}
    node["inner"] = {"_target_": "torch.nn.CrossEntropyLoss", "weight": [3, 2, 1]}
    built = build(node, "criterion")
    assert built.weight.tolist() == [1, 2, 3]
    assert built.inner.weight.tolist() == [3, 2, 1]
    assert recipe.criterion["_target_"] == "torch.nn.CrossEntropyLoss"


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("[1.0,2.0]", "criterion.weight: has 2 numbers, expected 3, one a class (data.classes)"),
        ("[1.0,-2.0,1.0]", "criterion.weight: expected finite numbers >= 0, not all of them 0"),
        ("[.nan,1.0,1.0]", "criterion.weight: expected finite numbers >= 0"),
        ("[0,0,0]", "criterion.weight: expected finite numbers >= 0, not all of them 0"),
        ("2.5", "criterion.weight: expected a list of 3 numbers, one a class, got 2.5"),
        ("[true,1,1]", "criterion.weight: expected a list of 3 numbers"),
    ],
)
def test_what_is_no_weight_a_class_is_refused(tmp_path, weights, said):
    assert said in refused(tmp_path, f"criterion.weight={weights}")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            "{_target_: torch.nn.BCEWithLogitsLoss, pos_weight: [1,2]}",
            "criterion.pos_weight: has 2 numbers, expected 3",
        ),
        (
            "{_target_: torch.nn.BCEWithLogitsLoss, pos_weight: [[[1]],[[2]],[[3]]]}",
            "BCEWithLogitsLoss does not take logits [N, 3, h, w] and labels [N, h, w]",
        ),
        (
            "{_target_: torch.nn.CrossEntropyLoss, reduction: none, ignore_index: 255}",
            "expected one number; is its reduction 'none'?",
        ),
        ("{_target_: torch.nn.NLLLoss, weight: [1,2,3], ignore_index: 255}", "it takes log-probabilities"),
        ("{_target_: torch.nn.CrossEntropyLoss, ignore_index: 0}", "with ignored pixels (255)"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_before_the_first_image(tmp_path, node, said):
    assert said in refused(tmp_path, f"criterion={node}")


def test_lint_sees_the_weights_and_the_control_arm_says_that_it_has_none(tmp_path):
    recipe = toy_recipe(tmp_path, *THREE, "criterion.weight=[1,2,30]")
    assert measure_loss(recipe).class_weights == pytest.approx((1, 2, 30))
    with pytest.raises(InputError, match=r"the control arm cannot express criterion\.weight"):
        recipe_to_official(recipe)
