"""Watchful training: losses that are no numbers, spikes, dead batch norm, absent classes; and that watching is free."""

import math
from pathlib import Path

import pytest
import torch

from catalyst_cityscapes.callbacks import AuxLossWeighting, TrainingMonitor
from catalyst_cityscapes.callbacks.training_monitor import dead_channels
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from semseg_ref.base.errors import OptionError
from semseg_ref.base.iteration_log import read_iteration_log
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.dataset import SemData
from semseg_ref.sampling import EpochSampler
from support.command_line import catalyst_dl
from support.networks.small import SmallNetwork
from support.runs.crashes import assert_one_line
from support.runs.toy import CONFIG, SMALL, SMALL_PACKAGE, assert_same_checkpoints, toy_settings

pytestmark = pytest.mark.usefixtures("one_thread_module")
DIVERGED = 3
# Two steps of two images an epoch; the toy city lacks classes.
SETTINGS = (*SMALL, "experiment.epochs=3", "callbacks.mean_iou=null")


def train(city: Path, *settings: str) -> int:
    """Trains three epochs of two steps in `run`; returns the command's exit code."""
    settings = toy_settings(city, *SETTINGS, *settings)
    return catalyst_dl("run", "--config", CONFIG, "--trust", SMALL_PACKAGE, "--set", *settings)


def spoil_loss(patch: pytest.MonkeyPatch, call: int, factor: float) -> None:
    """Multiplies the loss of the `call`-th training step (from 1), graph included."""
    original, calls = AuxLossWeighting.on_batch_end, []

    def spoiling(self: AuxLossWeighting, runner: object) -> None:
        original(self, runner)
        calls.append(1)
        if len(calls) == call:
            runner.batch_metrics["loss"] = runner.batch_metrics["loss"] * factor
            runner.losses = {name: loss * factor for name, loss in runner.losses.items()}

    patch.setattr(AuxLossWeighting, "on_batch_end", spoiling)


def images_of(city: Path, epoch: int, step: int) -> list[str]:
    """Files of the batch of two at a step, both counted from 0, as the seeded order gives them."""
    samples = SemData("train", str(city), city / "list" / "fine_train.txt")
    sampler = EpochSampler(len(samples), SeedStreams(0))
    sampler.set_epoch(epoch)
    return [samples.data_list[index][0] for _, index in list(sampler)[2 * step : 2 * step + 2]]


