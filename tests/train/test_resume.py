"""A run that is cut short and resumed ends bit by bit where an uninterrupted one does."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from catalyst_cityscapes.callbacks import GradientStep
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from semseg_ref.base.iteration_log import read_iteration_log
from support.command_line import catalyst_dl
from support.runs.crashes import SETTINGS, CrashError, assert_one_line, crash_at_call, crash_at_replace, snapshot
from support.runs.forked_processes import finish, forked_processes, is_running
from support.runs.toy import CONFIG, LOGS, SMALL_PACKAGE, STATE, assert_same_checkpoints, assert_same_runs, toy_settings

pytestmark = pytest.mark.usefixtures("one_thread_module")
OTHER_COMPONENTS = (
    *SETTINGS, "sampling.batch_size=1", "sampling.workers=1", "callbacks.gradient_step.accumulation_steps=2",
    "callbacks.poly_lr._target_=catalyst_cityscapes.callbacks.OneCycle",
    "optimizer._target_=catalyst_cityscapes.optim.DecoupledSGD", "optimizer.lr=0.01",
    "optimizer.weight_decay=0.0001", "optimizer.groups._target_=catalyst_cityscapes.optim.no_bias_decay_groups",
)  # fmt: skip


def train(city: Path, *arguments: str, settings: tuple[str, ...] = SETTINGS) -> int:
    """Trains in `run` below the working directory; returns the command's exit code."""
    return catalyst_dl(
        "run", "--config", CONFIG, "--trust", SMALL_PACKAGE, *arguments, "--set", *toy_settings(city, *settings)
    )


@pytest.fixture(scope="module")
def uninterrupted(toy_city, tmp_path_factory):
    """Run folder of three epochs in one go."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(toy_city) == 0
    assert len(read_iteration_log(folder / "run" / "iterations.csv")) == 6
    return folder / "run"


def crash_while_writing(patch: pytest.MonkeyPatch) -> None:
    """The second checkpoint's file is cut in the middle."""
    original, calls = torch.save, []

    def crashing(state: dict, file: object) -> None:
        calls.append(1)
        if len(calls) != 2:
            return original(state, file)
        file.write(b"PK\x03\x04 the first bytes of a checkpoint")
        raise CrashError("no space left on device")

    patch.setattr(torch, "save", crashing)


CRASHES = {
    "in the first epoch": lambda patch: crash_at_call(patch, GradientStep, "on_batch_end", 2),
    "after the first step of epoch 2": lambda patch: crash_at_call(
        patch, GradientStep, "on_batch_end", 2 + 2 + 1, before=False
    ),
    "in validation of epoch 2": lambda patch: crash_at_call(patch, GradientStep, "on_batch_end", 2 + 1 + 2 + 1),
    "while a checkpoint is written": crash_while_writing,
    "before last.pth is replaced": lambda patch: crash_at_replace(patch, "last.pth"),
    "after last.pth is replaced": lambda patch: crash_at_replace(patch, "last.pth", before=False),
    "before best.pth is replaced": lambda patch: crash_at_replace(patch, "best.pth"),
    "before best.pth is there": lambda patch: crash_at_replace(patch, "best.pth", number=1),
    "before last.pth is there": lambda patch: crash_at_replace(patch, "last.pth", number=1),
}
"""Where a run of 3 epochs with 2 steps and 1 validation batch each is cut short."""


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
def test_resumed_run_is_the_uninterrupted_one(toy_city, workdir, monkeypatch, uninterrupted, crash):
    with monkeypatch.context() as patch:
        crash(patch)
        with pytest.raises(CrashError):
            train(toy_city)
    for path in (workdir / "run").glob("model/*.pth"):
        assert read_checkpoint(path)["epoch"] in (1, 2, 3)
    assert train(toy_city, "--resume", "auto") == 0
    assert_same_runs(uninterrupted, workdir / "run")


