"""The determinism ledger of a run folder."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from catalyst_cityscapes.train.determinism import operations_in, promise, python_code_as
from semseg_ref.base.arithmetic import deterministic_algorithms
from semseg_ref.base.random_state import random_state, set_random_state
from semseg_ref.base.seed_streams import SeedStreams
from support.runs.toy import SMALL, toy_recipe, train_catalyst

pytestmark = pytest.mark.usefixtures("one_thread_module")


def ledger_of(city: Path, *settings: str) -> dict:
    """Trains one epoch and reads what the run says of itself."""
    train_catalyst(toy_recipe(city, *SMALL, "experiment.epochs=1", *settings))
    return json.loads(Path("run/determinism.json").read_text())


def test_a_run_on_the_cpu_is_promised_to_the_bit(toy_city, workdir):
    content = ledger_of(toy_city)
    assert content["promise"] == "bitwise"
    assert content["operations_without_deterministic_form"] == []
    assert content["threads"]["torch"] == torch.get_num_threads() == 1
    assert content["flags"]["deterministic_algorithms"] is False
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("experiment.seed=null", "generators"),
        ("sampling.seed_stream=reference", "generators"),
        ("engine.precision=bf16", "bf16"),
    ],
)
def test_less_is_promised_where_less_is_kept(toy_city, workdir, bf16_on_any_cpu, setting, why):
    content = ledger_of(toy_city, setting)
    assert content["promise"] == "statistical"
    assert why in content["why"]


def test_an_operation_without_a_deterministic_form_is_listed(toy_city, workdir, monkeypatch):
    """`put_` has none on the CPU either."""
    original = nn.CrossEntropyLoss.forward

    def putting(self: nn.Module, *arguments: torch.Tensor) -> torch.Tensor:
        torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))
        return original(self, *arguments)

    monkeypatch.setattr(nn.CrossEntropyLoss, "forward", putting)
    content = ledger_of(toy_city)
    assert content["operations_without_deterministic_form"] == ["put_"]
    assert content["promise"] == "numeric"


@pytest.mark.parametrize(("mode", "dimensions"), [("bilinear", 4), ("trilinear", 5)])
def test_the_ledger_runs_the_resize_that_the_training_ran(mode, dimensions):
    """On any device but a CPU torch exchanges it for another one where deterministic algorithms are asked for."""

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, arguments=(), options=None):
            names.append(operation.name())
            return operation(*arguments, **(options or {}))

    image = torch.empty((1, 2) + (5,) * (dimensions - 2), device="meta")
    ran = {}
    for is_on in (False, True):
        names: list[str] = []
        with deterministic_algorithms(True), python_code_as(is_on), Noted():
            nn.functional.interpolate(image, scale_factor=2, mode=mode, align_corners=True)
        ran[is_on] = any(name.startswith(f"aten::upsample_{mode}") for name in names)
    assert ran == {False: True, True: False}
    assert not torch.are_deterministic_algorithms_enabled()


def test_names_in_the_warnings():
    messages = [
        "upsample_bilinear2d_backward_out_cuda does not have a deterministic implementation, but you set ...",
        "upsample_bilinear2d_backward_out_cuda does not have a deterministic implementation, but you set ...",
        "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set ...",
        "Deterministic behavior was enabled with ... you must set CUBLAS_WORKSPACE_CONFIG=:4096:8 ...",
        "something else is slow",
    ]
    assert operations_in(messages) == [
        "adaptive_avg_pool2d_backward_cuda",
        "cuBLAS matrix products (CUBLAS_WORKSPACE_CONFIG is not set)",
        "upsample_bilinear2d_backward_out_cuda",
    ]


def test_no_bits_are_promised_on_a_gpu(toy_city):
    """Nothing has shown them there."""
    engine = SimpleNamespace(device=torch.device("cuda"))
    for setting in ("engine.deterministic=true", "engine.deterministic=false"):
        runner = SimpleNamespace(recipe=toy_recipe(toy_city, *SMALL, setting), engine=engine, streams=SeedStreams(0))
        assert promise(runner, [])[0] == "numeric"
        assert promise(runner, ["upsample_bilinear2d_backward_out_cuda"])[1].startswith("operations without a")


def test_generators_come_back():
    state = random_state()
    drawn = [(random.random(), np.random.normal(), torch.rand(1).item()) for _ in range(3)]
    set_random_state(state)
    assert [(random.random(), np.random.normal(), torch.rand(1).item()) for _ in range(3)] == drawn
