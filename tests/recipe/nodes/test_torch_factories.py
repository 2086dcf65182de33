"""torch's functions that make a tensor of numbers are targets; nothing else of torch itself is, and none is large."""

import pytest
import torch

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.allow_list import FACTORIES
from catalyst_cityscapes.recipe.nodes.targets import build, resolve_target
from semseg_ref.base.errors import InputError
from support.command_line import catalyst_dl
from support.runs.toy import toy_recipe

THREE = ("data.classes=3", "model.classes=3")


def weighted(node: str) -> str:
    return f"criterion={{_target_: torch.nn.CrossEntropyLoss, ignore_index: 255, weight: {{_target_: torch.{node}}}}}"


def refused(setting: str) -> str:
    with pytest.raises(InputError) as error:
        load_recipe(["toy/pspnet50"], [setting])
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("tensor, data: [1.0, 2, 30]", torch.tensor([1.0, 2, 30])),
        ("tensor, data: [1, 2, 30], dtype: float32", torch.tensor([1.0, 2, 30])),
        ("as_tensor, data: [1, 2, 30], dtype: torch.float32", torch.tensor([1.0, 2, 30])),
        ("zeros, size: [3]", torch.zeros(3)),
        ("ones, size: 3", torch.ones(3)),
        ("full, size: [3], fill_value: 0.5", torch.full((3,), 0.5)),
        ("arange, start: 1.0, end: 4", torch.arange(1.0, 4)),
        ("arange, end: 3, dtype: float64", torch.arange(3, dtype=torch.float64)),
        ("linspace, start: 1, end: 2, steps: 3", torch.linspace(1, 2, 3)),
        ("logspace, start: 0, end: 2, steps: 3", torch.logspace(0, 2, 3)),
        ("eye, n: 3", torch.eye(3)),
        ("eye, n: 3, m: 2", torch.eye(3, 2)),
    ],
)
def test_a_loss_gets_the_tensor_that_torch_makes(tmp_path, node, expected):
    state = torch.get_rng_state()
    weight = build(toy_recipe(tmp_path, *THREE, weighted(node)).criterion, "criterion").weight
    assert weight.dtype == expected.dtype
    assert torch.equal(weight, expected)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("zeros, size: [1e12]", ".size: Input should be a valid integer"),
        ("zeros, size: [1000000000000]", ": torch.zeros: size: expected at most 1048576 numbers, got [1000000000000]"),
        ("ones, size: [2000, 2000]", ": torch.ones: size: expected at most 1048576 numbers, got [2000, 2000], 4000000"),
        ("full, size: 2000000, fill_value: 1", ": torch.full: size: expected at most 1048576 numbers"),
        ("zeros, size: [-3]", ": torch.zeros: size: expected sides >= 0, got [-3]"),
        ("eye, n: 100000", ": torch.eye: size: expected at most 1048576 numbers"),
        ("arange, end: 1000000000000", ": torch.arange: expected at most 1048576 numbers from 0 to 1000000000000 by 1"),
        ("arange, end: 3, step: 1.0e-300", ": torch.arange: expected at most 1048576 numbers"),
        ("arange, end: 1.0e+308, start: -1.0e+308", ": torch.arange: expected at most 1048576 numbers"),
        ("arange, end: 3, step: 0", ": torch.arange: expected at most 1048576 numbers"),
        ("arange, end: -3", ": torch.arange: upper bound and lower bound inconsistent with step sign"),
        ("arange, end: .nan", ": torch.arange: expected at most 1048576 numbers from 0 to nan by 1"),
        ("linspace, start: 0, end: 1, steps: 2000000", ": torch.linspace: steps: expected 0 to 1048576, got 2000000"),
        ("logspace, start: 0, end: 1, steps: -1", ": torch.logspace: steps: expected 0 to 1048576, got -1"),
        ("tensor, data: [[1], [2, 3]]", ": torch.tensor: expected sequence of length 1 at dim 1"),
        ("tensor, data: abc", ": torch.tensor: data: expected a number or lists of numbers, got 'abc'"),
        ("tensor, data: [1], dtype: flaot32", ": torch.tensor: dtype: got 'flaot32'; did you mean 'float32'?"),
        ("tensor, dat: [1]", ".dat: unknown argument; did you mean 'data'?"),
        ("tensor", ": missing argument 'data' of torch.tensor"),
        ("ones, size: 3, _mode_: partial", "._mode_: torch.ones makes a tensor here; leave it out"),
        ("ones, size: 3, out: x", ".out: unknown argument"),
    ],
)
def test_what_is_no_tensor_or_too_large_is_refused_when_the_recipe_is_read(node, said):
    message = refused(weighted(node))
    assert message.startswith(f"--set: criterion.weight{said}"), message


@pytest.mark.parametrize(
    "name",
    ["load", "save", "compile", "hub.load", "ops.load_library", "from_file", "jit.load", "empty", "randn", "Tensor",
     "zeros.__call__", "tensor.x", "serialization.load", "set_default_dtype", "_VF.zeros"],
)  # fmt: skip
def test_nothing_else_of_torch_is_allowed(name):
    message = refused(weighted(f"{name}, f: x"))
    assert f"target 'torch.{name}' is outside the allowed packages (" in message
    assert "of torch itself torch.arange, " in message
    with pytest.raises(InputError, match="is outside the allowed packages"):
        resolve_target(f"torch.{name}")


@pytest.mark.parametrize("place", ["criterion", "model", "augmentation", "callbacks.x", "augmentation.steps.x"])
def test_a_tensor_is_no_component(place):
    said = "torch.ones makes a tensor, which is for an argument of a component and can be none itself"
    assert refused(f"{place}={{_target_: torch.ones, size: 3}}") == f"--set: {place}: {said}"


def test_the_command_line_refuses_a_huge_tensor_in_a_line(capsys):
    assert catalyst_dl("run", "--config", "toy/pspnet50", "--set", weighted("zeros, size: [1000000000000]")) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_each_name_is_torchs():
    for name in FACTORIES:
        assert callable(getattr(torch, name.removeprefix("torch.")))
        assert resolve_target(name).__name__ == name.removeprefix("torch.")
