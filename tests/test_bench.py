"""`catalyst-dl bench`: that every part runs and says what it measured. No assertion here is about a time."""

import csv
from pathlib import Path

import pytest
import torch
from toy_runs import catalyst_dl

from catalyst_cityscapes.bench.step import Resident, Size, matrix_rate, step_flops
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.loop import train_epoch


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    (path,) = folder.glob(f"{name}_*.csv")
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_step_is_timed_in_both_arms(workdir, one_thread, bf16_on_any_cpu, monkeypatch):
    flags = []

    def noting(*arguments, **options):
        flags.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))
        return train_epoch(*arguments, **options)

    monkeypatch.setattr("catalyst_cityscapes.bench.step.train_epoch", noting)
    sizes = ("--crop", 33, "--batch", 2, "--steps", 1, "--turns", 1, "--output", "out")
    assert catalyst_dl("bench", "step", *sizes, "--arm", "bf16") == 0
    rows = rows_of(Path("out"), "step")
    assert [row["what"] for row in rows] == ["loop", "metric", "step"]
    assert all(float(row["control_s"]) > 0 and float(row["ours_s"]) > 0 for row in rows)
    assert rows[2]["arm"] == "bf16"
    # The control arm has cuDNN in both; where the engine's ways are timed, with torch's defaults.
    assert set(flags) == {(True, False), (True, True)}
    assert float(rows[2]["gflop"]) > 1
    assert float(rows[2]["share_of_matrix_rate"]) > 0


def test_batches_live_on_the_device_and_are_the_same_in_each_epoch():
    size = Size(crop=33, batch=2, steps=3)
    loader = Resident(size, torch.device("cpu"), SeedStreams(0))
    first, second = list(loader), list(loader)
    assert len(first) == len(loader) == 3
    assert sorted(loader.sampler.order) == list(range(6))
    for batch, again in zip(first, second, strict=True):
        assert all(left.data_ptr() == right.data_ptr() for left, right in zip(batch, again, strict=True))
        assert [tuple(part.shape) for part in batch] == [(2, 3, 33, 33), (2, 33, 33)]
    assert not torch.equal(first[0][0], first[1][0])
    assert {part.device.type for part in Resident(size, torch.device("meta"), None).batches[0]} == {"meta"}


def test_data_is_timed_and_its_results_compared(workdir, one_thread):
    sizes = ("--height", 64, "--width", 128, "--crop", 33, "--images", 1, "--samples", 2, "--turns", 1)
    assert catalyst_dl("bench", "data", *sizes, "--output", "out") == 0
    equal = {row["arm"]: row["equal_bits"] for row in rows_of(Path("out"), "data")}
    assert equal["crop_first"] == equal["crop_first_cached"] == "True"


def test_operations_grow_with_the_batch():
    assert step_flops(Size(crop=33, batch=4)) == 2 * step_flops(Size(crop=33, batch=2))


def test_the_forward_pass_is_that_of_the_paper_s_network():
    # The figure: a 713 crop takes 728 GFLOP forward; forward and backward are close to three times that.
    assert step_flops(Size(crop=713, batch=2)) == pytest.approx(2 * 3 * 728e9, rel=0.1)


def test_the_matrix_rate_is_positive(one_thread):
    assert matrix_rate(torch.float32, turns=1) > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("step", "--arm", "bf61"), "--arm bf61: no such arm; did you mean 'bf16'?"),
        (("step", "--batch", "1"), "--batch"),
        (("tester", "--part", "outsides"), "--part"),
        (("data", "--turns", "0"), "--turns"),
    ],
)
def test_bad_input_is_one_line(workdir, capsys, arguments, said):
    assert catalyst_dl("bench", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
