"""The augmentation node: named steps, the 2020 Catalyst attempt's steps, and the swaps."""

import pickle
import random

import numpy as np
import pytest
import torch
from scipy import stats

from catalyst_cityscapes.data.augmentation import BoxBlur, Pipeline, ShiftScaleRotate, SmallestMaxSize
from semseg_ref import transform
from semseg_ref.base.errors import InputError
from support.augmentation_cases import CROP, MEAN, SWAP, build, equal, sample, seeded


def zoom(scale):
    """ShiftScaleRotate that always applies one scale."""
    return ShiftScaleRotate(scale=(scale, scale), p=1.0)


# --- the pipeline ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "w"), [(128, 192), (60, 70)])
def test_official_steps_are_the_reference_pipeline_bit_for_bit(h, w):
    image, label = sample(h=h, w=w)
    pipeline, reference = build(), transform.train_transform(*CROP)
    for seed in range(20):
        ours = seeded(seed, pipeline, image, label)
        state = random.getstate()
        assert equal(ours, seeded(seed, reference, image, label))
        assert random.getstate() == state
    assert ours[0].dtype == torch.float32
    assert ours[1].dtype == torch.int64
    assert tuple(ours[0].shape) == (3, *CROP)
    assert tuple(ours[1].shape) == CROP


@pytest.mark.parametrize("overlays", [(), ("augmentation_catalyst_2020",)])
def test_pipeline_leaves_its_input_alone_and_survives_pickling(overlays):
    image, label = sample()
    before = image.copy(), label.copy()
    pipeline = build(*overlays)
    copy = pickle.loads(pickle.dumps(pipeline))
    assert equal(seeded(5, pipeline, image, label), seeded(5, copy, image, label))
    assert np.array_equal(image, before[0])
    assert np.array_equal(label, before[1])


def test_a_null_step_is_left_out_wherever_order_names_it():
    image, label = sample()
    short = "[scale, rotate, flip, crop, to_tensor, normalize]"
    steps = "  steps:\n    blur: null\n"
    for text in (f"augmentation:\n{steps}", f"augmentation:\n  order: {short}\n{steps}"):
        pipeline = build(text)
        assert list(pipeline.steps) == ["scale", "rotate", "flip", "crop", "to_tensor", "normalize"]
        assert tuple(seeded(0, pipeline, image, label)[0].shape) == (3, *CROP)


def test_pipeline_refuses_what_would_silently_not_run():
    flip = transform.RandomHorizontalFlip()
    with pytest.raises(InputError, match=r"no step 'flipp'.*did you mean 'flip'"):
        Pipeline(["flipp"], {"flip": flip})
    with pytest.raises(InputError, match=r"step 'blurr' is not in augmentation.order.*did you mean 'blur'"):
        Pipeline(["blur"], {"blur": flip, "blurr": flip})
    with pytest.raises(InputError, match="named 2 times"):
        Pipeline(["flip", "flip"], {"flip": flip})
    with pytest.raises(InputError, match="expected a node with `_target_`"):
        Pipeline(["flip"], {"flip": {"_taget_": "semseg_ref.transform.RandomHorizontalFlip"}})


# --- the 2020 Catalyst attempt's steps
# ---------------------------------------------------------------------------------


def test_rotation_of_the_warp_is_the_reference_rotation_bit_for_bit():
    image, label = sample()
    warp = ShiftScaleRotate(rotate=(-10, 10))
    reference = transform.RandRotate([-10, 10], padding=MEAN, ignore_label=255, p=0.5)
    for seed in range(20):
        assert equal(seeded(seed, warp, image, label), seeded(seed, reference, image, label))


def test_warp_keeps_the_canvas_and_fills_what_it_uncovers():
    image, label = np.full((80, 120, 3), 200, np.float32), np.full((80, 120), 3, np.uint8)
    small, small_label = zoom(0.5)(image, label)
    assert small.shape == image.shape
    assert np.allclose(small[0, 0], MEAN)
    assert abs((small_label == 3).mean() - 0.25) < 0.02
    assert set(np.unique(small_label)) == {3, 255}
    large, large_label = zoom(2.0)(image, label)
    assert large.shape == image.shape
    assert (large_label == 3).all()


def test_warp_zooms_about_the_centre_and_shifts_by_fractions():
    marked = np.zeros((80, 120), np.uint8)
    marked[36:45, 56:65] = 1
    image = np.zeros((80, 120, 3), np.float32)

    def centre(label):
        return np.array(np.nonzero(label == 1)).mean(1)

    home = centre(marked)
    _, zoomed = zoom(2.0)(image, marked)
    assert np.abs(centre(zoomed) - home).max() <= 1
    assert 3.5 < (zoomed == 1).sum() / (marked == 1).sum() < 4.5
    _, shifted = ShiftScaleRotate(shift=(0.1, 0.1), p=1.0)(image, marked)
    assert np.allclose(centre(shifted) - home, [8, 12])


