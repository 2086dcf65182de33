"""Transforms and pipelines against the reference's outputs, bit for bit."""

import pickle
import random

import cv2
import numpy as np
import pytest
import torch

from semseg_ref import transform as T
from semseg_ref.base.errors import DataError, OptionError
from support.golden.inputs import GOLDENS, MEAN, STD, load_golden, rec_image, rec_label, sha256
from support.golden.rounding import UNIT_ROUNDOFF
from support.golden.tolerances import check, grey_levels

CASES = sorted(path.stem for path in GOLDENS.glob("transforms_*.npz"))
# The hashes hold for OpenCV 4.11 on the vendor path of AVX-512 machines; elsewhere the last bits differ.
SAME_BITS = cv2.__version__ == "4.11.0" and cv2.ipp.useIPP() and "(k0)" in cv2.ipp.getIppVersion()


# A blur by 5 + 5 numbers, a normalisation: at most ten roundings of a grey level, in each of two programs.
VALUES = 2 * 10 * 255 * UNIT_ROUNDOFF


def name_of(meta):
    return meta.get("transform", meta.get("pipeline"))


def image_tolerance(meta):
    """What two programs' float32 may make of the image; exact where pixels only move."""
    name, h, w = name_of(meta), meta["image"]["h"], meta["image"]["w"]
    if name.startswith(("resize", "randscale", "randrotate")):
        return grey_levels(h, w)
    if name.startswith("train_"):
        # Scaled to at most twice the size, rotated there, blurred, and normalised.
        return (grey_levels(h, w) + grey_levels(2 * h, 2 * w) + 2 * VALUES) / min(STD)
    if name.startswith(("val_", "totensor")):
        return VALUES / (1 if "nostd" in name else min(STD))
    return VALUES if name == "gaussianblur" else 0.0


def transform_of(meta):
    name = name_of(meta)
    config = {key: value for key, value in meta["config"].items() if key not in ("note", "order", "std")}
    if name.startswith("train_"):
        return T.train_transform(*config["crop"], config["scale"], config["rotate"])
    if name.startswith("val_"):
        return T.val_transform(*config["crop"])
    if name.startswith("crop_"):
        return T.Crop(padding=MEAN, **config)
    if name.startswith("randrotate"):
        return T.RandRotate(padding=MEAN, **config)
    if name.startswith("totensor"):
        return T.Compose([T.ToTensor(), T.Normalize(MEAN, meta["config"].get("std", STD))])
    return {
        "randscale": T.RandScale,
        "randscale_aspect": T.RandScale,
        "resize": T.Resize,
        "hflip": T.RandomHorizontalFlip,
        "vflip": T.RandomVerticalFlip,
        "gaussianblur": T.RandomGaussianBlur,
        "rgb2bgr": T.RGB2BGR,
    }[name](**config)


def image_and_label(meta):
    image, label = meta["image"], meta["label"]
    return (
        rec_image(image["seed"], image["h"], image["w"]).astype(np.float32),
        rec_label(label["seed"], label["h"], label["w"], label["classes"]),
    )


def test_every_golden_kind_is_present():
    assert len(CASES) == 19


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_reference_output(case):
    golden = load_golden(case)
    meta = golden["meta"]
    transform = transform_of(meta)
    image, label = image_and_label(meta)
    untouched = image.copy(), label.copy()
    for index, seed in enumerate(golden["seeds"].tolist()):
        random.seed(seed)
        new_image, new_label = transform(image, label)
        assert random.random() == golden["rng_next"][index], f"seed {seed}: another number of draws"
        new_image, new_label = np.asarray(new_image), np.asarray(new_label)
        assert new_image.dtype == np.float32
        assert sha256(new_label) == golden["sha_label"][index], f"seed {seed}: label"
        if SAME_BITS:
            assert sha256(new_image) == golden["sha_image"][index], f"seed {seed}: image"
        if "image_probe64" in golden:
            probes = new_image.ravel()[np.linspace(0, new_image.size - 1, 64).astype(int)]
            check(f"{case} probes", probes, golden["image_probe64"][index], image_tolerance(meta))
        else:
            check(f"{case} image", new_image[:, ::8, ::8], golden["image_sub8"][index], image_tolerance(meta))
            np.testing.assert_array_equal(new_label, golden["labels"][index])
    np.testing.assert_array_equal(image, untouched[0])
    np.testing.assert_array_equal(label, untouched[1])


