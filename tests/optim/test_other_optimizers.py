"""Optimisers other than SGD: defaults, resuming, what no training step can do with, and what is measured of them."""

import math

import pytest
import torch
from torch import nn

from catalyst_cityscapes.lab.lint import table
from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.measure.optimisation import BACKBONE, HEADS, Optimisation, measure_optimisation
from catalyst_cityscapes.optim import groups_by_rule
from catalyst_cityscapes.optim.from_recipe import recipe_groups
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError
from semseg_ref.optimizer import load_optimizer_state
from support.networks.small import SmallLogits
from support.runs.toy import SMALL, SMALL_PACKAGE

DENSE = [
    "SGD", "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop",
]  # fmt: skip
WEIGHT = (HEADS, "weight")


def recipe_of(name: str, *settings: str, **arguments: float) -> Recipe:
    node = {"_target_": f"torch.optim.{name}", **arguments}
    base = ("data.root=x", *SMALL, "callbacks.poly_lr.base_lr=0.001", f"optimizer={node}", "experiment.epochs=2")
    return load_recipe(["toy/pspnet50"], [*base, *settings], (SMALL_PACKAGE,))


def measured(name: str, *settings: str, **arguments: float) -> Optimisation:
    return measure_optimisation(recipe_of(name, *settings, **arguments), SmallLogits(), 10)


def test_what_a_node_leaves_out_is_the_optimiser_s_default():
    decayed = "optimizer.groups={_target_: catalyst_cityscapes.optim.no_bias_decay_groups}"
    for settings, decay in (((), None), ((decayed,), 0.01)):
        _, groups = recipe_groups(recipe_of("AdamW", *settings).optimizer, SmallLogits())
        assert groups[0]["lr"] == 0.001
        assert groups[0].get("weight_decay") == decay
    _, groups = recipe_groups(recipe_of("Rprop", decayed).optimizer, SmallLogits())
    assert {(group["lr"] / group["lr_multiplier"], group["weight_decay"]) for group in groups} == {(0.01, 0.0)}


def trained(optimizer: torch.optim.Optimizer, model: nn.Module, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("name", DENSE)
def test_an_optimiser_goes_on_from_its_state(name):
    """Through the reference's loading, which keeps this run's names and multipliers of the groups."""
    rules = [{"kind": "norm", "decay_mult": 0}, {"name": ["cls.*", "aux.*"], "lr_mult": 10}]

    def made(model: nn.Module) -> torch.optim.Optimizer:
        return getattr(torch.optim, name)(groups_by_rule(model, 0.01, 0.1, rules), lr=0.01)

    whole, first, again = SmallLogits(), SmallLogits(), SmallLogits()
    first.load_state_dict(whole.state_dict())
    trained(made(whole), whole, range(4))
    stopped = made(first)
    trained(stopped, first, range(2))
    again.load_state_dict(first.state_dict())
    resumed = made(again)
    load_optimizer_state(resumed, stopped.state_dict())
    assert [group["name"] for group in resumed.param_groups] == [group["name"] for group in stopped.param_groups]
    trained(resumed, again, range(2, 4))
    assert all(map(torch.equal, whole.parameters(), again.parameters()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LBFGS", "optimizer: LBFGS computes the loss several times a step"),
        ("SparseAdam", "optimizer: SparseAdam takes sparse gradients"),
    ],
)
def test_optimisers_that_no_training_step_can_use(name, message):
    with pytest.raises(InputError, match=message):
        recipe_of(name)


def test_muon_says_itself_that_it_takes_matrices_only():
    node, groups = recipe_groups(recipe_of("Muon").optimizer, SmallLogits())
    with pytest.raises(InputError, match=r"optimizer: torch\.optim\.Muon: Muon only supports 2D parameters") as raised:
        build(node, "optimizer", params=groups)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="Muon only supports 2D"):
        measured("Muon")


@pytest.mark.parametrize("name", DENSE)
def test_every_optimiser_is_measured(name):
    found = measured(name, **({} if name == "Rprop" else {"weight_decay": 0.01}))
    assert found.optimizer == name
    assert set(found.travel) == set(found.decay) | set(found.rescaled_decay)
    assert not set(found.decay) & set(found.rescaled_decay)
    assert all(math.isfinite(value) and value > 0 for value in found.travel.values())
    facts = Facts(recipe_of(name), 8, optimisation=found)
    for rule in ("gradient-ascent", "no-momentum", "dampened-gradients", "nesterov-momentum", "no-weight-decay"):
        if (name, rule) not in (("SGD", "no-momentum"), ("Rprop", "no-weight-decay")):  # these two are true
            assert list(table.RULES[rule].check(facts)) == [], rule


def test_decay_that_is_rescaled_with_the_gradient_is_no_share_of_a_weight():
    apart, coupled = measured("AdamW", weight_decay=0.01), measured("Adam", weight_decay=0.01)
    assert apart.decay[WEIGHT] == pytest.approx(0.01 * apart.lr(HEADS).sum(), rel=1e-3)
    assert not apart.rescaled_decay
    assert coupled.rescaled_decay[WEIGHT] == 0.01
    assert WEIGHT not in coupled.decay
    assert measured("Adam").decay[WEIGHT] == 0


S = "catalyst_cityscapes.schedules"
PHASES = f"[{{_target_: {S}.LinearWarmup, iterations: 4, factor: 0}}, {{_target_: {S}.Poly, power: 1}}]"
COSINE = "{_target_: torch.optim.lr_scheduler.CosineAnnealingLR, T_max: 2}"


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (
            f"LRSchedule, base_lr: 0.01, phases: {PHASES}",
            [0.01 * t / 4 for t in range(4)] + [0.01 * (1 - t / 16) for t in range(16)],
        ),
        (f"TorchScheduler, scheduler: {COSINE}, every: epoch", [0.01] * 10 + [0.005] * 10),
    ],
)
def test_schedules_are_measured_without_a_training(callback, expected):
    node = f"callbacks.schedule={{_target_: catalyst_cityscapes.callbacks.{callback}}}"
    found = measured("SGD", "callbacks.poly_lr=null", node, lr=0.01, momentum=0.9)
    for part in (BACKBONE, HEADS):
        assert found.lr(part) == pytest.approx(expected)
