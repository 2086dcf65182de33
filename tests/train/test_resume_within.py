"""A run stopped in the middle of an epoch goes on there, and ends bit by bit where an uninterrupted one does."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from catalyst_cityscapes.callbacks import Checkpoint, GradientStep, MeanIoU
from catalyst_cityscapes.runs.checkpoints import position_of, resumable
from catalyst_cityscapes.train.resume import process_state, restore_buffers
from semseg_ref.base.checkpoints.state_dict import check_training_state, read_checkpoint, save_checkpoint
from semseg_ref.base.errors import CheckpointError
from semseg_ref.sampling import EpochSampler
from support.networks.small import SmallNetwork
from support.runs.crashes import (
    PREEMPTED,
    CrashError,
    assert_one_line,
    crash_at_call,
    crash_at_replace,
    signal_after,
    snapshot,
    train,
)
from support.runs.toy import (
    LOGS,
    STATE,
    assert_same_checkpoints,
    assert_same_runs,
)

pytestmark = pytest.mark.usefixtures("one_thread_module")


@pytest.fixture(scope="module")
def uninterrupted(toy_city, tmp_path_factory):
    """Run folder of three epochs in one go."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(toy_city) == 0
    return folder / "run"


# Calls of MeanIoU.on_batch_end: 5 of training and 3 of validation an epoch.
MOMENTS = {
    "first step": (1, "within_epoch_1_batch_1.pth"),
    "middle of epoch 2": (8 + 3, "within_epoch_2_batch_3.pth"),
    "last step of epoch 2": (8 + 5, "within_epoch_2_batch_5.pth"),
    "validation of epoch 2": (8 + 5 + 2, "within_epoch_2_batch_5.pth"),
    "last step of all": (16 + 5, "within_epoch_3_batch_5.pth"),
}


@pytest.mark.parametrize(("call", "name"), MOMENTS.values(), ids=MOMENTS)
def test_a_signal_saves_and_stops(toy_city, workdir, monkeypatch, uninterrupted, capsys, call, name):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, call)
        assert train(toy_city) == PREEMPTED
    assert_one_line(capsys.readouterr().err, "stopped by SIGTERM", f"run/model/{name}", "--resume auto")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == handlers
    assert resumable(Path("run/model"))[0] == Path("run/model", name)
    assert train(toy_city, "--resume", "auto") == 0
    assert f"resuming from run/model/{name}" in capsys.readouterr().out
    assert_same_runs(uninterrupted, workdir / "run")


def test_a_signal_at_the_end_of_an_epoch_needs_no_other_file(toy_city, workdir, monkeypatch, uninterrupted, capsys):
    with monkeypatch.context() as patch:
        original = Checkpoint._improved
        patch.setattr(Checkpoint, "_improved", lambda *a: os.kill(os.getpid(), signal.SIGUSR1) or original(*a))
        assert train(toy_city) == PREEMPTED
    assert_one_line(capsys.readouterr().err, "stopped by SIGUSR1", "run/model/last.pth")
    assert read_checkpoint("run/model/last.pth")["epoch"] == 1
    assert not list(Path("run/model").glob("within*"))
    assert train(toy_city, "--resume", "auto") == 0
    assert_same_runs(uninterrupted, workdir / "run")


def test_accumulated_gradients_are_never_cut(toy_city, workdir, monkeypatch):
    """A signal after the first of two accumulated batches waits for the second."""
    settings = ("callbacks.gradient_step.accumulation_steps=2", "sampling.workers=1")
    assert train(toy_city, settings=(*settings, "experiment.logdir=whole")) == 0
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, 8 + 3)
        assert train(toy_city, settings=settings) == PREEMPTED
    assert resumable(Path("run/model"))[0].name == "within_epoch_2_batch_4.pth"
    assert train(toy_city, "--resume", "auto", settings=settings) == 0
    for name in ("last", "best"):
        assert_same_checkpoints(*(Path(run, "model", f"{name}.pth") for run in ("whole", "run")), STATE[:4])
    assert Path("whole/iterations.csv").read_bytes() == Path("run/iterations.csv").read_bytes()


@pytest.mark.parametrize("call", [3, 8 + 4, 8 + 7])
def test_a_crash_loses_only_the_time_since_the_last_file(toy_city, workdir, monkeypatch, uninterrupted, call):
    """`every_minutes` so short that every step saves."""
    often = ("callbacks.checkpoint.every_minutes=1e-9",)
    with monkeypatch.context() as patch:
        crash_at_call(patch, GradientStep, "on_batch_end", call)
        with pytest.raises(CrashError):
            train(toy_city, settings=often)
    epoch, batch = divmod(call - 1, 8)
    newest = resumable(Path("run/model"))[0]
    assert position_of(newest) == (epoch, min(batch, 5))
    assert len(list(Path("run/model").glob("within*"))) == 1
    assert train(toy_city, "--resume", "auto") == 0
    for name in ("last", "best"):
        assert_same_checkpoints(*(run / "model" / f"{name}.pth" for run in (uninterrupted, workdir / "run")), STATE[:4])
    for log in LOGS:
        assert (uninterrupted / log).read_bytes() == (workdir / "run" / log).read_bytes()