def test_drawn_scale_gives_the_rounded_size():
    golden = load_golden("transforms_train_a_cv4110")
    columns = golden["decision_columns"].tolist()
    image, label = image_and_label(golden["meta"])
    for seed, row in zip(golden["seeds"].tolist(), golden["decisions"], strict=True):
        decided = dict(zip(columns, row, strict=True))
        random.seed(seed)
        scaled, _ = T.RandScale([0.5, 2.0])(image, label)
        assert scaled.shape[:2] == (decided["scaled_h"], decided["scaled_w"])


def test_to_tensor_copies():
    image, label = rec_image(1, 9, 9).astype(np.float32), rec_label(1, 9, 9, 3)
    tensor, target = T.ToTensor()(image, label)
    before = image.copy()
    tensor.zero_()
    target.zero_()
    np.testing.assert_array_equal(image, before)
    assert tensor.dtype == torch.float32
    assert target.dtype == torch.int64


def test_normalize_leaves_its_input():
    tensor = torch.full((3, 2, 2), 100.0)
    normalized, _ = T.Normalize(MEAN, STD)(tensor, None)
    assert (tensor == 100).all()
    assert normalized[0, 0, 0].item() == pytest.approx((100 - MEAN[0]) / STD[0], abs=1e-6)


def test_bgr2rgb_inverts_rgb2bgr():
    image = rec_image(2, 5, 7).astype(np.float32)
    swapped, _ = T.RGB2BGR()(image, None)
    np.testing.assert_array_equal(swapped, image[:, :, ::-1])
    np.testing.assert_array_equal(T.BGR2RGB()(swapped, None)[0], image)


def test_pipelines_are_picklable():
    pipeline = pickle.loads(pickle.dumps(T.train_transform(33, 33)))
    image, _ = pipeline(rec_image(1, 40, 50).astype(np.float32), rec_label(1, 40, 50, 3))
    assert image.shape == (3, 33, 33)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: T.RandScale([2.0, 0.5]), "scale"),
        (lambda: T.RandScale([0, 1]), "scale"),
        (lambda: T.RandScale([0.5, 2.0], aspect_ratio=[1.0]), "aspect_ratio"),
        (lambda: T.RandRotate([10, -10], padding=MEAN), "rotate"),
        (lambda: T.RandRotate([-10, 10], padding=[0]), "padding"),
        (lambda: T.RandRotate([-10, 10], padding=MEAN, ignore_label=1.5), "ignore_label"),
        (lambda: T.Crop((0, 5)), "size"),
        (lambda: T.Crop(33, crop_type="centre"), "did you mean 'center'"),
        (lambda: T.Crop(33, padding=[1]), "padding"),
        (lambda: T.Crop(33, ignore_label="255"), "ignore_label"),
        (lambda: T.Resize(5), "size"),
        (lambda: T.RandomGaussianBlur(4), "odd"),
        (lambda: T.Normalize([]), "mean"),
        (lambda: T.Normalize(MEAN, [1.0, 0.0, 1.0]), "std"),
    ],
)
def test_wrong_settings_are_named(build, message):
    with pytest.raises(OptionError, match=message):
        build()


def test_crop_without_padding_of_a_small_image():
    with pytest.raises(DataError, match="smaller than 33 x 33"):
        T.Crop(33)(rec_image(1, 20, 40).astype(np.float32), rec_label(1, 20, 40, 3))


@pytest.mark.parametrize(
    ("image", "label"),
    [([1], np.zeros((2, 2))), (np.zeros((2, 2, 3)), np.zeros((2, 2, 1))), (np.zeros(3), np.zeros((2, 2)))],
)
def test_to_tensor_refuses_other_shapes(image, label):
    with pytest.raises(DataError, match="expected"):
        T.ToTensor()(image, label)
