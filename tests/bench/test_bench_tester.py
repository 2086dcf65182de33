"""The tester's benchmark measures what it says."""

from pathlib import Path

import pytest
import torch
from torch import nn

from catalyst_cityscapes.bench import tester as bench
from catalyst_cityscapes.bench.repeats import write_rows
from catalyst_cityscapes.bench.tester import (
    StandIn,
    compare_files,
    compare_maps,
    forward_seconds,
    peak_memory,
    scene,
)
from catalyst_cityscapes.inference.predictor import Predictor
from semseg_ref.protocol import Protocol

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_benchmark_compares_the_same_predictions(tmp_path):
    protocol = Protocol((33, 33), 90)
    row = compare_maps(StandIn(19, 33), scene(0, 45, 90), protocol, "exact", repeats=2)
    assert row["agreement"] == 1
    assert row["ratio"] == pytest.approx(row["control_s"] / row["ours_s"], rel=0.2)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    files = compare_files(StandIn(19, 33), (45, 90), protocol, 2, "exact", repeats=1)
    assert files["same_files"]
    write_rows(tmp_path / "rows.csv", [row, files])
    assert (tmp_path / "rows.csv").read_text().splitlines()[0].endswith("images,same_files")


def test_the_forward_passes_are_those_of_the_tester():
    """As many windows, in the same batches, as the predictor sends for such an image."""
    seen = []

    class Counting(StandIn):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return super().forward(x)

    predictor = Predictor(Counting(19, 33), Protocol((33, 33), 90), "fast", batch=4)
    predictor.predict(scene(0, 45, 90)).release()
    sent, seen[:] = list(seen), []
    assert forward_seconds(predictor, (45, 90), repeats=1) > 0
    assert len(sent) > 1
    assert seen == sent * 2


def test_each_arm_has_its_own_bound(monkeypatch):
    """The forward passes alone run in the arm's precision and layout, as the tester's do. All of a GPU's arms but
    fp16, which no CPU has."""
    seen: set[tuple[bool, bool]] = set()

    class Noting(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            layout = self.weight.is_contiguous() and x.is_contiguous()
            seen.add((torch.is_autocast_enabled("cpu"), layout))
            return super().forward(x)

    arms = [arm for arm in bench.NETWORK_ARMS if arm[1] != "fp16"]
    monkeypatch.setattr(bench, "CPU_NETWORK_ARMS", arms)
    monkeypatch.setattr(bench, "PSPNet", lambda **_: Noting(3, 19, 3, padding=1))
    forward, during = bench.forward_seconds, []

    def noting(*arguments: object) -> float:
        seen.clear()
        seconds = forward(*arguments)
        during.append(set(seen))
        return seconds

    monkeypatch.setattr(bench, "forward_seconds", noting)
    rows = list(bench.with_network(repeats=1))
    assert [(row["tester"], row["precision"], row["memory_format"]) for row in rows] == arms
    assert all(row["share_of_bound"] > 0 for row in rows)
    assert all(row["agreement"] >= 0.9999 for row in rows if row["precision"] != "bf16")
    assert during == [{(precision == "bf16", layout == "contiguous")} for _, precision, layout in arms]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's counters")
def test_peak_memory_of_a_process_does_not_grow_with_the_images():
    few, many = peak_memory(2, "exact"), peak_memory(8, "exact")
    assert few > 0
    assert many < 1.25 * few