def test_warp_draws_only_for_what_varies_and_applies_at_its_rate():
    image, label = sample(h=16, w=16)
    random.seed(0)
    for _ in range(5):
        random.random()
    expected = random.random()
    random.seed(0)
    ShiftScaleRotate(scale=(0.5, 2), rotate=(-10, 10), shift=(-0.01, 0.01), p=1.0)(image, label)
    assert random.random() == expected
    warp, changed = ShiftScaleRotate(scale=(0.5, 2.0)), 0
    random.seed(1)
    for _ in range(400):
        changed += not np.array_equal(warp(image, label)[0], image)
    assert stats.binomtest(changed, 400, 0.5).pvalue > 0.01


@pytest.mark.parametrize(
    ("h", "w", "expected"), [(1024, 2048, (713, 1426)), (1000, 700, (1019, 713)), (713, 900, (713, 900))]
)
def test_smallest_max_size(h, w, expected):
    image, label = np.zeros((h, w, 3), np.float32), np.full((h, w), 7, np.uint8)
    image, label = SmallestMaxSize(713)(image, label)
    assert image.shape == (*expected, 3)
    assert label.shape == expected
    assert set(np.unique(label)) == {7}


def test_box_blur_averages_a_window_of_either_size():
    image, label = np.zeros((21, 21, 3), np.float32), np.zeros((21, 21), np.uint8)
    image[10, 10] = 225
    peaks = []
    random.seed(0)
    for _ in range(400):
        blurred, same = BoxBlur()(image, label)
        assert same is label
        peaks.append(round(float(blurred[10, 10, 0]), 3))
    counts = {peak: peaks.count(peak) for peak in set(peaks)}
    assert set(counts) == {225.0, 25.0, 9.0}
    assert stats.chisquare([counts[225.0], counts[25.0], counts[9.0]], [200, 100, 100]).pvalue > 0.01


@pytest.mark.parametrize(
    "make",
    [
        lambda: ShiftScaleRotate(),
        lambda: ShiftScaleRotate(scale=(2, 0.5)),
        lambda: ShiftScaleRotate(scale=(0, 1)),
        lambda: ShiftScaleRotate(rotate=10),
        lambda: ShiftScaleRotate(rotate=(-1, 1), p=1.5),
        lambda: ShiftScaleRotate(rotate=(-1, 1), padding=[0]),
        lambda: SmallestMaxSize(0),
        lambda: SmallestMaxSize([713, 713]),
        lambda: BoxBlur([4]),
        lambda: BoxBlur([]),
    ],
)
def test_bad_arguments_are_input_errors(make):
    with pytest.raises(InputError):
        make()


# --- the swaps ---------------------------------------------------------------------------------------------------


SWAPPED = {
    "augmentation_scale": {"scale": ShiftScaleRotate},
    "augmentation_base_resolution": {"base_resolution": SmallestMaxSize},
    "augmentation_rotate": {"rotate": ShiftScaleRotate},
    "augmentation_shift": {"shift": ShiftScaleRotate},
    "augmentation_blur": {"blur": BoxBlur},
    "augmentation_order": {},
    "augmentation_catalyst_2020": {
        "shift_scale_rotate": ShiftScaleRotate,
        "base_resolution": SmallestMaxSize,
        "blur": BoxBlur,
    },
}


@pytest.mark.parametrize("name", SWAPPED)
def test_a_swap_changes_the_steps_it_names_and_no_other(name):
    image, label = sample()
    pipeline, official = build(name), build()
    changed = {step: type(t) for step, t in pipeline.steps.items() if type(t) is not type(official.steps.get(step))}
    assert changed == SWAPPED[name]
    dropped = set(official.steps) - set(pipeline.steps)
    assert dropped == ({"scale", "rotate"} if name == "augmentation_catalyst_2020" else set())
    same = [equal(seeded(s, pipeline, image, label), seeded(s, official, image, label)) for s in range(12)]
    assert all(same) if name == "augmentation_rotate" else not all(same)
    result = seeded(0, pipeline, image, label)
    assert tuple(result[0].shape) == (3, *CROP)
    assert result[1].dtype == torch.int64


def test_every_augmentation_swap_file_is_covered():
    assert {p.stem for p in SWAP.glob("augmentation_*.yml")} == {
        *SWAPPED,
        "augmentation_albumentations",
        "augmentation_crop_first",
    }


def test_order_swap_rotates_before_it_scales():
    assert list(build("augmentation_order").steps)[:3] == ["rotate", "scale", "blur"]


def test_earlier_attempt_always_crops_the_full_height_without_padding():
    image = np.zeros((128, 256, 3), np.float32)
    image += np.arange(128, dtype=np.float32)[:, None, None]
    label = np.full((128, 256), 4, np.uint8)
    pipeline = build("augmentation_catalyst_2020")
    unwarped = 0
    for seed in range(60):
        tensor, target = seeded(seed, pipeline, image, label)
        rows = tensor[0].mean(1) * 58.395 + 123.675
        if (target == 4).all() and abs(rows[0] - 0.3) < 3 and abs(rows[-1] - 126.7) < 3:
            unwarped += 1
    assert unwarped >= 20
