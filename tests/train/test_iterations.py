"""A run that counts iterations: the bits of one that counts epochs, whatever its intervals, and an exact resume."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from catalyst_cityscapes.callbacks import MeanIoU
from catalyst_cityscapes.runs.checkpoints import position_of, resumable
from semseg_ref.base.checkpoints.state_dict import check_training_state, read_checkpoint, save_checkpoint
from semseg_ref.base.errors import CheckpointError
from support.command_line import catalyst_dl
from support.runs.crashes import PREEMPTED, assert_one_line, signal_after, train, train_words
from support.runs.forked_processes import finish, forked_processes
from support.runs.toy import SMALL_PACKAGE, assert_same, assert_same_checkpoints

pytestmark = pytest.mark.usefixtures("one_thread_module")

WEIGHTS = ("state_dict", "optimizer")
# Five batches an epoch; with an accumulation of two that is three steps, the last of one batch.
TWELVE = ("experiment.epochs=null", "experiment.iterations=12", "validation.every=0", "callbacks.early_stopping=null",
          "callbacks.checkpoint.metric=null", "callbacks.checkpoint.save_every=12", "callbacks.mean_iou.names=null",
          )  # fmt: skip


def iterate(city, logdir: str, *settings: str, resume: bool = False) -> int:
    """Trains twelve iterations into a folder; returns the command's exit code."""
    arguments = ("--resume", "auto") if resume else ()
    return train(city, *arguments, settings=(*TWELVE, f"experiment.logdir={logdir}", *settings))


def log_of(folder: str, *columns: str) -> list[tuple[str, ...]]:
    """Columns of a run's iterations.csv."""
    with open(Path(folder, "iterations.csv")) as file:
        return [tuple(row[name] for name in columns) for row in csv.DictReader(file)]


def assert_same_weights(left: str, right: str) -> None:
    """Fails unless two runs end with the same bits and have the same log."""
    assert_same_checkpoints(*(Path(run, "model", "last.pth") for run in (left, right)), WEIGHTS)
    assert Path(left, "iterations.csv").read_bytes() == Path(right, "iterations.csv").read_bytes()


@pytest.fixture(scope="module")
def whole(toy_city, tmp_path_factory):
    """A folder with runs in one go: `named`, and `endless`."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert iterate(toy_city, "named") == 0
        assert iterate(toy_city, "endless", "sampling.order=endless") == 0
    return folder


@pytest.mark.parametrize(("steps", "accumulation"), [(10, 1), (6, 2)])
def test_iterations_of_two_epochs_have_the_bits_of_two_epochs(toy_city, workdir, steps, accumulation):
    """Rounds end in the middle of epochs and of accumulated batches' epochs."""
    both = (f"callbacks.gradient_step.accumulation_steps={accumulation}",)
    assert iterate(toy_city, "epochs", "experiment.iterations=null", "experiment.epochs=2", *both) == 0
    assert iterate(toy_city, "run", f"experiment.iterations={steps}", "callbacks.checkpoint.save_every=4",
                   "validation.every=3", *both) == 0  # fmt: skip
    assert_same_weights("epochs", "run")
    assert len(log_of("run", "iteration")) == 10


