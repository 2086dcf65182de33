"""Each part of a training step has one callback: nothing is done twice in silence, and nothing by a stranger."""

import inspect

import catalyst.callbacks
import pytest
from catalyst.callbacks import OptimizerCallback

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.step_owners import check_built_roles, check_roles
from catalyst_cityscapes.recipe.nodes.targets import build
from semseg_ref.base.errors import InputError
from support.runs.toy import toy_recipe

OURS = "catalyst_cityscapes.callbacks"
STOCK = "catalyst.callbacks"


def refused(*settings: str, trusted: tuple[str, ...] = ()) -> str:
    with pytest.raises(InputError) as error:
        load_recipe(["toy/pspnet50"], settings, trusted)
    return str(error.value)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            "OptimizerCallback, metric_key: loss",
            "steps the optimiser, which callbacks.gradient_step (GradientStep) does",
        ),
        (
            "BackwardCallback, metric_key: loss",
            "steps the optimiser, which callbacks.gradient_step (GradientStep) does",
        ),
        ("SchedulerCallback", "writes the learning rates, which callbacks.poly_lr (PolyLR) does already; remove it"),
        ("LRFinder, final_lr: 1.0", "writes the learning rates, which callbacks.poly_lr (PolyLR)"),
        (
            "CriterionCallback, input_key: logits, target_key: targets, metric_key: loss",
            "computes the loss, which callbacks.aux_loss (AuxLossWeighting) does already",
        ),
        ("CheckpointCallback, logdir: x", "writes checkpoints, which callbacks.checkpoint (Checkpoint) does already"),
        ("IOUCallback, input_key: logits, target_key: targets", f"in a recipe that is {OURS}.MeanIoU's part"),
        (
            "EarlyStoppingCallback, patience: 3, loader_key: valid, metric_key: loss, minimize: true",
            f"stops the training early; in a recipe that is {OURS}.EarlyStopping's part",
        ),
        ("MixupCallback, keys: [features]", "a plain Catalyst config (runner: and run:) takes all of Catalyst's"),
        ("CheckRunCallback", "a plain Catalyst config"),
        (
            f"ControlFlowCallbackWrapper, epochs: 2, base_callback: {{_target_: {STOCK}.OptimizerCallback, "
            "metric_key: loss}",
            "ControlFlowCallbackWrapper acts on Catalyst's own runners",
        ),
    ],
)
def test_a_callback_of_catalyst_takes_over_nothing(node, said):
    message = refused(f"callbacks.other={{_target_: {STOCK}.{node}}}")
    assert message.startswith("--set: callbacks.other: "), message
    assert said in message


ACTING = sorted(
    name
    for name, found in vars(catalyst.callbacks).items()
    if inspect.isclass(found) and found.__module__.startswith(f"{STOCK}.")
)
HARMLESS = {"TimerCallback", "TqdmCallback"}


@pytest.mark.parametrize("name", ACTING)
def test_each_callback_of_catalyst_is_refused_in_a_line_that_names_ours(name):
    target = getattr(catalyst.callbacks, name)
    nodes = [(("callbacks", "other"), {"_target_": f"{STOCK}.{name}"}, target)]

    def error_at(path: tuple, message: str) -> InputError:
        return InputError(f"{'.'.join(path)}: {message}")

    if name in HARMLESS:
        check_roles(nodes, error_at)
        return
    with pytest.raises(InputError) as error:
        check_roles(nodes, error_at)
    assert str(error.value).startswith(f"callbacks.other: {name} ")
    assert f"{OURS}." in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "node", "said"),
    [
        ("second", "GradientStep", "steps the optimiser, and so does callbacks.gradient_step (GradientStep)"),
        ("second", "AuxLossWeighting", "computes the loss, and so does callbacks.aux_loss"),
        ("second", "PolyLR, base_lr: 0.01", "writes the learning rates, and so does callbacks.poly_lr (PolyLR)"),
        ("second", "OneCycle, momentum: null", "writes the learning rates, and so does callbacks.poly_lr (PolyLR)"),
        ("second", "Checkpoint", "writes checkpoints, and so does callbacks.checkpoint (Checkpoint)"),
        ("second", "EpochLogging", "does the work of EpochLogging, and so does callbacks.epoch_log (EpochLogging)"),
        ("second", "MeanIoU, classes: 19, ignore_index: 255", "does the work of MeanIoU, and so does"),
    ],
)  # fmt: skip
def test_two_of_ours_with_one_role_are_refused(key, node, said):
    message = refused(f"callbacks.{key}={{_target_: {OURS}.{node}}}")
    assert message.startswith(f"--set: callbacks.{key}: "), message
    assert said in message
    assert message.endswith("set one of them to null")


def test_a_class_made_from_one_of_catalysts_is_refused_as_that():
    message = refused(
        "callbacks.x={_target_: support.faults.components.OwnStep, metric_key: loss}", trusted=("support",)
    )
    assert (
        "OwnStep is made from Catalyst's OptimizerCallback, which steps the optimiser, which callbacks.grad" in message
    )


def test_parts_that_do_not_meet_stay_possible(tmp_path):
    cycle = f"{{_target_: {OURS}.OneCycle, "
    recipe = toy_recipe(
        tmp_path,
        "callbacks.poly_lr=null",
        f"callbacks.rates={cycle}momentum: null}}",
        f"callbacks.momentum={cycle}rates: null}}",
        f"callbacks.timer={{_target_: {STOCK}.TimerCallback}}",
        "callbacks.spare=null",
    )
    assert recipe.callbacks["timer"]["_target_"] == f"{STOCK}.TimerCallback"


def test_what_a_function_builds_has_its_role_too():
    recipe = toy_recipe("city")
    built = {name: build(node, f"callbacks.{name}") for name, node in recipe.callbacks.items()}
    check_built_roles(built, recipe.callbacks)
    optimizer = OptimizerCallback(metric_key="loss")
    with pytest.raises(
        InputError, match=r"callbacks\.mine: OptimizerCallback steps the optimiser, which callbacks\.grad"
    ):
        check_built_roles({**built, "mine": optimizer}, {**recipe.callbacks, "mine": {}})
    with pytest.raises(InputError, match=r"callbacks\.mine: expected a callback of Catalyst, got a dict"):
        check_built_roles({**built, "mine": {}}, {**recipe.callbacks, "mine": {}})
