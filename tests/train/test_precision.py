"""bf16 on a CPU: offered where the processor has it, refused in one line where torch would emulate it."""

import pytest
import torch

from catalyst_cityscapes.bench import STEP_ARMS
from catalyst_cityscapes.bench.step import arms_of_this_machine
from catalyst_cityscapes.train.engine import SegmentationEngine, close_processes, cpu_has_bf16
from semseg_ref.base.errors import OptionError
from support.command_line import catalyst_dl
from support.runs.toy import SMALL, SMALL_PACKAGE, toy_settings


def pretend(monkeypatch, allowed: bool = True, **capabilities: bool) -> None:
    """A processor with these instruction sets, and whether oneDNN may use bf16."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **capabilities})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: allowed)


@pytest.mark.parametrize(
    ("capabilities", "allowed", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True, True),
        ({"avx512_bf16": True, "amx_bf16": True}, True, True),
        ({"amx_bf16": True}, True, True),
        # oneDNN says that it can on any AVX-512, where it emulates.
        ({"avx512_f": True, "avx512_bf16": False}, True, False),
        ({}, False, False),
        # ONEDNN_MAX_CPU_ISA=AVX2 on a processor that has it.
        ({"avx512_bf16": True}, False, False),
    ],
)
def test_which_processors_have_bf16(monkeypatch, capabilities, allowed, expected):
    pretend(monkeypatch, allowed, **capabilities)
    assert cpu_has_bf16() is expected


@pytest.mark.parametrize(("capabilities", "allowed"), [({}, False), ({"avx512_f": True}, True)])
def test_bf16_is_refused_where_it_would_be_emulated(toy_city, workdir, monkeypatch, capsys, capabilities, allowed):
    pretend(monkeypatch, allowed, **capabilities)
    settings = toy_settings(toy_city, *SMALL, "engine.precision=bf16")
    code = catalyst_dl("run", "--config", "toy/pspnet50", "--trust", SMALL_PACKAGE, "--set", *settings)
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith("catalyst-dl: error: engine.precision: bf16 on a CPU needs AVX512-BF16 or AMX")
    assert line.endswith("use 'fp32'")
    assert not list(workdir.iterdir())


@pytest.mark.parametrize(("has_it", "names"), [(True, set(STEP_ARMS)), (False, {"fp32", "fp32 channels_last"})])
def test_the_bench_times_bf16_where_there_is_some(monkeypatch, capsys, has_it, names):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("catalyst_cityscapes.bench.step.cpu_has_bf16", lambda: has_it)
    assert set(arms_of_this_machine()) == names
    assert ("the bf16 arms are left out" in capsys.readouterr().err) is not has_it


def test_float32_is_refused_nowhere(monkeypatch):
    pretend(monkeypatch, False)
    SegmentationEngine("fp32", "cpu")
    close_processes()


@pytest.mark.skipif(not cpu_has_bf16(), reason="this processor has neither AVX512-BF16 nor AMX")
def test_bf16_starts_where_the_processor_has_it():
    try:
        assert SegmentationEngine("bf16", "cpu").mixed_precision == "bf16"
    finally:
        close_processes()


def test_fp16_on_a_cpu_names_what_goes():
    with pytest.raises(OptionError, match="use 'fp32' or 'bf16'"):
        SegmentationEngine("fp16", "cpu")
