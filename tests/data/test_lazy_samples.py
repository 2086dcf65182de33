"""Augmenting the crop alone, step by step: the draws, the bits and the errors of whole images."""

import random

import cv2
import numpy as np
import pytest
import torch

from catalyst_cityscapes.data import plain_png
from catalyst_cityscapes.data.augmentation import Pipeline, mmseg, resized_window
from catalyst_cityscapes.data.augmentation.crop_window import Span, Window
from catalyst_cityscapes.data.augmentation.lazy_sample import DecodedSample
from catalyst_cityscapes.data.augmentation.resized_window import ResizedSample, image_window, windows_are_equal
from catalyst_cityscapes.data.image_set import CachedSemData, CropFirstSemData
from semseg_ref.base.errors import DataError
from semseg_ref.dataset import SemData
from semseg_ref.transform import RandomHorizontalFlip
from support.golden.inputs import rec_image, rec_label

pytestmark = pytest.mark.usefixtures("one_thread")
needs_decoder = pytest.mark.skipif(not plain_png.has_decoder(), reason="optional decoder of PNG files")


def pipeline(crop_first, crop, base=(128, 64), ratios=(0.5, 2.0), cat_max_ratio=0.75, **more):
    steps = {
        "to_bgr": mmseg.ToBGR(),
        "scale": mmseg.RandomResize(base, ratios),
        "crop": mmseg.RandomCrop(crop, cat_max_ratio),
        "flip": mmseg.RandomFlip(),
        "colour": mmseg.PhotoMetricDistortion(),
        "normalize": mmseg.NormalizeAndPad(crop),
        **more,
    }
    return Pipeline(list(steps), steps, crop_first)


def outcome(transform, image, label, seed):
    """A sample and the generator's next number."""
    random.seed(seed)
    np.random.seed(seed)
    pixels, classes = transform(image, label)
    return pixels, classes, np.random.random_sample()


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left[:2], right[:2], strict=True)) and left[2] == right[2]


def assert_same(image, label, seeds, *arguments, **more):
    whole, part = (pipeline(crop_first, *arguments, **more) for crop_first in (False, True))
    for seed in seeds:
        expected = outcome(whole, np.float32(image), label, seed)
        assert same(expected, outcome(part, image, label, seed)), (seed, image.shape, arguments)


def photo(seed, h, w, block=12):
    return rec_image(seed, h, w), rec_label(seed + 1, h, w, 19, block)


# -- windows of a resized image --------------------------------------------------------------------------------------
def assert_windows(rng, size, result, count):
    image, label = rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 256, size, np.uint8)
    resized = cv2.resize(image, result[::-1], interpolation=cv2.INTER_LINEAR)
    classes = cv2.resize(label, result[::-1], interpolation=cv2.INTER_NEAREST)
    sample = ResizedSample(DecodedSample(image, label), result)
    for _ in range(count):
        spans = [sorted(int(i) for i in rng.choice(side + 1, 2, replace=False)) for side in result]
        window = Window(*(Span(*span) for span in spans))
        assert np.array_equal(sample.image(window), resized[window.slices]), (size, result, window)
        assert np.array_equal(sample.label(window), classes[window.slices]), (size, result, window)


def test_any_window_of_any_size_has_the_bits_of_the_whole():
    rng = np.random.default_rng(1)
    for _ in range(250):
        size = tuple(int(side) for side in rng.integers(2, 160, 2))
        factor = rng.choice([rng.uniform(0.3, 2.5), rng.uniform(0.97, 1.03), 0.5, 1.0, 2.0])
        assert_windows(rng, size, tuple(max(1, int(side * factor + 0.5)) for side in size), 4)
    for _ in range(60):
        size, result = (tuple(int(side) for side in sides) for sides in rng.integers(2, 160, (2, 2)))
        assert_windows(rng, size, result, 4)


@pytest.mark.parametrize("result", [(1025, 2049), (512, 1024), (513, 1025), (1473, 2945), (1024, 1820)])
def test_windows_of_street_scenes(result):
    size = (720, 1280) if result == (1024, 1820) else (1024, 2048)
    assert_windows(np.random.default_rng(2), size, result, 4)


def test_windows_are_equal_here():
    assert windows_are_equal()


def test_the_guard_sees_a_window_that_differs(monkeypatch):
    monkeypatch.setattr(resized_window, "image_window", lambda *arguments: image_window(*arguments) + 1)
    assert not windows_are_equal.__wrapped__()


def test_where_a_window_differs_the_whole_is_resized(monkeypatch):
    monkeypatch.setattr(resized_window, "windows_are_equal", lambda: False)
    monkeypatch.setattr(resized_window, "image_window", lambda *_: pytest.fail("a window"))
    assert_same(*photo(3, 64, 128), range(6), (33, 41))


def test_an_image_that_is_not_8_bit_is_resized_whole():
    image, label = photo(3, 64, 128)
    sample = ResizedSample(DecodedSample(np.float32(image), label), (100, 200))
    expected = cv2.resize(np.float32(image), (200, 100), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(sample.image(Window(Span(20, 70), Span(30, 90))), expected[20:70, 30:90])


# -- pipelines -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "size",
    [
        (64, 128),
        (128, 64),
        (33, 41),
        (20, 51),  # smaller than the crop at most scales
        (101, 203),
        (3, 5),
    ],
)
@pytest.mark.parametrize("cat_max_ratio", [1, 0.75, 0.2])
def test_the_same_bits_and_generator_state(size, cat_max_ratio):
    assert_same(*photo(7, *size, block=30), range(12), (33, 41), (129, 65), cat_max_ratio=cat_max_ratio)


