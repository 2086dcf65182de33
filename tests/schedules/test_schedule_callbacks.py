"""The callbacks that write rates: what every step of a training uses, also of a resumed one, and what is refused."""

import io
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from catalyst_cityscapes.callbacks import LRSchedule, PolyLR, TorchScheduler
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.role import role_of
from catalyst_cityscapes.schedules import LinearWarmup, Poly, mmseg_rate
from semseg_ref.base.errors import InputError, OptionError

T = "torch.optim.lr_scheduler"
STEPS_PER_EPOCH = 5


def training(kind: type = torch.optim.SGD, total: int = 20, **arguments: Any) -> SimpleNamespace:
    """A run of four epochs before its first step, over a backbone and a head at ten times its rate."""
    parameters = [nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2)]
    groups = [
        {"params": [parameter], "lr": 0.01 * multiplier, "lr_multiplier": multiplier}
        for parameter, multiplier in zip(parameters, (1.0, 10.0), strict=True)
    ]
    optimizer = kind(groups, **{"lr": 0.01, **({"momentum": 0.9} if kind is torch.optim.SGD else {}), **arguments})
    return SimpleNamespace(
        optimizer=optimizer, num_epochs=total // STEPS_PER_EPOCH, steps_per_epoch=STEPS_PER_EPOCH, total_steps=total,
        epoch_step=0, is_train_loader=True, optimizer_stepped=True, optimizer_steps=0,
    )  # fmt: skip


def drive(callback: Any, run: SimpleNamespace, steps: int) -> list[tuple[float, ...]]:
    """Goes on for some steps; (rates, momentum) that each of them used."""
    used = []
    for _ in range(steps):
        run.epoch_step = run.optimizer_steps // STEPS_PER_EPOCH + 1
        groups = run.optimizer.param_groups
        used.append((*(group["lr"] for group in groups), groups[0].get("momentum", groups[0].get("betas"))))
        for group in groups:
            group["params"][0].grad = torch.full_like(group["params"][0], float(run.optimizer_steps % 3 - 1))
        run.optimizer.step()
        run.optimizer_steps += 1
        callback.on_batch_end(run)
    return used


