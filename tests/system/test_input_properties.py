"""Properties of what reads input, on generated examples: the recipe loader, lists, transforms, the tester's windows."""

import math
import os
import random
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalyst_cityscapes.recipe.loading import load_recipe, parse_settings
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.runs.folder import to_yaml
from semseg_ref.base.errors import DataError, InputError, did_you_mean, one_line
from semseg_ref.dataset import make_dataset
from semseg_ref.protocol import padding, scaled_size, window_positions
from semseg_ref.tester import predict_scale
from semseg_ref.transform import (
    Compose,
    Crop,
    RandomGaussianBlur,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    RandRotate,
    RandScale,
    Resize,
    ToTensor,
)
from support.faults.recipe_mutations import LADDERS, load_bytes, load_ladder_bytes, mutated
from support.golden.rounding import UNIT_ROUNDOFF

# The same examples in every run.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fixed")

MEAN = (123.0, 116.0, 103.0)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


def outcome(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call returns and no message, or None and its one-line refusal."""
    try:
        return call(), ""
    except InputError as error:
        message = one_line(error)
    if not message.isprintable():
        raise AssertionError(message)
    return None, message


# -- recipes --------------------------------------------------------------------------------------------------------
@settings(max_examples=120)
@given(st.randoms(use_true_random=False))
def test_a_changed_recipe_is_a_recipe_or_refused_in_one_line(tmp_path, rng):
    recipe = load_bytes(mutated(rng), tmp_path)
    if recipe is not None:
        (tmp_path / "again.yml").write_text(to_yaml(recipe))
        assert load_recipe([tmp_path / "again.yml"]) == recipe


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_a_changed_ladder_plan_is_a_ladder_or_refused_in_one_line(tmp_path, rng):
    ladder = load_ladder_bytes(mutated(rng, LADDERS), tmp_path)
    assert ladder is None or (
        ladder.names and "".join((ladder.notes, *(step.note for step in ladder.steps))).isprintable()
    )


@settings(max_examples=120)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_recipe_or_refused_in_one_line(tmp_path, content):
    load_bytes(content, tmp_path)


SCALARS = TEXT | st.integers() | st.none() | st.floats()
VALUES = st.recursive(SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXT, x, max_size=3), max_leaves=8)
PLACES = ("model", "optimizer.lr", "callbacks.x", "protocol.scales", "data.crop", "augmentation.order")


@settings(max_examples=60)
@given(VALUES, st.sampled_from(PLACES))
def test_any_value_anywhere_is_taken_or_refused(tmp_path, value, place):
    for key in reversed(place.split(".")):
        value = {key: value}
    load_bytes(yaml.safe_dump(value).encode(), tmp_path)


@settings(max_examples=150)
@given(TEXT, TEXT)
def test_any_setting_is_a_mapping_or_refused(key, value):
    content, message = outcome(lambda: parse_settings([f"{key}={value}"]))
    assert content or message


@settings(max_examples=100)
@given(TEXT, st.lists(TEXT, max_size=5))
def test_the_nearest_name_is_one_of_the_valid_ones(name, valid):
    found = did_you_mean(name, valid)
    if "did you mean" in found:
        assert found[len("; did you mean '") : -len("'?")] in valid
    for entry in valid:
        assert "did you mean" in did_you_mean(entry.swapcase(), [entry]) or entry.swapcase().lower() != entry.lower()


# -- lists ----------------------------------------------------------------------------------------------------------
FIELD = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z", "Cf", "Zl", "Zp")), min_size=1, max_size=8)


@settings(max_examples=100)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=5))
def test_a_list_gives_the_pairs_that_were_written(tmp_path, pairs):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{image} {label}\n" for image, label in pairs), encoding="utf-8")
    root = str(tmp_path)
    assert make_dataset("val", root, path) == [(os.path.join(root, i), os.path.join(root, j)) for i, j in pairs]
    with pytest.raises(DataError, match=r"line 1: .* has 2 fields"):
        make_dataset("test", root, path)


@settings(max_examples=150)
@given(st.binary(max_size=40), st.sampled_from(["train", "val", "test"]))
def test_any_list_file_is_pairs_or_refused_by_file_and_line(tmp_path, content, split):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    pairs, message = outcome(lambda: make_dataset(split, str(tmp_path), path))
    if pairs is None:
        assert message.startswith((f"{path}: ", f"{path}, line "))
        return
    assert len(pairs) == len(
        content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    )


# -- transforms -----------------------------------------------------------------------------------------------------
SIDES = st.integers(1, 40)
TRANSFORMS = {
    "scale": (lambda: RandScale((0.5, 2.0)), 1),
    "scale and aspect": (lambda: RandScale((0.5, 2.0), (0.8, 1.25)), 2),
    "rotate": (lambda: RandRotate((-10, 10), MEAN, p=1.0), 2),
    "blur": (RandomGaussianBlur, 1),
    "flip": (RandomHorizontalFlip, 1),
    "flip over": (RandomVerticalFlip, 1),
    "crop": (lambda: Crop((17, 25), "rand", MEAN), None),
    "centre": (lambda: Crop((17, 25), "center", MEAN), 0),
    "resize": (lambda: Resize((11, 13)), 0),
}


def picture(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.choice(np.array([0, 3, 18, 255], np.uint8), (height, width))
    return rng.integers(0, 256, (height, width, 3)).astype(np.float32), label


@settings(max_examples=60)
@given(SIDES, SIDES, st.integers(0, 10**6), st.sampled_from(sorted(TRANSFORMS)))
def test_transforms_keep_what_they_promise(height, width, seed, name):
    make, draws = TRANSFORMS[name]
    image, label = picture(height, width, seed)
    before = image.copy(), label.copy()
    random.seed(seed)
    new_image, new_label = make()(image, label)
    state = random.getstate()
    assert new_image.shape == (*new_label.shape, 3)
    assert (new_image.dtype, new_label.dtype) == (np.float32, np.uint8)
    assert set(np.unique(new_label)) <= set(np.unique(label)) | {255}
    # Bilinear filters, blur and padding stay between the extremes, up to float32's rounding.
    assert new_image.min() >= min(image.min(), *MEAN) - 1e-2
    assert new_image.max() <= max(image.max(), *MEAN) + 1e-2
    assert np.array_equal(before[0], image)
    assert np.array_equal(before[1], label)
    random.seed(seed)
    again = make()(*picture(height, width, seed))
    assert np.array_equal(again[0], new_image)
    assert np.array_equal(again[1], new_label)
    assert random.getstate() == state
    if draws is not None:
        random.seed(seed)
        for _ in range(draws):
            random.random()
        assert random.getstate() == state
    sizes = {"crop": (17, 25), "centre": (17, 25), "resize": (11, 13)}
    if "scale" not in name:
        assert new_label.shape == sizes.get(name, (height, width))


@settings(max_examples=60)
@given(st.integers(30, 80), st.integers(30, 80), st.integers(0, 10**6), st.sampled_from(sorted(TRANSFORMS)))
def test_image_and_label_stay_aligned(height, width, seed, name):
    """Patches of two greys, labelled by their grey: wherever the image is even, the label is the grey's."""
    patches = np.random.default_rng(seed).integers(0, 2, (7, 7)).astype(np.uint8)
    label = np.kron(patches, np.ones((12, 12), np.uint8))[:height, :width]
    image = np.repeat(200 * label[..., None], 3, axis=2).astype(np.float32)
    random.seed(seed)
    new_image, new_label = TRANSFORMS[name][0]()(image, label)
    grey, window = new_image[..., 0], np.ones((5, 5), np.uint8)
    even = cv2.dilate(grey, window) - cv2.erode(grey, window) < 1e-3
    for value, expected in ((0, 0), (200, 1), (MEAN[0], 255)):
        assert (new_label[even & (abs(grey - value) < 1)] == expected).all()
    assert name == "resize" or even.any()


@settings(max_examples=30)
@given(SIDES, SIDES, st.integers(0, 10**6))
def test_a_pipeline_gives_tensors_of_the_crop(height, width, seed):
    random.seed(seed)
    steps = [TRANSFORMS[name][0]() for name in ("scale", "rotate", "blur", "flip", "crop")]
    image, label = Compose([*steps, ToTensor()])(*picture(height, width, seed))
    assert (image.shape, image.dtype) == ((3, 17, 25), torch.float32)
    assert (label.shape, label.dtype) == ((17, 25), torch.int64)
    assert torch.isfinite(image).all()
    assert set(label.unique().tolist()) <= {0, 3, 18, 255}


# -- windows --------------------------------------------------------------------------------------------------------
@settings(max_examples=200)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 25), st.integers(1, 25), st.floats(0.01, 1.0))
def test_windows_cover_every_pixel_and_stay_inside(height, width, rows, columns, rate):
    crop = (8 * rows + 1, 8 * columns + 1)
    top, bottom, left, right = padding(height, width, crop)
    assert 0 <= bottom - top <= 1
    assert 0 <= right - left <= 1
    size = (height + top + bottom, width + left + right)
    assert size == (max(height, crop[0]), max(width, crop[1]))
    windows = window_positions(*size, crop, rate)
    assert len(windows) == len(set(windows)) or rate * min(crop) < 1
    count = np.zeros(size, int)
    for y0, y1, x0, x1 in windows:
        assert 0 <= y0 < y1 <= size[0]
        assert 0 <= x0 < x1 <= size[1]
        assert (y1 - y0, x1 - x0) == crop
        count[y0:y1, x0:x1] += 1
    assert count.min() >= 1
    expected = 1
    for side, window in zip(size, crop, strict=True):
        expected *= math.ceil((side - window) / math.ceil(window * rate)) + 1
    assert len(windows) == expected


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([17, 25, 41]), st.floats(0.3, 1.0), st.booleans())
def test_windows_give_every_pixel_its_own_probabilities(height, width, crop, rate, flip):
    """Of a network that looks at one pixel at a time, whatever the windows are."""
    network = torch.nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.eye(3)[:, :, None, None] / 50)
        network.bias.zero_()
        image, _ = picture(height, width, crop)
        found = predict_scale(network, image, (crop, crop + 8), height, width, MEAN, None, rate, flip)
        pixels = torch.from_numpy((image - np.array(MEAN, np.float32)) / 50)
    assert found.shape == (height, width, 3)
    # Four roundings of a logit of at most 255 / 50 in each of two programs; a probability moves by half of that.
    allowed = 2 * 4 * UNIT_ROUNDOFF * 255 / 50 / 2
    assert np.allclose(found, torch.softmax(pixels, dim=2).numpy(), rtol=0, atol=allowed)


@settings(max_examples=200)
@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0.1, 2.0), st.integers(16, 4096))
def test_a_scaled_image_has_its_long_side(height, width, scale, base_size):
    new_height, new_width = scaled_size(height, width, scale, base_size)
    long_side = round(scale * base_size)
    assert max(new_height, new_width) == long_side
    assert (new_height > new_width) <= (height >= width)
    assert abs(min(new_height, new_width) - long_side * min(height, width) / max(height, width)) <= 0.5 + 1e-6


def test_recipes_are_frozen():
    recipe = load_recipe(["toy/pspnet50"])
    assert isinstance(recipe, Recipe)
    with pytest.raises(ValueError, match="frozen"):
        recipe.data.classes = 3
