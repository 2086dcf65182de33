"""Crop-first augmentation: the reference's draws and bits, whatever the sizes, the draws and OpenCV's own options."""

import random
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from catalyst_cityscapes.data.augmentation import CropFirst, crop_first, window_check
from catalyst_cityscapes.data.augmentation.crop_window import Rotation, Span, Window, blurred, scaled_image
from catalyst_cityscapes.data.augmentation.window_check import UnequalWindows, unequal_windows
from semseg_ref.base.errors import InputError
from semseg_ref.transform import (
    Compose,
    Crop,
    Normalize,
    RandomGaussianBlur,
    RandomHorizontalFlip,
    RandRotate,
    RandScale,
    ToTensor,
    train_transform,
)
from support.augmentation_cases import MEAN, build, equal, seeded
from support.command_line import child_environment
from support.golden.inputs import rec_image, rec_label
from support.places import PROJECT

pytestmark = pytest.mark.usefixtures("one_thread")


def photo(seed, h, w):
    return rec_image(seed, h, w), rec_label(seed + 1, h, w, 19)


def assert_same_bits(reference, ours, image, label, seeds):
    """Both give the same bits and leave python's generator in the same state; returns what was drawn."""
    drawn = []
    for seed in seeds:
        expected = seeded(seed, reference, np.float32(image), label)
        state = random.getstate()
        found = seeded(seed, ours, image, label)
        assert random.getstate() == state
        assert found[0].dtype == torch.float32
        assert found[1].dtype == torch.int64
        assert equal(expected, found), (seed, image.shape, seeded(seed, lambda *_: ours.draw(*label.shape), 0, 0))
        drawn.append(seeded(seed, lambda *_: ours.draw(*label.shape), 0, 0))
    return drawn


@pytest.mark.parametrize(
    "size",
    [
        (128, 192),
        (97, 129),  # the crop's size
        (40, 51),  # smaller than the crop at each scale
        (60, 300),  # padded in height only, or in both
        (300, 50),
        (3, 5),
        (2, 2),
        (129, 97),
    ],
)
def test_the_same_bits_and_generator_state(size):
    image, label = photo(3, *size)
    assert_same_bits(train_transform(97, 129), CropFirst((97, 129)), image, label, range(40))


def test_every_combination_of_draws_and_every_border():
    image, label = photo(5, 90, 140)
    drawn = assert_same_bits(train_transform(65, 73), CropFirst((65, 73)), image, label, range(300))
    assert len({(draw.angle is None, draw.blur, draw.flip) for draw in drawn}) == 8
    inner = [draw for draw in drawn if draw.size[0] > 65 and draw.size[1] > 73]
    assert {draw.top == 0 for draw in inner} == {draw.top == draw.size[0] - 65 for draw in inner} == {True, False}
    assert {draw.left == 0 for draw in inner} == {draw.left == draw.size[1] - 73 for draw in inner} == {True, False}
    assert {draw.size[0] < 65 for draw in drawn} == {True, False}


@pytest.mark.parametrize("rotate_p", [0.0, 1.0])
@pytest.mark.parametrize("flip_p", [0.0, 1.0])
@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("std", [None, [58.0, 57.0, 56.0]])
def test_other_options(rotate_p, flip_p, kernel, std):
    padding = [10.5, 200.25, 3.0]
    reference = Compose(
        [
            RandScale((0.4, 1.1)),
            RandRotate((20, 75), padding=padding, ignore_label=7, p=rotate_p),
            RandomGaussianBlur(kernel),
            RandomHorizontalFlip(flip_p),
            Crop((50, 61), "rand", padding, 7),
            ToTensor(),
            Normalize(padding, std),
        ]
    )
    ours = CropFirst((50, 61), (0.4, 1.1), (20, 75), rotate_p, kernel, flip_p, padding, std, ignore_index=7)
    assert_same_bits(reference, ours, *photo(8, 110, 93), range(12))


def test_factors_near_one_where_opencv_copies_instead_of_scaling():
    image, label = photo(9, 150, 211)
    reference, ours = train_transform(21, 33, (0.99, 1.01)), CropFirst((21, 33), (0.99, 1.01))
    drawn = assert_same_bits(reference, ours, image, label, range(120))
    assert {draw.size == (150, 211) for draw in drawn} == {True, False}


def test_random_sizes_and_ranges():
    rng = np.random.default_rng(11)
    for _ in range(120):
        image = rng.integers(0, 256, (*rng.integers(2, 220, 2), 3), np.uint8)
        label = rng.integers(0, 256, image.shape[:2], np.uint8)
        crop = tuple(int(side) for side in rng.integers(5, 120, 2))
        low, angle = rng.uniform(0.3, 1.5), rng.uniform(-90, 80)
        scale, rotate = (low, low + rng.uniform(0.01, 1.5)), (angle, angle + rng.uniform(0.1, 20))
        seeds = [int(seed) for seed in rng.integers(0, 2**31, 4)]
        assert_same_bits(train_transform(*crop, scale, rotate), CropFirst(crop, scale, rotate), image, label, seeds)


def test_a_whole_street_scene():
    image, label = photo(1, 1024, 2048)
    drawn = assert_same_bits(train_transform(713, 713), CropFirst((713, 713)), image, label, range(8))
    assert {draw.angle is None for draw in drawn} == {draw.blur for draw in drawn} == {True, False}