def scheduler(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{T}.{name}", **arguments}


def of_torch(every: str = "iteration", **node: Any) -> TorchScheduler:
    target = "catalyst_cityscapes.callbacks.TorchScheduler"
    return build({"_target_": target, "scheduler": scheduler(**node), "every": every}, "callbacks.scheduler")


WARMUP = scheduler("LinearLR", total_iters=3)
CALLBACKS = {
    "phases": lambda: LRSchedule(0.01, [LinearWarmup(iterations=3, factor=0.1), Poly(floor=1e-4)]),
    "cosine": lambda: of_torch(name="CosineAnnealingLR", T_max=20),
    "steps by epoch": lambda: of_torch("epoch", name="MultiStepLR", milestones=[1, 3]),
    "linear": lambda: of_torch(name="LinearLR", start_factor=0.5),
    "restarts": lambda: of_torch(name="CosineAnnealingWarmRestarts", T_0=3),
    "one-cycle": lambda: of_torch(name="OneCycleLR", max_lr=[0.01, 0.1], total_steps=20),
    "cyclic": lambda: of_torch(name="CyclicLR", base_lr=0.001, max_lr=0.01, step_size_up=3),
    "sequential": lambda: of_torch(
        name="SequentialLR", schedulers=[WARMUP, scheduler("MultiStepLR", milestones=[4])], milestones=[3]
    ),
    "chained": lambda: of_torch(name="ChainedScheduler", schedulers=[WARMUP, scheduler("ExponentialLR", gamma=0.9)]),
}
"""Each with a function of the step, or a state, of its own."""


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("stopped_after", [0, 2, 10, 13])
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_resumed_schedule_has_the_rates_of_an_uninterrupted_one(name, stopped_after, kind):
    whole, callback = training(kind), CALLBACKS[name]()
    callback.on_experiment_start(whole)
    expected = drive(callback, whole, 20)
    assert len(set(expected)) > 2

    first, callback = training(kind), CALLBACKS[name]()
    callback.on_experiment_start(first)
    used = drive(callback, first, stopped_after)
    state = torch.load(saved({"callback": callback.state_dict(), "optimizer": first.optimizer.state_dict()}))
    again, callback = training(kind), CALLBACKS[name]()
    again.optimizer.load_state_dict(state["optimizer"])
    for before, now in zip(first.optimizer.param_groups, again.optimizer.param_groups, strict=True):
        now["params"][0].data.copy_(before["params"][0])
    callback.load_state_dict(state["callback"])
    again.epoch_step = stopped_after // STEPS_PER_EPOCH  # whole epochs that a checkpoint has behind it
    callback.on_experiment_start(again)
    again.optimizer_steps = stopped_after
    assert used + drive(callback, again, 20 - stopped_after) == expected
    for one, other in zip(whole.optimizer.param_groups, again.optimizer.param_groups, strict=True):
        assert torch.equal(one["params"][0], other["params"][0])


def saved(content: dict[str, Any]) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return file


def test_phases_write_the_rate_of_each_step_from_the_first_on():
    run, callback = training(), LRSchedule(0.01, [LinearWarmup(iterations=4, factor=0.0), Poly(power=1.0)])
    run.optimizer.param_groups[0]["lr"] = 123.0
    callback.on_experiment_start(run)
    used = drive(callback, run, 20)
    rates = [0.01 * t / 4 for t in range(4)] + [0.01 * (1 - t / 16) for t in range(16)]
    assert [step[0] for step in used] == pytest.approx(rates)
    assert [step[1] for step in used] == [10.0 * step[0] for step in used]
    assert {step[2] for step in used} == {0.9}


def test_poly_as_a_phase_has_the_bits_of_the_callback():
    made = []
    for callback in (PolyLR(0.01), LRSchedule(0.01, [Poly()])):
        run = training()
        callback.on_experiment_start(run)
        made.append(drive(callback, run, 20))
    assert made[0] == made[1]


@pytest.mark.parametrize(("floors", "last"), [("scaled", (1e-3, 1e-2)), ("absolute", (1e-3, 1e-3))])
def test_a_floor_in_a_group_with_a_multiplier(floors, last):
    run, callback = training(), LRSchedule(0.01, [Poly(floor=1e-3, reaches_end=True)], floors)
    callback.on_experiment_start(run)
    used = drive(callback, run, 20)
    assert used[-1][:2] == pytest.approx(last)
    if floors == "absolute":
        for index, base in enumerate((0.01, 0.1)):
            expected = [mmseg_rate(t, base, 20, "sgd", floor=1e-3) for t in range(20)]
            assert [step[index] for step in used] == expected


def test_what_torch_does_in_each_group_is_kept():
    run, callback = training(), of_torch(name="CosineAnnealingLR", T_max=20)
    callback.on_experiment_start(run)
    used = drive(callback, run, 20)
    assert [step[1] for step in used] == pytest.approx([10 * step[0] for step in used])
    assert used[0][0] == 0.01


def test_a_scheduler_by_epoch_steps_after_the_last_step_of_an_epoch():
    run, callback = training(), of_torch("epoch", name="ExponentialLR", gamma=0.5)
    callback.on_experiment_start(run)
    assert [step[0] for step in drive(callback, run, 11)] == [0.01] * 5 + [0.005] * 5 + [0.0025]


def test_a_cycle_that_drives_the_momentum_says_so():
    cycle = {"scheduler": scheduler("OneCycleLR", max_lr=0.1, total_steps=9)}
    assert role_of(TorchScheduler, cycle).affects == ("rates", "momentum")
    assert role_of(TorchScheduler, {"scheduler": {**cycle["scheduler"], "cycle_momentum": False}}).affects == ("rates",)
    assert role_of(TorchScheduler, {"scheduler": scheduler("StepLR", step_size=1)}).takes == ("rates",)


@pytest.mark.parametrize(
    ("callback", "kind", "message"),
    [
        (
            lambda: of_torch(name="OneCycleLR", max_lr=0.1, total_steps=19),
            torch.optim.SGD,
            "scheduler: OneCycleLR: ends after 19 steps, and the training has 20 iterations; total_steps: 20 fits",
        ),
        (
            lambda: of_torch("epoch", name="OneCycleLR", max_lr=0.1, total_steps=3),
            torch.optim.SGD,
            "ends after 3 steps, and the training has 4 epochs",
        ),
        (
            lambda: of_torch(name="OneCycleLR", max_lr=0.1, total_steps=20),
            torch.optim.Adagrad,
            "scheduler: OneCycleLR: optimizer must support momentum",
        ),
        (
            lambda: of_torch(name="OneCycleLR", max_lr=[0.1], total_steps=20),
            torch.optim.SGD,
            "scheduler: OneCycleLR: max_lr must have the same length",
        ),
    ],
)
def test_a_scheduler_that_does_not_fit_is_refused_before_the_first_step(callback, kind, message):
    run, made = training(kind), callback()
    run.callbacks = {"other": object(), "cosine": made}
    with pytest.raises(OptionError, match=message) as raised:
        made.on_experiment_start(run)
    assert str(raised.value).startswith("callbacks.cosine.scheduler: ")
    assert "\n" not in str(raised.value)


def test_arguments_that_torch_looks_at_later_are_one_line_too():
    run, callback = training(), of_torch(name="CosineAnnealingLR", T_max="x")
    callback.on_experiment_start(run)
    with pytest.raises(OptionError, match="scheduler: CosineAnnealingLR: unsupported operand"):
        drive(callback, run, 1)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (scheduler("ReduceLROnPlateau"), "scheduler: ReduceLROnPlateau steps by a metric"),
        (
            scheduler("SequentialLR", schedulers=[scheduler("ReduceLROnPlateau")], milestones=[]),
            "scheduler.schedulers.0: ReduceLROnPlateau steps by a metric",
        ),
        ({"_target_": "torch.nn.ReLU"}, "scheduler: expected a scheduler of torch.optim.lr_scheduler, got ReLU"),
        ("cosine", "scheduler: expected a scheduler of torch.optim.lr_scheduler, got str"),
    ],
)
def test_what_is_no_scheduler(node, message):
    with pytest.raises(InputError, match=message) as raised:
        build({"_target_": "catalyst_cityscapes.callbacks.TorchScheduler", "scheduler": node}, "callbacks.s")
    assert "\n" not in str(raised.value)


def test_other_words():
    with pytest.raises(OptionError, match="every: 'epochs'; did you mean 'epoch'"):
        TorchScheduler(partial(lr_scheduler.StepLR, step_size=1), every="epochs")
    with pytest.raises(OptionError, match="floors: 'absolut'; did you mean 'absolute'"):
        LRSchedule(0.01, [Poly()], floors="absolut")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("{_target_: torch.optim.lr_scheduler.StepLR}", "callbacks.s.scheduler: missing argument 'step_size'"),
        ("{_target_: torch.optim.lr_scheduler.StepLR, step_sise: 1}", "did you mean 'step_size'"),
        ("{_target_: torch.optim.lr_scheduler.StepLR, step_size: 1, optimizer: null}", "the runner sets it"),
    ],
)
def test_a_recipe_s_scheduler_is_checked_before_anything_is_built(node, message):
    callback = f"callbacks.s={{_target_: catalyst_cityscapes.callbacks.TorchScheduler, scheduler: {node}}}"
    with pytest.raises(InputError, match=message):
        load_recipe(["toy/pspnet50"], ["data.root=x", "callbacks.poly_lr=null", callback])
