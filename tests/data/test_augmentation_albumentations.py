"""The albumentations arm: the reference's distributions, independent coins, no repeats, no argument dropped."""

import os
import pickle
import random
import sys

import cv2
import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils.data import DataLoader, Dataset

from catalyst_cityscapes.data.augmentation import AlbumentationsPipeline, albumentations_pipeline
from semseg_ref import transform
from semseg_ref.base.errors import InputError
from support.augmentation_cases import CROP, build, equal, sample, seeded
from support.golden.inputs import rec_label

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
pytest.importorskip("albumentations")


def ramps(h=128, w=192):
    """Image whose channels are the column, the row and noise about 220: its geometry can be read off a crop."""
    rng = np.random.default_rng(0)
    image = np.empty((h, w, 3), np.float32)
    image[..., 0] = np.arange(w)
    image[..., 1] = np.arange(h)[:, None]
    image[..., 2] = 220 + 10 * rng.choice([-1.0, 1.0], (h, w))
    return image, rec_label(1, h, w, 5)


def measure(tensor, label):
    """(scale, angle in degrees, mirrored, deviation of the noise, ignored fraction, source column of the middle).

    Scale, angle and mirror come from the median gradients of the two ramps where no padding is near.
    """
    column, row, noise = (
        tensor[c].numpy().astype(np.float64) * s + m
        for c, (m, s) in enumerate(zip(transform.MEAN, transform.STD, strict=True))
    )
    inside = cv2.erode((noise > 190).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    jacobian = np.array([[np.median(np.gradient(ramp, axis=a)[inside]) for a in (1, 0)] for ramp in (column, row)])
    determinant = np.linalg.det(jacobian)
    if determinant < 0:
        jacobian[:, 0] *= -1
    angle = np.degrees(np.arctan2(jacobian[1, 0], jacobian[0, 0]))
    ignored = (label.numpy() == 255).mean()
    return abs(determinant) ** -0.5, angle, determinant < 0, noise[inside].std(), ignored, np.median(column[inside])


def measures(pipeline, count, image, label):
    random.seed(2024)
    return np.array([measure(*pipeline(image, label)) for _ in range(count)], dtype=np.float64)


@pytest.fixture(scope="module")
def geometry():
    """Measures of 400 draws each of the reference and of the albumentations pipeline on the same image."""
    image, label = ramps()
    return (
        measures(transform.train_transform(*CROP), 400, image, label),
        measures(build("augmentation_albumentations"), 400, image, label),
    )


def test_scale_is_uniform_and_drawn_for_every_image(geometry):
    for values in geometry:
        assert stats.kstest(values[:, 0], stats.uniform(0.5, 1.5).cdf).pvalue > 0.01
    assert stats.ks_2samp(geometry[0][:, 0], geometry[1][:, 0]).pvalue > 0.01


def test_angle_is_uniform_in_half_of_the_images(geometry):
    for values in geometry:
        # Resampling moves a measured angle of 0 by less than a quarter of a degree.
        turned = values[np.abs(values[:, 1]) > 0.25, 1]
        assert stats.binomtest(len(turned), len(values), 0.5 * 0.975).pvalue > 0.01
        assert stats.kstest(turned, stats.uniform(-10, 20).cdf).pvalue > 0.01
    assert stats.ks_2samp(geometry[0][:, 1], geometry[1][:, 1]).pvalue > 0.01


def test_mirrors_half_of_the_images(geometry):
    for values in geometry:
        assert stats.binomtest(int(values[:, 2].sum()), len(values), 0.5).pvalue > 0.01


def test_ignored_fraction_and_position_are_the_references(geometry):
    reference, ours = geometry
    for column in (4, 5):
        assert stats.ks_2samp(reference[:, column], ours[:, column]).pvalue > 0.01
        error = np.hypot(*(values[:, column].std() / np.sqrt(len(values)) for values in geometry))
        assert abs(reference[:, column].mean() - ours[:, column].mean()) < 3 * error
    assert reference[:, 4].max() > 0.5


def test_rotation_blur_and_mirror_are_independent_coins():
    """`Compose.set_random_seed` at each call would make the three coins fall alike: two of the eight cells filled."""
    image, label = ramps()
    ours = AlbumentationsPipeline(CROP, scale=(1, 1), rotate=(-10, 10))
    values = measures(ours, 400, image, label)
    turned, mirrored = np.abs(values[:, 1]) > 0.25, values[:, 2] > 0
    blurred = values[:, 3] < 4
    cells = np.bincount((4 * turned + 2 * blurred + mirrored).astype(int), minlength=8)
    assert cells.sum() == 400
    assert stats.chisquare(cells).pvalue > 0.001


def test_blur_is_nearly_the_references_kernel():
    image, label = np.zeros((33, 33, 3), np.float32), np.zeros((33, 33), np.uint8)
    image[16, 16] = 255
    ours = AlbumentationsPipeline(33, scale=(1, 1), rotate_p=0, blur_p=1, flip_p=0, mean=[0] * 3, std=[1] * 3)
    expected = cv2.GaussianBlur(image, (5, 5), 0)
    blurred = ours(image, label)[0][0].numpy()
    assert np.abs(blurred - expected[..., 0]).max() / 255 < 0.008
    assert blurred.sum() == pytest.approx(255, rel=1e-3)


def test_without_random_steps_it_is_the_references_normalisation():
    image, label = sample(h=97, w=129)
    ours = AlbumentationsPipeline(CROP, scale=(1, 1), rotate_p=0, blur_p=0, flip_p=0)
    expected = transform.val_transform(*CROP)(image, label)
    tensor, target = ours(image, label)
    assert torch.allclose(tensor, expected[0], atol=1e-5)
    assert torch.equal(target, expected[1])
    assert tensor.dtype == expected[0].dtype
    assert tensor.shape == expected[0].shape


def test_padding_is_mean_and_ignored_and_labels_stay_labels():
    image, label = ramps(40, 50)
    ours = AlbumentationsPipeline(CROP, scale=(1, 1), rotate_p=0, blur_p=0, flip_p=0)
    tensor, target = ours(image, label)
    assert tensor[:, 0, 0].abs().max() < 1e-5
    top, left = (97 - 40) // 2, (129 - 50) // 2
    assert torch.equal(target[top : top + 40, left : left + 50], torch.from_numpy(label.astype(np.int64)))
    target[top : top + 40, left : left + 50] = 255
    assert (target == 255).all()
    everything = build("augmentation_albumentations")
    allowed = {*np.unique(label).tolist(), 255}
    for seed in range(50):
        assert set(seeded(seed, everything, image, label)[1].unique().tolist()) <= allowed


@pytest.mark.parametrize("step", ["flip_p", "rotate_p", "blur_p", "scale"])
def test_bright_images_are_not_clipped(step):
    image, label = np.full((97, 129, 3), 250, np.float32), np.zeros((97, 129), np.uint8)
    arguments = {"scale": (1, 1), "flip_p": 0.0, "rotate_p": 0.0, "blur_p": 0.0}
    arguments[step] = (0.9, 1.1) if step == "scale" else 1.0
    tensor, _ = AlbumentationsPipeline(CROP, **arguments)(image, label)
    middle = tensor[:, 40:60, 50:70] * torch.tensor(transform.STD)[:, None, None]
    assert torch.allclose(middle + torch.tensor(transform.MEAN)[:, None, None], torch.tensor(250.0), atol=0.01)


class Seeded(Dataset):
    """Samples whose randomness comes from (epoch, index), as the project's loaders seed them."""

    def __init__(self, pipeline, epoch):
        self.pipeline, self.epoch = pipeline, epoch
        self.image, self.label = sample()

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return seeded(f"{self.epoch}-{index}", self.pipeline, self.image, self.label)


def test_workers_and_epochs_do_not_repeat_each_other():
    pipeline = build("augmentation_albumentations")
    items = {
        workers: [
            image
            for epoch in (0, 1)
            for image, _ in DataLoader(Seeded(pipeline, epoch), batch_size=None, num_workers=workers)
        ]
        for workers in (0, 2)
    }
    assert all(torch.equal(a, b) for a, b in zip(items[0], items[2], strict=True))
    assert not any(torch.equal(a, b) for i, a in enumerate(items[2]) for b in items[2][:i])


def test_an_argument_the_library_would_drop_is_an_error():
    with pytest.raises(InputError, match="mask_value"):
        albumentations_pipeline.build_transform("Rotate", limit=10, mask_value=255)
    with pytest.raises(InputError, match="mask_value"):
        AlbumentationsPipeline(97, extra=[{"name": "Rotate", "mask_value": 255}])
    with pytest.raises(InputError, match="did you mean 'Rotate'"):
        AlbumentationsPipeline(97, extra=[{"name": "Rotat"}])
    with pytest.raises(InputError, match="refuses"):
        AlbumentationsPipeline(97, flip_p=2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": (2, 0.5)},
        {"scale": (-0.5, 2)},
        {"rotate": (10, -10)},
        {"blur_p": -1},
        {"extra": [{"p": 0.5}]},
    ],
)
def test_bad_arguments_are_input_errors(arguments):
    with pytest.raises(InputError):
        AlbumentationsPipeline(97, **arguments)


def test_survives_pickling_and_leaves_its_input_alone():
    image, label = sample()
    before = image.copy(), label.copy()
    pipeline = build("augmentation_albumentations")
    copy = pickle.loads(pickle.dumps(pipeline))
    assert equal(seeded(5, pipeline, image, label), seeded(5, copy, image, label))
    assert np.array_equal(image, before[0])
    assert np.array_equal(label, before[1])


def test_extra_transforms_run():
    image, label = sample(h=97, w=129)
    still = {"scale": (1, 1), "rotate_p": 0, "blur_p": 0, "flip_p": 0}
    flipped = AlbumentationsPipeline(CROP, **still, extra=[{"name": "VerticalFlip", "p": 1.0}])(image, label)
    plain = AlbumentationsPipeline(CROP, **still)(image, label)
    assert torch.equal(flipped[0], plain[0].flip(1))
    assert torch.equal(flipped[1], plain[1].flip(0))


def test_missing_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(InputError, match=r"pip install 'catalyst-cityscapes\[zoo\]'"):
        AlbumentationsPipeline(97)
