"""`catalyst-dl bench`: that every part runs and says what it measured. No assertion here is about a time."""

import csv
from pathlib import Path

import pytest
import torch
from rich.console import Console

from catalyst_cityscapes.bench.step import Resident, Size, matrix_rate, step_flops
from catalyst_cityscapes.bench.table import print_rows
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.loop import train_epoch
from support.command_line import catalyst_dl


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


def test_data_is_timed_and_its_results_compared(workdir, one_thread, capsys):
    sizes = ("--height", 64, "--width", 128, "--crop", 33, "--images", 1, "--samples", 2, "--turns", 1)
    assert catalyst_dl("bench", "data", *sizes, "--output", "out") == 0
    equal = {row["arm"]: row["equal_bits"] for row in rows_of(Path("out"), "data")}
    assert equal["crop_first"] == equal["crop_first_cached"] == "True"
    printed = capsys.readouterr().out
    assert all(f"│ {arm} " in printed for arm in equal)
    assert "size 64x128, crop 33x33, images 1, samples 2, turns 1" in printed
    assert printed.splitlines()[-1].startswith("written: out/data_")


def printed_table(rows: list[dict], width: int = 150) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        print_rows("step", rows, console)
    return capture.get()


def test_a_table_has_the_columns_of_all_rows():
    loop = {
        "what": "loop",
        "crop": 97,
        "turns": 9,
        "ours_s": 0.8555,
        "ratio": 1.02,
        "ratio_low": 0.95,
        "ratio_high": 1.1,
    }
    metric = {"what": "metric", "crop": 97, "turns": 9, "ours_s": 0.0067, "share_of_step": 0.006}
    lines = printed_table([loop, metric]).splitlines()
    cells = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]] for line in lines if "│" in line
    }
    assert lines[0].strip() == "bench step"
    assert cells == {"loop": ["0.856", "1.02 (0.95 to 1.1)", ""], "metric": ["0.0067", "", "0.006"]}
    assert lines[-1].strip() == "crop 97, turns 9"


def test_a_setting_in_which_rows_differ_is_a_column():
    printed = printed_table(
        [{"what": "curve", "images": 1, "threads": 2}, {"what": "curve", "images": 4, "threads": 2}]
    )
    assert "images" in printed.splitlines()[2]
    assert printed.splitlines()[-1].strip() == "threads 2"


def test_a_table_fits_a_narrow_terminal():
    row = {
        "what": "step",
        "arm": "bf16 channels_last compile fused",
        "ours_s": 0.8555,
        "ratio": 1.02,
        "ratio_low": 0.95,
    }
    assert max(map(len, printed_table([row | {"ratio_high": 1.1, "gflop": 123.4}], width=60).splitlines())) <= 60


def test_what_was_measured_before_an_error_is_shown_and_not_written(workdir, capsys, monkeypatch):
    def stops(*_):
        yield {"what": "loop", "ours_s": 0.5}
        raise KeyboardInterrupt

    monkeypatch.setattr("catalyst_cityscapes.bench.step.step_rows", stops)
    assert catalyst_dl("bench", "step", "--output", "out") != 0
    assert "│ loop " in capsys.readouterr().out
    assert not list(Path("out").glob("*.csv"))


def test_operations_grow_with_the_batch():
    assert step_flops(Size(crop=33, batch=4)) == 2 * step_flops(Size(crop=33, batch=2))


def test_the_forward_pass_is_that_of_the_paper_s_network():
    # The figure: a 713 crop takes 728 GFLOP forward; forward and backward are close to three times that.
    assert step_flops(Size(crop=713, batch=2)) == pytest.approx(2 * 3 * 728e9, rel=0.1)


def test_the_matrix_rate_is_positive(one_thread):
    assert matrix_rate(torch.float32, repeats=1) > 0


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