@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.parametrize("every", [1, 50])
def test_a_loss_that_is_no_number_stops(toy_city, workdir, monkeypatch, capsys, factor, every):
    spoil_loss(monkeypatch, 2 + 2, factor)
    assert train(toy_city, f"callbacks.watch.every={every}") == DIVERGED
    images = images_of(toy_city, epoch=1, step=1)
    assert_one_line(
        capsys.readouterr().err, "epoch 2 step 2", f"the loss is {factor}", *images, "checkpoint is run/model/last.pth"
    )
    content = read_checkpoint("run/model/last.pth")
    assert content["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in content["state_dict"].values())


@pytest.mark.parametrize("validated", [(), ("validation.every=1", "validation.batch_size=1")])
def test_no_checkpoint_holds_weights_that_are_no_numbers(toy_city, workdir, monkeypatch, capsys, validated):
    """The last loss is finite, its gradient is not; the training step is named, also after a longer validation."""
    original, calls = torch.optim.SGD.step, []

    def spoiling(self: torch.optim.SGD, *arguments: object) -> object:
        result = original(self, *arguments)
        calls.append(1)
        if len(calls) == 2:
            self.param_groups[0]["params"][0].data.fill_(math.nan)
        return result

    monkeypatch.setattr(torch.optim.SGD, "step", spoiling)
    assert train(toy_city, *validated) == DIVERGED
    images = images_of(toy_city, epoch=0, step=1)
    assert_one_line(capsys.readouterr().err, "epoch 1 step 2", "no numbers", *images, "no checkpoint yet")
    assert not list(Path("run").rglob("*.pth"))


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_batch_that_is_left_out_leaves_no_trace(toy_city, workdir, monkeypatch, capsys, accumulated):
    settings = ("callbacks.watch.on_nan=skip", f"callbacks.gradient_step.accumulation_steps={accumulated}",
                "sampling.batch_size=1", "experiment.epochs=1")  # fmt: skip
    spoil_loss(monkeypatch, 3, math.nan)
    assert train(toy_city, *settings) == 0
    assert_one_line(capsys.readouterr().err, "warning: epoch 1 step 3: the loss is nan; batch left out: ")
    content = read_checkpoint("run/model/last.pth")
    assert all(torch.isfinite(value).all() for value in content["state_dict"].values())
    # Statistics of four batches out of five.
    assert int(content["state_dict"]["module.layer0.1.num_batches_tracked"]) == 4
    losses = [record.loss for record in read_iteration_log("run/iterations.csv")]
    assert [math.isnan(loss) for loss in losses] == [False, False, True, False, False]


def test_skipping_changes_nothing_without_a_reason(toy_city, workdir):
    for name, settings in {
        "watched": (),
        "skipping": ("callbacks.watch.on_nan=skip", "callbacks.watch.every=1"),
        "alone": ("callbacks.watch=null", "callbacks.determinism=null"),
    }.items():
        assert train(toy_city, *settings, f"experiment.logdir={name}") == 0
        assert_same_checkpoints(Path("watched/model/last.pth"), Path(name, "model/last.pth"))
        assert Path("watched/iterations.csv").read_bytes() == Path(name, "iterations.csv").read_bytes()


def test_a_spike_is_told_once(toy_city, workdir, monkeypatch, capsys):
    spoil_loss(monkeypatch, 24, 1000.0)
    assert train(toy_city, "experiment.epochs=13", "callbacks.watch.every=1") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "median" in line]
    assert len(lines) == 1
    assert all(image in lines[0] for image in ["epoch 12 step 2", *images_of(toy_city, epoch=11, step=1)])


def test_a_batch_without_labels_is_told_and_goes_on(toy_city, workdir, monkeypatch, capsys):
    original, calls = AuxLossWeighting.on_batch_end, []

    def unlabelling(self: AuxLossWeighting, runner: object) -> None:
        calls.append(1)
        if len(calls) in (2, 3):
            runner.batch["targets"].fill_(255)
        original(self, runner)

    monkeypatch.setattr(AuxLossWeighting, "on_batch_end", unlabelling)
    assert train(toy_city) == 0
    images = images_of(toy_city, epoch=0, step=1)
    assert_one_line(capsys.readouterr().err, "warning: epoch 1 step 2: no labelled pixel in the batch", *images)
    content = read_checkpoint("run/model/last.pth")
    assert all(torch.isfinite(value).all() for value in content["state_dict"].values())


def test_classes_that_never_come_are_told(toy_city, workdir, capsys):
    assert train(toy_city, "callbacks.mean_iou._target_=catalyst_cityscapes.callbacks.MeanIoU",
                 "callbacks.mean_iou.classes=19") == 0  # fmt: skip
    assert_one_line(capsys.readouterr().err, "warning: epoch 1: no training label of class")


def test_dead_batch_norm_is_found():
    network = SmallNetwork(classes=3)
    assert dead_channels(network) == {}
    network.layer1[1].running_var[:3] = 0
    network.layer3[1].running_var[5] = math.nan
    assert dead_channels(network) == {"layer1.1": (3, 8), "layer3.1": (1, 8)}
    assert dead_channels(SmallNetwork(batch_norm=False)) == {}


@pytest.mark.parametrize("values", [{"every": 0}, {"on_nan": "go on"}, {"spike_factor": 1}, {"spike_factor": math.nan}])
def test_wrong_arguments(values):
    with pytest.raises(OptionError, match=next(iter(values))):
        TrainingMonitor(**values)