def test_other_components_resume_too(toy_city, workdir, monkeypatch):
    """Accumulation, a cycled momentum, decoupled decay in sixteen groups, a loader process."""
    assert train(toy_city, settings=(*OTHER_COMPONENTS, "experiment.logdir=whole")) == 0
    with monkeypatch.context() as patch:
        crash_at_call(patch, GradientStep, "on_batch_end", 5 + 3 + 2)
        with pytest.raises(CrashError):
            train(toy_city, settings=OTHER_COMPONENTS)
    assert train(toy_city, "--resume", "auto", settings=OTHER_COMPONENTS) == 0
    for name in ("last", "best"):
        assert_same_checkpoints(*(workdir / run / "model" / f"{name}.pth" for run in ("whole", "run")), STATE[:4])
    for log in LOGS:
        assert (workdir / "whole" / log).read_bytes() == (workdir / "run" / log).read_bytes()
    groups = read_checkpoint(workdir / "run" / "model" / "last.pth")["optimizer"]["param_groups"]
    assert {group["momentum"] for group in groups} == {0.95}


# ---------------------------------------------------------------- a killed process


def kill_when(moments: list[Path], arguments: list[str]) -> int:
    """Runs the command and kills it (SIGKILL) as soon as one of the files is there; returns its exit status."""
    with forked_processes(Path.cwd(), arguments, processes=1) as ids:
        while is_running(ids[0]) and not any(path.exists() for path in moments):
            time.sleep(0.005)
        os.kill(ids[0], signal.SIGKILL)
        (status,), _ = finish(Path.cwd(), ids)
    return status


@pytest.mark.slow
def test_killed_process(toy_city, workdir, monkeypatch):
    """A process of its own, killed before its first step and again in mid-run."""
    epochs = 30
    arguments = ["run", "--config", CONFIG, "--trust", SMALL_PACKAGE, "--resume", "auto", "--set",
                 *toy_settings(toy_city, *SETTINGS, f"experiment.epochs={epochs}")]  # fmt: skip
    run, whole = workdir / "run", workdir / "whole"
    whole.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(whole)
        assert catalyst_dl(*arguments) == 0
    for moments in (["recipe.yml"], ["model/train_epoch_5.pth.tmp", "model/train_epoch_5.pth"]):
        status = kill_when([run / name for name in moments], arguments)
        assert status == -signal.SIGKILL
        assert not (run / "model" / f"train_epoch_{epochs}.pth").exists()
    assert 4 <= read_checkpoint(run / "model" / "last.pth")["epoch"] < epochs
    assert catalyst_dl(*arguments) == 0
    assert not list(run.rglob("*.tmp"))
    assert_same_runs(whole / "run", run)


# ---------------------------------------------------------------- what a folder with a run allows


@pytest.fixture
def finished(uninterrupted, workdir):
    """A copy of the uninterrupted run as `run` in the working directory."""
    return Path(shutil.copytree(uninterrupted, workdir / "run"))


def test_auto_without_a_checkpoint_starts_anew(toy_city, workdir, uninterrupted, capsys):
    assert train(toy_city, "--resume", "auto") == 0
    assert "no checkpoint yet, starting anew" in capsys.readouterr().out
    assert_same_runs(uninterrupted, workdir / "run")


def test_a_finished_run_has_nothing_left_to_do(toy_city, finished, uninterrupted):
    assert train(toy_city, "--resume", "auto") == 0
    assert_same_runs(uninterrupted, finished)
    assert not list(finished.rglob("*.tmp"))


def test_more_epochs_go_on_from_the_last(toy_city, finished):
    assert train(toy_city, "--resume", "auto", settings=(*SETTINGS, "experiment.epochs=4")) == 0
    assert read_checkpoint(finished / "model" / "last.pth")["epoch"] == 4
    assert [record.epoch for record in read_iteration_log(finished / "iterations.csv")] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_folder_with_a_run_is_refused(toy_city, finished, capsys):
    before = snapshot(finished)
    assert train(toy_city) == 2
    assert_one_line(capsys.readouterr().err, "model/last.pth", "--resume auto", "--overwrite")
    assert snapshot(finished) == before


