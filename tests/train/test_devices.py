"""Which device a process takes, in both arms, and that it is told before processes join. The GPU is made up."""

import pytest
import torch

from catalyst_cityscapes.train.engine import SegmentationEngine
from semseg_ref.base.errors import OptionError
from semseg_ref.distributed import process_device, start_processes
from support.command_line import catalyst_dl
from support.runs.toy import toy_settings


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is visible and cannot do anything; gives the calls to it and to the process group in order."""
    calls: list[tuple] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("set", device)))
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, **more: calls.append((backend, more["device_id"]))
    )
    return calls


@pytest.fixture
def second_of_two(monkeypatch):
    """The environment of torchrun's second process."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_gpu_is_the_current_one_before_nccl_joins_and_nccl_is_told(gpu, second_of_two, monkeypatch, name):
    second = torch.device("cuda", 1)
    assert start_processes(name).device == second
    assert gpu == [("set", second), ("nccl", second)]
    gpu.clear()
    monkeypatch.setattr("catalyst.core.engine.Engine.__init__", lambda self, **_: None)
    monkeypatch.setattr(SegmentationEngine, "num_processes", 2, raising=False)
    SegmentationEngine(device=name)
    assert gpu == [("set", second), ("nccl", second)]


def test_the_control_arm_stays_on_the_cpu_where_the_recipe_says_so(gpu, second_of_two):
    assert start_processes("cpu").device.type == "cpu"
    assert gpu == [("gloo", None)]


def test_the_command_gives_the_recipes_device_to_the_control_arm(toy_city, workdir, gpu, monkeypatch):
    seen = []
    monkeypatch.setattr("semseg_ref.train.run", lambda cfg, processes, **_: seen.append(processes.device) or "last.pth")
    values = toy_settings(toy_city, "callbacks.sync_bn=null", "model.layers=50", "model.dropout=0.1")
    assert catalyst_dl("run", "--config", "toy/pspnet50", "--control", "--set", *values) == 0
    assert seen == [torch.device("cpu")]


def test_a_gpu_that_is_not_there_is_one_line_in_both_arms(toy_city, workdir, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for more in ((), ("--control",)):
        values = toy_settings(toy_city, "engine.device=cuda", f"experiment.logdir=run{len(more)}")
        assert catalyst_dl("run", "--config", "toy/pspnet50", *more, "--set", *values) == 2
        assert "engine.device: cuda asked for, but no GPU is visible" in capsys.readouterr().err
    with pytest.raises(OptionError, match="no GPU is visible"):
        process_device("cuda")
    assert process_device() == torch.device("cpu")
