"""The tester's benchmark measures what it says."""

from pathlib import Path

import pytest
import torch

from catalyst_cityscapes.bench.tester import (
    StandIn,
    compare_files,
    compare_maps,
    forward_seconds,
    peak_memory,
    scene,
)
from catalyst_cityscapes.bench.turns import write_rows
from catalyst_cityscapes.testing.predictor import Predictor
from semseg_ref.protocol import Protocol

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_benchmark_compares_the_same_predictions(tmp_path):
    protocol = Protocol((33, 33), 90)
    row = compare_maps(StandIn(19, 33), scene(0, 45, 90), protocol, "exact", turns=2)
    assert row["agreement"] == 1
    assert row["ratio"] == pytest.approx(row["control_s"] / row["ours_s"], rel=0.2)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    files = compare_files(StandIn(19, 33), (45, 90), protocol, 2, "exact", turns=1)
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
    assert forward_seconds(predictor, (45, 90), turns=1) > 0
    assert len(sent) > 1
    assert seen == sent * 2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's counters")
def test_peak_memory_of_a_process_does_not_grow_with_the_images():
    few, many = peak_memory(2, "exact"), peak_memory(8, "exact")
    assert few > 0
    assert many < 1.25 * few
