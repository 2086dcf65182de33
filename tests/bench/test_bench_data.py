"""The data path's benchmark at toy size: what it compares and writes, not how long it takes."""

import numpy as np
import pytest

from catalyst_cityscapes.bench.data import build_photographs, photographed, time_data_path
from support.golden.inputs import rec_image

ARMS = ["control", "crop_first", "crop_first_opencv", "crop_first_cached", "decode_only", "copy_only"]


@pytest.fixture(scope="module")
def timings(tmp_path_factory):
    steps = []
    result = time_data_path(
        tmp_path_factory.mktemp("bench"),
        images=2,
        samples=3,
        repeats=2,
        size=(64, 96),
        crop=(33, 41),
        progress=lambda *step: steps.append(step),
    )
    assert steps == [("timing", done, 2) for done in range(3)]
    return result


def test_every_arm_is_timed_and_compared(timings):
    assert [timing.arm for timing in timings.arms] == ARMS
    assert [timing.is_equal for timing in timings.arms] == [True, True, True, True, None, None]
    control = timings.arm("control")
    assert (control.ratio, control.cpu_ratio, control.fastest_ratio) == (1, 1, 1)
    for timing in timings.arms:
        assert timing.seconds > 0
        assert timing.images_per_second == pytest.approx(1 / timing.seconds)
        assert timing.ratio_low <= timing.ratio <= timing.ratio_high


def test_rows_for_a_table(timings):
    rows = timings.rows()
    assert [row["arm"] for row in rows] == ARMS
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[0]["size"] == "64x96"
    assert rows[1]["equal_bits"] == "True"
    assert rows[-1]["equal_bits"] == ""


def test_photographs_are_grainy_repeatable_and_made_once(tmp_path):
    image = rec_image(1, 40, 50)
    assert np.array_equal(photographed(image, 3), photographed(image, 3))
    assert not np.array_equal(photographed(image, 3), photographed(image, 4))
    first = build_photographs(tmp_path, 1, 64, 96)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert build_photographs(tmp_path, 1, 64, 96) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == files