def test_a_folder_with_a_run_of_the_control_arm_is_refused(toy_city, finished, capsys):
    """The control arm keeps its log beside its checkpoints, and no `last.pth`."""
    for name in ("last", "best"):
        (finished / "model" / f"{name}.pth").unlink()
    (finished / "iterations.csv").rename(finished / "model" / "iterations.csv")
    before = snapshot(finished)
    assert train(toy_city) == 2
    assert_one_line(capsys.readouterr().err, "model/train_epoch_3.pth")
    assert snapshot(finished) == before
    assert train(toy_city, "--resume", "auto", settings=(*SETTINGS, "experiment.epochs=4")) == 0
    assert [record.epoch for record in read_iteration_log(finished / "iterations.csv")] == [3, 3]


def test_overwrite_starts_anew(toy_city, finished):
    settings = (*SETTINGS, "experiment.seed=1", "experiment.epochs=1")
    assert train(toy_city, "--overwrite", settings=settings) == 0
    assert train(toy_city, settings=(*settings, "experiment.logdir=fresh")) == 0
    files = sorted(path.name for path in (finished / "model").iterdir())
    assert files == ["best.pth", "last.pth", "train_epoch_1.pth"]
    for log in LOGS:
        assert (finished / log).read_bytes() == Path("fresh", log).read_bytes()
    assert_same_checkpoints(finished / "model" / "last.pth", Path("fresh/model/last.pth"))


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("data.root=nowhere", "nowhere/list/fine_train.txt"),
        ("optimizer.lr=much", "much"),
        ("sampling.batch_size=6", "6"),
    ],
)
def test_overwrite_with_bad_input_changes_nothing(toy_city, finished, capsys, bad, named):
    before = snapshot(finished)
    assert train(toy_city, "--overwrite", settings=(*SETTINGS, bad)) == 2
    assert_one_line(capsys.readouterr().err, named)
    assert snapshot(finished) == before


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped bit"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(toy_city, finished, uninterrupted, capsys, damage):
    path, twin = finished / "model" / "last.pth", finished / "model" / "train_epoch_3.pth"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-100:]
    elif damage == "empty":
        content.clear()
    else:
        content[len(content) // 2] ^= 4
    path.write_bytes(content)
    twin.unlink()
    os.link(path, twin)
    before = snapshot(finished)
    assert train(toy_city, "--resume", str(path)) == 2
    assert_one_line(capsys.readouterr().err, "run/model/last.pth: ")
    assert snapshot(finished) == before
    assert train(toy_city, "--resume", "auto") == 0
    shown = capsys.readouterr()
    assert_one_line(shown.err, "warning: run/model/last.pth: ", "taking the one before it")
    assert "resuming from run/model/train_epoch_2.pth" in shown.out
    assert_same_runs(uninterrupted, finished)


def test_nothing_but_damaged_checkpoints(toy_city, finished, capsys):
    for path in finished.glob("model/*.pth"):
        path.write_bytes(path.read_bytes()[:1000])
    before = snapshot(finished)
    assert train(toy_city, "--resume", "auto") == 2
    assert_one_line(capsys.readouterr().err, "run/model/last.pth: ", "none of the 3 checkpoint(s)", "--overwrite")
    assert snapshot(finished) == before


@pytest.mark.parametrize("damage", ["weights only", "other network", "other optimiser"])
def test_a_checkpoint_that_cannot_be_resumed_is_named(toy_city, finished, capsys, damage):
    path = finished / "model" / "last.pth"
    content = read_checkpoint(path)
    settings = SETTINGS
    if damage == "weights only":
        torch.save({"state_dict": content["state_dict"]}, path)
    elif damage == "other network":
        settings = (*SETTINGS, "model.classes=20")
    else:
        name = "catalyst_cityscapes.optim.no_bias_decay_groups"
        settings = (*SETTINGS, f"optimizer.groups._target_={name}")
    before = snapshot(finished)
    assert train(toy_city, "--resume", "auto", settings=settings) == 2
    assert_one_line(capsys.readouterr().err, "run/model/last.pth: ")
    assert snapshot(finished) == before


def test_a_missing_checkpoint_is_named(toy_city, workdir, capsys):
    assert train(toy_city, "--resume", "absent.pth") == 2
    assert_one_line(capsys.readouterr().err, "absent.pth")
    assert not Path("run").exists()