def test_a_step_between_that_needs_the_whole_image():
    assert_same(*photo(3, 64, 128), range(6), (33, 41), scale=RandomHorizontalFlip())


def test_a_size_that_the_resize_keeps():
    assert_same(*photo(3, 64, 128), range(6), (33, 41), (128, 64), (1.0, 1.0))


def test_a_crop_that_takes_any_window_counts_nothing(monkeypatch):
    monkeypatch.setattr(mmseg.RandomCrop, "_is_mixed", lambda *_: pytest.fail("counted"))
    np.random.seed(0)
    pipeline(True, (33, 41), cat_max_ratio=1)(*photo(3, 64, 128))


@pytest.mark.parametrize("exactly_up_to", [0, 1 << 24])
def test_a_window_is_judged_by_its_classes(monkeypatch, exactly_up_to):
    """By either way of counting them, as a count of the sorted labels would."""
    monkeypatch.setattr(mmseg, "COUNTED_EXACTLY", exactly_up_to)
    step, rng = mmseg.RandomCrop((8, 8), 0.75), np.random.default_rng(0)
    shares = [np.full(64, 3), np.full(64, 255), np.repeat([3, 255], 32), np.repeat([3, 4], [48, 16])]
    shares += [np.repeat([3, 4, 255], [n, 20, 44 - n]) for n in range(45)]
    shares += [rng.integers(0, rng.integers(1, 4), 64) for _ in range(40)]
    for label in shares:
        classes, counts = np.unique(label, return_counts=True)
        counts = counts[classes != 255]
        expected = len(counts) > 1 and counts.max() / counts.sum() < 0.75
        assert step._is_mixed(label.astype(np.uint8).reshape(8, 8)) == expected


def test_nothing_is_written_to_read_only_arrays():
    image, label = photo(4, 64, 128)
    image.flags.writeable = label.flags.writeable = False
    assert_same(image, label, range(10), (33, 41))


def test_a_first_step_that_needs_the_whole_image_gets_it_as_ever():
    step = {"flip": RandomHorizontalFlip(1)}
    for asked in (False, True):
        transform = Pipeline(["flip"], step, crop_first=asked)
        assert not transform.takes_uint8
        assert not transform.crop_first
    assert not Pipeline([], {}, crop_first=True).crop_first


# -- files -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def files(tmp_path):
    """A list of two PNG pairs of different sizes."""
    lines = []
    for number, (height, width) in enumerate(((90, 140), (64, 200))):
        image, label = photo(number, height, width, 40)
        cv2.imwrite(str(tmp_path / f"i{number}.png"), image[..., ::-1])
        cv2.imwrite(str(tmp_path / f"l{number}.png"), label)
        lines.append(f"i{number}.png l{number}.png")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return tmp_path


def from_files(kind, folder, crop_first=True, **more):
    transform = pipeline(crop_first, (33, 41))
    return kind("train", str(folder), folder / "list.txt", transform, classes=19, ignore_label=255, **more)


def drawn(samples, index, seed):
    np.random.seed(seed)
    try:
        return (*samples[index], np.random.random_sample())
    except DataError as error:
        return str(error)


@needs_decoder
def test_files_are_decoded_as_far_as_the_crop_and_its_test_need(files, monkeypatch):
    heights, decode = [], plain_png.decode_image_png_u8
    monkeypatch.setattr(
        plain_png,
        "decode_image_png_u8",
        lambda content, size, mode: heights.append(size[0]) or decode(content, size, mode),
    )
    whole, rows = from_files(SemData, files, crop_first=False), from_files(CropFirstSemData, files)
    for index in range(2):
        for seed in range(15):
            assert same(drawn(whole, index, seed), drawn(rows, index, seed))
    assert sum(heights) < 0.85 * 2 * 15 * (90 + 64)


def test_the_cache_gives_the_same(files):
    whole, cached = (
        from_files(SemData, files, crop_first=False),
        from_files(CachedSemData, files, cache=files / "cache"),
    )
    for seed in range(10):
        assert same(drawn(whole, 0, seed), drawn(cached, 0, seed))


@needs_decoder
def test_a_broken_file_has_the_message_of_the_whole(files):
    image, label = (files / "i0.png").read_bytes(), (files / "l0.png").read_bytes()
    of_another_class = rec_label(1, 90, 140, 19) + 30
    for name, content in (("i0.png", image[:-40]), ("l0.png", label[:60]), ("l0.png", of_another_class)):
        before = (files / name).read_bytes()
        if isinstance(content, bytes):
            (files / name).write_bytes(content)
        else:
            cv2.imwrite(str(files / name), content)
        whole, rows = from_files(SemData, files, crop_first=False), from_files(CropFirstSemData, files)
        for seed in range(3):
            assert isinstance(drawn(rows, 0, seed), str)
            assert drawn(rows, 0, seed) == drawn(whole, 0, seed)
        (files / name).write_bytes(before)