@pytest.mark.skipif(not hasattr(cv2, "ipp"), reason="OpenCV without Intel's library has only its own code")
def test_opencvs_own_scaling_code():
    used = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(not used)
    try:
        assert_same_bits(train_transform(97, 129), CropFirst((97, 129)), *photo(3, 128, 192), range(40))
    finally:
        cv2.ipp.setUseIPP(used)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        {"OPENCV_IPP": "sse42"},
        {"OPENCV_IPP": "disabled", "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX2,FMA3,AVX"},
    ],
)
def test_the_code_for_other_processors(code):
    files = [__file__, str(Path(__file__).with_name("test_lazy_samples.py"))]
    only = "generator_state or near_one or any_window"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", only]
    done = subprocess.run(command, env={**child_environment(), **code}, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout


def test_the_shipped_overlay_is_the_official_pipeline():
    image, label = photo(2, 128, 192)
    assert_same_bits(build(), build("augmentation_crop_first"), image, label, range(20))


def test_float_and_read_only_images():
    image, label = photo(4, 80, 100)
    ours = CropFirst((33, 41))
    expected = [seeded(seed, ours, image, label) for seed in range(10)]
    image.flags.writeable = label.flags.writeable = False
    before = image.copy(), label.copy()
    assert all(equal(expected[seed], seeded(seed, ours, image, label)) for seed in range(10))
    assert all(equal(expected[seed], seeded(seed, ours, np.float32(image), label)) for seed in range(10))
    assert np.array_equal(image, before[0])
    assert np.array_equal(label, before[1])


def test_a_result_stays_when_the_next_is_made():
    ours = CropFirst((33, 41))
    first = seeded(0, ours, *photo(4, 80, 100))
    kept = [tensor.clone() for tensor in first]
    for seed in range(1, 6):
        seeded(seed, ours, *photo(seed, 80, 100))
    assert equal(first, kept)


# -- the guard ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kernel", [1, 5, 9])
def test_windows_have_the_bits_of_the_whole_image_here(kernel):
    assert unequal_windows(kernel) == UnequalWindows()


@pytest.mark.parametrize(
    "unequal", [UnequalWindows(scale=True), UnequalWindows(rotate=True), UnequalWindows(blur=True)]
)
def test_exact_takes_the_whole_image_where_a_window_differs(monkeypatch, unequal):
    monkeypatch.setattr(crop_first, "unequal_windows", lambda kernel: unequal)
    assert_same_bits(train_transform(65, 73), CropFirst((65, 73)), *photo(5, 90, 140), range(60))


def test_not_exact_takes_the_window_all_the_same(monkeypatch):
    monkeypatch.setattr(crop_first, "unequal_windows", lambda kernel: pytest.fail("asked"))
    assert_same_bits(train_transform(65, 73), CropFirst((65, 73), exact=False), *photo(5, 90, 140), range(10))


def test_the_guard_sees_a_scaling_that_differs(monkeypatch):
    monkeypatch.setattr(
        window_check, "scaled_image", lambda image, factor, window: scaled_image(image, factor, window) + np.float32(1)
    )
    assert unequal_windows.__wrapped__(5) == UnequalWindows(scale=True)


def test_the_guard_sees_a_rotation_that_differs(monkeypatch):
    class Shifted(Rotation):
        def label(self, piece, source, window, ignore_label):
            moved = Window(Span(source.rows.start + 1, source.rows.stop + 1), source.columns)
            return super().label(piece, moved, window, ignore_label)

    monkeypatch.setattr(window_check, "Rotation", Shifted)
    assert unequal_windows.__wrapped__(5) == UnequalWindows(rotate=True)


def test_the_guard_sees_a_blur_that_differs(monkeypatch):
    monkeypatch.setattr(
        window_check, "blurred", lambda piece, source, window, kernel: blurred(piece, source, window, kernel + 2)
    )
    assert unequal_windows.__wrapped__(5) == UnequalWindows(blur=True)


def test_a_canvas_too_large_for_the_fixed_point_grid_is_rotated_whole(monkeypatch):
    monkeypatch.setattr(crop_first, "LARGEST_SIDE", 100)
    assert_same_bits(train_transform(65, 73), CropFirst((65, 73)), *photo(5, 90, 140), range(40))


# -- errors ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"crop": (0, 5)}, "size"),
        ({"crop": (5, 5), "scale": (2.0, 0.5)}, "scale"),
        ({"crop": (5, 5), "rotate": (3, 3)}, "rotate"),
        ({"crop": (5, 5), "blur_radius": 4}, "radius"),
        ({"crop": (5, 5), "mean": MEAN, "std": [1.0, 0.0, 1.0]}, "std"),
        ({"crop": (5, 5), "mean": [1.0]}, "padding"),
    ],
)
def test_bad_options_are_input_errors(arguments, named):
    with pytest.raises(InputError, match=named):
        CropFirst(**arguments)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        (np.zeros((5, 6), np.uint8), np.zeros((5, 6), np.uint8)),
        (np.zeros((5, 6, 3), np.uint8), np.zeros((6, 5), np.uint8)),
        (np.zeros((5, 6, 3), np.float64), np.zeros((5, 6), np.uint8)),
        (np.zeros((5, 6, 3), np.uint8), np.zeros((5, 6), np.int64)),
    ],
)
def test_other_arrays_are_input_errors(image, label):
    with pytest.raises(InputError, match="CropFirst: expected"):
        CropFirst((4, 4))(image, label)