def test_a_validation_taken_up_again_saves_again(toy_city, workdir, monkeypatch, uninterrupted):
    """The training loader is not among the epoch's loaders then (found by benchmarks/kill_thirty.py)."""
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, 8 + 5 + 2)
        assert train(toy_city) == PREEMPTED
    often = ("callbacks.checkpoint.every_minutes=1e-9",)
    assert train(toy_city, "--resume", "auto", settings=often) == 0
    for log in LOGS:
        assert (uninterrupted / log).read_bytes() == (workdir / "run" / log).read_bytes()


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_around_the_renaming(toy_city, workdir, monkeypatch, uninterrupted, before):
    """The file before stays until the next is complete."""
    often = ("callbacks.checkpoint.every_minutes=1e-9",)
    with monkeypatch.context() as patch:
        crash_at_replace(patch, "within_epoch_2_batch_4.pth", before=before, number=1)
        with pytest.raises(CrashError):
            train(toy_city, settings=often)
    assert resumable(Path("run/model"))[0].name == f"within_epoch_2_batch_{3 if before else 4}.pth"
    assert train(toy_city, "--resume", "auto") == 0
    for log in LOGS:
        assert (uninterrupted / log).read_bytes() == (workdir / "run" / log).read_bytes()
    assert not list(Path("run/model").glob("within*"))


def test_a_damaged_file_within_an_epoch_falls_back_to_the_epoch(toy_city, workdir, monkeypatch, uninterrupted, capsys):
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, 8 + 3)
        assert train(toy_city) == PREEMPTED
    path = Path("run/model/within_epoch_2_batch_3.pth")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    capsys.readouterr()
    assert train(toy_city, "--resume", "auto") == 0
    shown = capsys.readouterr()
    assert str(path) in shown.err
    assert "resuming from run/model/last.pth" in shown.out
    assert_same_runs(uninterrupted, workdir / "run")


# ---------------------------------------------------------------- draws that are left to the generators


@pytest.mark.parametrize("draws", ["experiment.seed=null", "sampling.seed_stream=reference"])
def test_generators_go_on_where_they_were(toy_city, workdir, monkeypatch, capsys, draws):
    """Without loader processes, everything is drawn in the training process."""
    settings = (draws, "sampling.seed_stream=reference", "sampling.workers=0")
    monkeypatch.setattr(os, "urandom", lambda count: b"\x07" * count)
    with monkeypatch.context() as patch:
        torch.manual_seed(3)
        assert train(toy_city, settings=(*settings, "experiment.logdir=whole")) == 0
        signal_after(patch, MeanIoU, 8 + 3)
        torch.manual_seed(3)
        assert train(toy_city, settings=settings) == PREEMPTED
    monkeypatch.setattr(os, "urandom", lambda count: b"\x08" * count)
    assert train(toy_city, "--resume", "auto", settings=settings) == 0
    for log in LOGS:
        assert Path("whole", log).read_bytes() == Path("run", log).read_bytes()
    assert_same_checkpoints(Path("whole/model/last.pth"), Path("run/model/last.pth"))
    told = "the generators of loader processes are not saved"
    assert told not in capsys.readouterr().err
    in_processes = (*settings[:2], "sampling.workers=1", "sampling.persistent_workers=true")
    assert train(toy_city, "--resume", "auto", settings=in_processes) == 0
    assert capsys.readouterr().err.count(told) == 1


# ---------------------------------------------------------------- what is refused and what is told


@pytest.fixture
def stopped(toy_city, workdir, monkeypatch):
    """A run that was stopped after three steps of its second epoch."""
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, 8 + 3)
        assert train(toy_city) == PREEMPTED
    return workdir / "run"


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ("optimizer.weight_decay=0.001", "optimizer.weight_decay (0.0001, now 0.001)"),
        ("experiment.seed=1", "experiment.seed (0, now 1)"),
        ("callbacks.early_stopping=null", "callbacks.early_stopping"),
        ("callbacks.checkpoint.metric=mIoU", "callbacks.checkpoint.metric (loss, now mIoU)"),
    ],
)
def test_a_changed_recipe_is_refused(toy_city, stopped, capsys, changed, key):
    before = snapshot(stopped)
    capsys.readouterr()
    assert train(toy_city, "--resume", "auto", settings=(changed,)) == 2
    assert_one_line(capsys.readouterr().err, "within_epoch_2_batch_3.pth", key, "--allow-changed")
    assert snapshot(stopped) == before
    if "weight_decay" in changed:
        allowed = ("--resume", "auto", "--allow-changed", "optimizer.weight_decay")
        assert train(toy_city, *allowed, settings=(changed,)) == 0
        assert_one_line(capsys.readouterr().err, "warning", key)