def test_intervals_change_no_bit_and_files_say_iterations(toy_city, workdir, whole, capsys):
    assert iterate(toy_city, "run", "callbacks.checkpoint.save_every=5", "callbacks.checkpoint.keep=2",
                   "validation.every=4", "callbacks.progress.every=6") == 0  # fmt: skip
    assert_same_weights(str(whole / "named"), "run")
    assert sorted(path.name for path in Path("run/model").iterdir()) == [
        "last.pth", "train_iter_10.pth", "train_iter_12.pth"]  # fmt: skip
    assert Path("run/model/last.pth").samefile("run/model/train_iter_12.pth")
    content = read_checkpoint("run/model/last.pth")
    assert (content["epoch"], content["iteration"]) == (2, 12)
    with open("run/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["iteration", "loader", "metric", "value"]
    assert [row["iteration"] for row in rows if (row["loader"], row["metric"]) == ("train", "loss")] == [
        "4", "5", "8", "10", "12"]  # fmt: skip
    assert {row["iteration"] for row in rows if row["loader"] == "valid"} == {"4", "8", "12"}
    shown = capsys.readouterr().out
    assert "iteration 8/12 | train: loss" in shown
    assert "epoch" not in shown


# Calls of MeanIoU.on_batch_end with rounds of 4 iterations and 3 validation batches.
MOMENTS = {
    "first step": (1, "within_iter_1.pth"),
    "middle of a round": (4 + 3 + 2, "within_iter_6.pth"),
    "last step of a round": (4, "within_iter_4.pth"),
    "validation": (4 + 2, "within_iter_4.pth"),
}
VALIDATED = ("validation.every=4", "callbacks.checkpoint.save_every=4")


@pytest.mark.parametrize("order", ["epoch", "endless"])
@pytest.mark.parametrize(("call", "name"), MOMENTS.values(), ids=MOMENTS)
def test_a_signal_saves_and_the_run_goes_on(toy_city, workdir, monkeypatch, whole, order, call, name):
    settings = (*VALIDATED, f"sampling.order={order}")
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, call, signal.SIGTERM)
        assert iterate(toy_city, "run", *settings) == PREEMPTED
    assert resumable(Path("run/model"))[0].name == name
    assert iterate(toy_city, "run", *settings, resume=True) == 0
    assert_same_weights(str(whole / {"epoch": "named", "endless": "endless"}[order]), "run")
    assert not list(Path("run/model").glob("within*"))


@pytest.mark.parametrize("call", [3 + 4, 4 + 1], ids=["in a round", "in its validation"])
def test_other_intervals_may_go_on(toy_city, workdir, monkeypatch, whole, capsys, call):
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, call)
        assert iterate(toy_city, "run", *VALIDATED) == PREEMPTED
    assert iterate(toy_city, "run", "validation.every=5", "callbacks.checkpoint.save_every=3", resume=True) == 0
    assert "validation.every (4, now 5)" in capsys.readouterr().err
    assert_same_weights(str(whole / "named"), "run")


def test_from_a_checkpoint_within_an_epoch(toy_city, workdir, whole):
    """Of a shorter run: told, and the log is cut."""
    assert iterate(toy_city, "run", "callbacks.checkpoint.save_every=4") == 0
    for name in ("last.pth", "train_iter_12.pth"):
        Path("run/model", name).unlink()
    assert iterate(toy_city, "run", "callbacks.checkpoint.save_every=12", resume=True) == 0
    assert_same_weights(str(whole / "named"), "run")


@pytest.mark.parametrize("call", [2, 5 + 2, 5, 9], ids=["first epoch", "second", "an epoch's end", "a round's end"])
def test_generators_go_on_where_they_were(toy_city, workdir, monkeypatch, call):
    """Without named streams, the order of an epoch that a round leaves unfinished is in the file."""
    settings = ("sampling.seed_stream=reference", "callbacks.checkpoint.save_every=3")
    assert iterate(toy_city, "whole", *settings) == 0
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, call)
        assert iterate(toy_city, "run", *settings) == PREEMPTED
    if call == 9:
        resumable(Path("run/model"))[0].unlink()  # from train_iter_6
    assert iterate(toy_city, "run", *settings, resume=True) == 0
    assert_same_weights("whole", "run")


def test_an_unseeded_run_goes_on_where_it_was(toy_city, workdir, monkeypatch, capsys):
    """From a file at a round's end, within an epoch."""
    settings = ("experiment.seed=null", "sampling.seed_stream=reference", "callbacks.checkpoint.save_every=4")
    monkeypatch.setattr(os, "urandom", lambda count: b"\x07" * count)
    torch.manual_seed(3)
    assert iterate(toy_city, "whole", *settings) == 0
    torch.manual_seed(3)
    assert iterate(toy_city, "run", *settings) == 0
    for name in ("last.pth", "train_iter_12.pth"):
        Path("run/model", name).unlink()
    monkeypatch.setattr(os, "urandom", lambda count: b"\x08" * count)
    assert iterate(toy_city, "run", *settings, resume=True) == 0
    assert_same_weights("whole", "run")
    told = "the generators of loader processes are not saved"
    assert told not in capsys.readouterr().err
    assert iterate(toy_city, "run", *settings, "sampling.workers=1", resume=True) == 0
    assert capsys.readouterr().err.count(told) == 1


