"""What a run sets of cuDNN and of torch's deterministic algorithms, in both arms."""

import os
from pathlib import Path

import pytest
import torch

from catalyst_cityscapes.train.runner import SegmentationRunner
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from support.command_line import catalyst_dl
from support.runs.toy import SMALL, toy_recipe, toy_settings, train_catalyst, train_control

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def cudnn():
    """cuDNN's flags, which are as they were afterwards."""
    flags = torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    yield flags
    flags.deterministic, flags.benchmark = before


def settings_of(recipe, train, monkeypatch, place) -> dict[str, bool]:
    """What holds while an arm trains."""
    found = {}

    def note(*_: object, **__: object) -> None:
        found.update(
            deterministic=torch.backends.cudnn.deterministic,
            benchmark=torch.backends.cudnn.benchmark,
            algorithms=torch.are_deterministic_algorithms_enabled(),
        )
        raise KeyboardInterrupt

    monkeypatch.setattr(place, note)
    with pytest.raises(KeyboardInterrupt):
        train(recipe)
    return found


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("experiment.seed=3",), (True, False, False)),
        (("experiment.seed=null", "sampling.seed_stream=reference"), (False, False, False)),
        (("engine.deterministic=true",), (True, False, True)),
        (("engine.cudnn_benchmark=true",), (False, True, False)),
    ],
    ids=["seeded", "unseeded", "deterministic", "benchmark"],
)
def test_both_arms_set_cudnn_as_the_reference_does(toy_city, workdir, monkeypatch, cudnn, settings, expected):
    keys = ("deterministic", "benchmark", "algorithms")
    cudnn.deterministic, cudnn.benchmark = not expected[0], not expected[1]
    handle = "catalyst_cityscapes.train.runner.SegmentationRunner.handle_batch"
    found = settings_of(toy_recipe(toy_city, *SMALL, *settings), train_catalyst, monkeypatch, handle)
    assert tuple(found[key] for key in keys) == expected
    assert not torch.are_deterministic_algorithms_enabled()
    if "engine.cudnn_benchmark=true" in settings:
        return  # the control arm has no option for it
    cudnn.deterministic, cudnn.benchmark = not expected[0], not expected[1]
    recipe = toy_recipe(toy_city, *settings)
    found = settings_of(recipe, train_control, monkeypatch, "semseg_ref.train.train_epoch")
    assert tuple(found[key] for key in keys) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_command_gives_deterministic_to_the_control_arm(toy_city, workdir, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen = []
    monkeypatch.setattr(
        "semseg_ref.train.run",
        lambda *_, **__: seen.append((torch.are_deterministic_algorithms_enabled(), os.environ)) or Path("last.pth"),
    )
    values = toy_settings(toy_city, "engine.deterministic=true")
    assert catalyst_dl("run", "--config", "toy/pspnet50", "--control", "--set", *values) == 0
    assert seen[0][0]
    assert seen[0][1]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_fastest_and_the_deterministic_algorithms_exclude_each_other(toy_city, workdir, capsys):
    values = toy_settings(toy_city, "engine.deterministic=true", "engine.cudnn_benchmark=true")
    assert catalyst_dl("run", "--config", "toy/pspnet50", "--set", *values) == 2
    error = capsys.readouterr().err
    assert "engine" in error
    assert "deterministic and cudnn_benchmark exclude each other" in error
    assert error.count("\n") == 1


def test_a_checkpoint_older_than_a_key_goes_on(toy_city, workdir, capsys):
    """The key's default is what was done before it was there."""
    train_catalyst(toy_recipe(toy_city, *SMALL))
    content = read_checkpoint(Path("run/model/train_epoch_1.pth"))
    for key in ("deterministic", "cudnn_benchmark"):
        del content["recipe"]["engine"][key]
    del content["recipe"]["sampling"]["persistent_workers"]
    torch.save(content, "older.pth")
    recipe = toy_recipe(toy_city, *SMALL, "experiment.logdir=again")
    assert isinstance(train_catalyst(recipe, Path("older.pth")), SegmentationRunner)
    assert "absent" not in capsys.readouterr().err