def test_an_allowed_change_that_is_none_is_named(toy_city, stopped, capsys):
    capsys.readouterr()
    assert train(toy_city, "--resume", "auto", "--allow-changed", "optimizer.lr") == 2
    assert_one_line(capsys.readouterr().err, "--allow-changed optimizer.lr")


def test_harmless_changes_are_free_and_others_are_told(toy_city, stopped, capsys):
    capsys.readouterr()
    free = ("sampling.workers=1", "callbacks.progress=null", "callbacks.checkpoint.keep=3", "experiment.name=other")
    assert train(toy_city, "--resume", "auto", settings=(*free, "experiment.epochs=2")) == 0
    assert_one_line(capsys.readouterr().err, "warning", "experiment.epochs (3, now 2)")


def test_another_number_of_processes(toy_city, stopped, capsys):
    """Refused in the middle of an epoch, told at its end."""
    for name, status in (("within_epoch_2_batch_3.pth", 2), ("last.pth", 0)):
        path = stopped / "model" / name
        content = read_checkpoint(path)
        save_checkpoint(path, {**content, "world_size": 2})
        capsys.readouterr()
        assert train(toy_city, "--resume", f"run/model/{name}") == status
        assert_one_line(capsys.readouterr().err, name, "2 process(es)")


def test_another_version_is_told(toy_city, stopped, capsys):
    path = stopped / "model" / "within_epoch_2_batch_3.pth"
    content = read_checkpoint(path)
    versions = {**content["versions"], "torch": "1.0.0"}
    save_checkpoint(path, {**content, "versions": versions})
    capsys.readouterr()
    assert train(toy_city, "--resume", "auto") == 0
    assert_one_line(capsys.readouterr().err, "warning", "torch was 1.0.0, now")


def test_the_control_arm_takes_whole_epochs(toy_city, stopped, capsys):
    """Its own network is another one, but the file is chosen before."""
    capsys.readouterr()
    train(toy_city, "--resume", "auto", "--control")
    assert "resuming from run/model/last.pth" in capsys.readouterr().out
    path = stopped / "model" / "within_epoch_2_batch_3.pth"
    content = read_checkpoint(path)
    with pytest.raises(CheckpointError, match="after 3 batches of epoch 2"):
        check_training_state(content, path)


# ---------------------------------------------------------------- the parts


def test_each_process_keeps_its_own_batch_statistics(monkeypatch):
    """Validation of a second process uses its own; the file's weights have the main process's."""
    network = SmallNetwork(classes=3)
    network.layer1[1].running_mean.fill_(0.5)
    runner = SimpleNamespace(callbacks={}, network=network, engine=SimpleNamespace(is_main_process=False),
                             streams=object(), recipe=None)  # fmt: skip
    monkeypatch.setattr("catalyst_cityscapes.train.resume.data_streams", lambda _: object())
    state = process_state(runner)
    assert state["random"] is None
    kept = {name: value.clone() for name, value in state["buffers"].items()}
    network.layer1[1].running_mean.zero_()
    restore_buffers(runner, kept)
    assert network.layer1[1].running_mean.unique().tolist() == [0.5]
    runner.engine.is_main_process = True
    assert process_state(runner)["buffers"] == {}


def test_a_sampler_that_begins_in_the_middle():
    sampler = EpochSampler(7, None)
    sampler.set_epoch(4)
    order, calls = [3, 1, 4, 0, 5, 2, 6], []
    sampler.start_at(5, order, lambda: calls.append(1))
    assert list(sampler) == [(4, 2), (4, 6)]
    assert len(sampler) == 7
    assert sampler.order == order
    assert calls == [1]
    sampler.set_epoch(5)
    assert len(list(sampler)) == 7


def test_an_order_of_checkpoints(tmp_path):
    for name in ("train_epoch_2", "train_epoch_10", "within_epoch_11_batch_2", "within_epoch_11_batch_10",
                 "within_epoch_3_batch_1"):  # fmt: skip
        save_checkpoint(tmp_path / f"{name}.pth", {"epoch": 1})
    names = [path.stem for path in resumable(tmp_path)]
    assert names == ["within_epoch_11_batch_10", "within_epoch_11_batch_2", "train_epoch_10", "within_epoch_3_batch_1",
                     "train_epoch_2"]  # fmt: skip
    # last.pth says where the run is: what lies beyond it is of a branch that was left.
    os.link(tmp_path / "train_epoch_2.pth", tmp_path / "last.pth")
    names = [path.stem for path in resumable(tmp_path)]
    assert names == ["within_epoch_11_batch_10", "within_epoch_11_batch_2", "within_epoch_3_batch_1", "last"]
