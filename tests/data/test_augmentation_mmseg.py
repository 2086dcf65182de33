"""mmsegmentation's training pipeline against outputs of the package: every hash, and the generator's position."""

import json

import numpy as np
import pytest
import torch

from catalyst_cityscapes.data.augmentation import Pipeline, mmseg
from semseg_ref.base.errors import InputError
from support.golden.inputs import GOLDENS, load_golden, rec_image, rec_label, sha256
from support.golden.mmseg_checks import check_tested_image

OPERATIONS = (
    "op_randomresize", "op_randomresize_portrait", "op_randomcrop_cat075", "op_randomcrop_cat1",
    "op_randomcrop_smaller", "op_randomflip", "op_photometric",
)  # fmt: skip
SMALL = ("pipeline_769_small", "pipeline_1024_small_padded", "pipeline_512x1024_small", "pipeline_catmax_retry")
STREET_SCENES = ("pipeline_512x1024_full", "pipeline_769_full", "pipeline_1024_full")
TESTED = ("pipeline_test_2048x1024", "pipeline_test_2049x1025", "pipeline_test_odd")


def golden(name: str):
    content = np.load(GOLDENS / "mmseg" / f"{name}.npz")
    return content, json.loads(str(content["meta"]))


def inputs(meta: dict) -> tuple[np.ndarray, np.ndarray]:
    of_image, of_label = meta["image"], meta["label"]
    h, w = of_image["h"], of_image["w"]
    image = np.ascontiguousarray(rec_image(of_image["seed"], h, w)[..., ::-1])
    return image, rec_label(of_label["seed"], h, w, of_label["classes"], of_label["block"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_step_is_the_packages(name):
    content, meta = golden(name)
    arguments = {key: value for key, value in meta["transform"].items() if key not in ("type", "keep_ratio")}
    step = getattr(mmseg, meta["transform"]["type"])(**arguments)
    image, label = inputs(meta)
    before = image.copy()
    for index, seed in enumerate(content["seeds"].tolist()):
        np.random.seed(seed)
        out, target = step(image, label)
        assert sha256(out) == content["sha_image"][index]
        assert sha256(target) == content["sha_label"][index]
        assert np.random.random_sample() == content["rng_next"][index]
    assert np.array_equal(image, before)


def compare(name: str, crop_first: bool) -> None:
    content, meta = golden(name)
    steps = {
        "scale": mmseg.RandomResize(meta["scale"], meta["ratio_range"]),
        "crop": mmseg.RandomCrop(meta["crop"], meta["cat_max_ratio"]),
        "flip": mmseg.RandomFlip(meta["flip_prob"]),
        "colour": mmseg.PhotoMetricDistortion(),
        "pack": mmseg.Pack(),
    }
    pipeline = Pipeline(list(steps), steps, crop_first)
    source = inputs(meta)
    for index, seed in enumerate(content["seeds"].tolist()):
        np.random.seed(seed)
        image, label = pipeline(*source)
        assert np.random.random_sample() == content["rng_next"][index]
        assert sha256(image.numpy()) == content["sha_inputs"][index]
        assert sha256(label.numpy()) == content["sha_label"][index]
        pixels, classes = mmseg.normalize_and_pad(image, label, meta["crop"])
        assert sha256(pixels.numpy()) == content["sha_norm"][index]
        assert tuple(classes.shape) == tuple(pixels.shape[1:]) == tuple(meta["crop"])
        assert classes.dtype == torch.int64


@pytest.mark.parametrize("crop_first", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_a_pipeline_is_the_packages(name, crop_first):
    compare(name, crop_first)


@pytest.mark.parametrize("name", STREET_SCENES)
def test_a_street_scenes_crop_is_the_packages(name):
    compare(name, crop_first=True)


@pytest.mark.parametrize("name", TESTED)
def test_an_image_is_brought_to_the_size_of_the_test_as_there(name):
    check_tested_image(load_golden(f"mmseg/{name}.npz"))


def test_a_number_or_an_array_is_a_size_too():
    image, label = rec_image(1, 20, 30), rec_label(2, 20, 30, 19)
    found = []
    for size in (16, (16, 16), np.array([16, 16])):
        np.random.seed(3)
        crop = mmseg.RandomCrop(size)(image, label)
        found.append([*crop, *(part.numpy() for part in mmseg.normalize_and_pad(*crop, size))])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert np.array_equal(one, other)
    np.random.seed(3)
    assert np.array_equal(mmseg.RandomCrop(16)(image, label.astype(np.int64))[1], found[0][1])


def test_packed_or_not_is_the_same_to_the_last_step():
    image, label = rec_image(1, 20, 30), rec_label(2, 20, 30, 19)
    step = mmseg.NormalizeAndPad((24, 40))
    packed, plain = step(*mmseg.Pack()(image, label)), step(image, label)
    assert torch.equal(packed[0], plain[0])
    assert torch.equal(packed[1], plain[1])
    assert set(plain[1][20:].unique().tolist()) == {255}
    assert not plain[0][:, :, 30:].any()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: mmseg.RandomResize((2048,)), "scale"),
        (lambda: mmseg.RandomCrop(0), "crop_size"),
        (lambda: mmseg.RandomFlip(None), "prob"),
        (lambda: mmseg.PhotoMetricDistortion(hue_delta=0), "hue_delta 0"),
        (lambda: mmseg.PhotoMetricDistortion(brightness_delta=-1), "brightness_delta -1"),
        (lambda: mmseg.normalize_and_pad(rec_image(1, 4, 4), rec_label(2, 4, 4, 19), (4, 4, 3)), "size"),
        (lambda: mmseg.RandomResize(ratio_range=(2.0, 0.5)), "ratio_range"),
        (lambda: mmseg.RandomCrop((0, 5)), "crop_size"),
        (lambda: mmseg.RandomCrop(cat_max_ratio=75), "cat_max_ratio"),
        (lambda: mmseg.RandomFlip(2), "prob"),
        (lambda: mmseg.PhotoMetricDistortion(contrast_range=1.5), "contrast_range"),
        (lambda: mmseg.NormalizeAndPad((5, 5), std=(1, 0, 1)), "std"),
    ],
)
def test_what_is_none_is_refused_by_name(make, named):
    with pytest.raises(InputError, match=named):
        make()