@pytest.mark.parametrize("ways", [
    ("sampling.workers=1", "sampling.persistent_workers=true", "sampling.across_epochs=true"),
    ("sampling.workers=1", "sampling.persistent_workers=true"),
])  # fmt: skip
def test_ways_of_loading_change_no_bit(toy_city, workdir, whole, ways):
    assert iterate(toy_city, "run", "callbacks.checkpoint.save_every=5", "validation.every=4", *ways) == 0
    assert_same_weights(str(whole / "named"), "run")


def test_an_endless_order_takes_each_image_once_before_it_takes_one_again(toy_city, whole):
    """Whichever batch a permutation ends in; the log counts permutations."""
    assert log_of(whole / "endless", "iteration", "epoch") == [(str(i), str(i // 5)) for i in range(12)]
    assert log_of(whole / "endless", "loss") != log_of(whole / "named", "loss")


@pytest.mark.parametrize(("before", "now", "said"), [
    ((), ("experiment.iterations=null", "experiment.epochs=3"), "counts iterations, and this one counts epochs"),
    (("experiment.iterations=null", "experiment.epochs=1"), (), "counts epochs, and this one counts iterations"),
])  # fmt: skip
def test_the_other_unit_does_not_go_on(toy_city, workdir, capsys, before, now, said):
    assert iterate(toy_city, "run", "experiment.iterations=2", *before) == 0
    capsys.readouterr()
    assert iterate(toy_city, "run", *now, resume=True) == 2
    assert_one_line(capsys.readouterr().err, "run/model/last.pth", said)


def test_the_control_arm_counts_epochs(toy_city, workdir, capsys):
    assert train(toy_city, "--control", settings=TWELVE) == 2
    assert_one_line(capsys.readouterr().err, "experiment.iterations: 12", "experiment.epochs=N")
    with pytest.raises(CheckpointError, match="after 7 iterations"):
        check_training_state({"epoch": 1, "iteration": 7, "optimizer": {}}, "x.pth")


def test_an_order_of_checkpoints(tmp_path):
    names = ["within_iter_900", "train_iter_800", "within_iter_800", "within_iter_500", "train_iter_400"]
    for name in reversed(names):
        save_checkpoint(tmp_path / f"{name}.pth", {"epoch": 1, "iteration": 1})
    assert [path.stem for path in resumable(tmp_path)] == names
    assert position_of(tmp_path / "train_iter_400.pth") == (400, 0)
    assert_same([position_of(Path("train_iter_x.pth"))], [None])


@pytest.mark.parametrize("order", ["epoch", "endless"])
def test_two_processes_go_on_where_they_were(toy_city, workdir, monkeypatch, order):
    """Two steps a pass over the data; the second run stops at a signal to the second process."""
    settings = (*TWELVE, "sampling.batch_size=2", "validation.every=3", "callbacks.checkpoint.save_every=5",
                "experiment.iterations=8", f"sampling.order={order}")  # fmt: skip

    def train_both(logdir: str, statuses: list[int]) -> None:
        words = train_words(toy_city, "--resume", "auto", settings=(*settings, f"experiment.logdir={logdir}"))
        with forked_processes(Path.cwd(), words) as ids:
            ended, output = finish(Path.cwd(), ids)
        assert ended == statuses, output[-2000:]

    train_both("whole", [0, 0])
    with monkeypatch.context() as patch:
        signal_after(patch, MeanIoU, 5, rank=1)
        train_both("run", [PREEMPTED, PREEMPTED])
    assert resumable(Path("run/model"))[0].name.startswith("within_iter_")
    train_both("run", [0, 0])
    assert_same_weights("whole", "run")
    assert len(log_of("whole", "iteration")) == 8


def test_scores_and_reports_say_iterations(toy_city, workdir, capsys):
    settings = ("experiment.iterations=2", "protocol.base_size=128", "validation.every=1")
    assert iterate(toy_city, "run", *settings) == 0
    assert catalyst_dl("test", "--run", "run", "--trust", SMALL_PACKAGE) == 0
    assert "iteration 2, 3 images" in capsys.readouterr().out
    (score,) = Path("run/result/iter_2/val").glob("*/score.json")
    assert json.loads(score.read_text())["iteration"] == 2
    assert catalyst_dl("report", "run") == 0
    page = Path("run/report.html").read_text()
    for said in ("<b>2</b><span>iteration</span>", "All metrics of iteration 2", "Loss of the iterations"):
        assert said in page
