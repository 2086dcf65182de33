"""Optimisers other than SGD: defaults, resuming, what no training step can do with, and what is measured of them."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR

from catalyst_cityscapes.callbacks import TorchScheduler
from catalyst_cityscapes.lab.lint import table
from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.measure.optimisation import BACKBONE, HEADS, Optimisation, measure_optimisation
from catalyst_cityscapes.optim import groups_by_rule
from catalyst_cityscapes.optim.from_recipe import recipe_groups
from catalyst_cityscapes.optim.momenta import start_momenta
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


def test_without_groups_every_parameter_is_in_one():
    """Parameters of the network itself, and weights that two of its modules share, too."""
    model = SmallLogits()
    model.token = nn.Parameter(torch.zeros(1))
    model.aux[1].weight = model.cls[1].weight
    node, groups = recipe_groups(recipe_of("AdamW", "optimizer.groups=null").optimizer, model)
    assert {group["lr"] for group in groups} == {0.001}
    optimizer = build(node, "optimizer", params=groups)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}


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


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_a_step_that_the_scaler_of_fp16_skips_is_as_if_it_was_not(name, fused):
    """Under a schedule of torch, which counts the skipped step, without a warning."""
    found = []
    for gradients in ([0.5, 0.25], [math.inf, 0.5, math.inf, 0.25]):
        parameter = nn.Parameter(torch.ones(4))
        optimizer = getattr(torch.optim, name)([parameter], lr=0.1, fused=fused)
        start_momenta(optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=1.0, backoff_factor=0.999999)
        run = SimpleNamespace(
            optimizer=optimizer, total_steps=9, steps_per_epoch=3, is_train_loader=True, optimizer_stepped=True
        )
        schedule = TorchScheduler(partial(ConstantLR, factor=1.0))
        schedule.on_experiment_start(run)
        for gradient in gradients:
            scaler.scale(torch.zeros(()))  # makes the scale
            parameter.grad = torch.full((4,), gradient)
            scaler.step(optimizer)
            scaler.update()
            schedule.on_batch_end(run)
        assert schedule.scheduler.last_epoch == len(gradients)
        found.append(parameter.detach().clone())
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=0)


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


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RAdam", "RMSprop", "Adamax", "Adagrad", "Adadelta"])
def test_what_rescales_its_decay(name):
    assert measured(name, weight_decay=0.01).rescaled_decay[WEIGHT] == 0.01


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
