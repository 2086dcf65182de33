"""A batch's way to the device: bytes for labels, and a stream of its own. The GPU is made up."""

from contextlib import contextmanager

import pytest
import torch

from catalyst_cityscapes.train.loaders import build_loaders
from catalyst_cityscapes.train.transfer import Copier, collate_narrow
from semseg_ref.base.errors import DataError
from support.command_line import catalyst_dl
from support.runs.toy import SMALL, toy_recipe, toy_settings, train_catalyst


def test_labels_as_bytes_are_the_same_labels(toy_city):
    plain, narrow = (
        next(iter(build_loaders(toy_recipe(toy_city, *SMALL, f"engine.transfer={way}"), 0, 1)[0]["train"]))
        for way in ("plain", "overlapped")
    )
    assert [part.dtype for part in plain] == [torch.float32, torch.int64]
    assert [part.dtype for part in narrow] == [torch.float32, torch.uint8]
    assert torch.equal(narrow[0], plain[0])
    assert torch.equal(narrow[1].long(), plain[1])
    assert 255 in narrow[1]


@pytest.mark.parametrize("label", [256, -1, 70_000])
def test_a_label_that_is_no_byte_is_an_error(label):
    samples = [(torch.zeros(3, 2, 2), torch.tensor([[0, 255], [label, 3]]))]
    with pytest.raises(DataError, match=r"engine\.transfer: labels .* are no bytes; use 'plain'"):
        collate_narrow(samples)


def test_a_cpu_needs_no_stream():
    image = torch.randn(2, 3, 4, 4)
    for way in ("plain", "overlapped"):
        copied = Copier(torch.device("cpu"), way)(image, torch.channels_last)
        assert torch.equal(copied, image)
        assert copied.is_contiguous(memory_format=torch.channels_last)


def test_the_step_waits_for_the_copy_and_the_memory_for_the_step(monkeypatch):
    calls = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            calls.append(f"{self.name} waits for {other.name}")

    class Values:
        def to(self, device, non_blocking, memory_format):
            calls.append(f"copied to {device} on {current[-1].name}, non_blocking {non_blocking}")
            return self

        def record_stream(self, stream):
            calls.append(f"used on {stream.name}")

    current = [Stream("step")]

    @contextmanager
    def stream(other):
        current.append(other)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side"))
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current[-1])
    Copier(torch.device("cuda", 0), "overlapped")(Values())
    assert calls == ["copied to cuda:0 on side, non_blocking True", "step waits for side", "used on step"]
    calls.clear()
    Copier(torch.device("cuda", 0), "plain")(Values())
    assert calls == ["copied to cuda:0 on step, non_blocking True"]


def test_validation_takes_bytes_too(toy_city, workdir, one_thread):
    """Both kinds of validation; the training's batches alone are narrowed."""
    logs = {}
    for way in ("plain", "overlapped"):
        for protocol in ("crop", "test"):
            more = (f"experiment.logdir={way}_{protocol}", f"engine.transfer={way}", f"validation.protocol={protocol}")
            base = ("experiment.epochs=1", "validation.every=1", "protocol.base_size=96")
            train_catalyst(toy_recipe(toy_city, *SMALL, *base, *more))
            logs[way, protocol] = (workdir / f"{way}_{protocol}" / "metrics.csv").read_bytes()
    for protocol in ("crop", "test"):
        assert logs["plain", protocol] == logs["overlapped", protocol]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("sampling.seed_stream=reference",), "across_epochs needs seed_stream: named"),
        (("experiment.seed=null",), "sampling.across_epochs: needs experiment.seed"),
    ],
)
def test_reading_on_needs_orders_that_follow_from_the_epoch(toy_city, workdir, capsys, settings, said):
    values = toy_settings(toy_city, "sampling.across_epochs=true", *settings)
    assert catalyst_dl("run", "--config", "toy/pspnet50", "--set", *values) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
