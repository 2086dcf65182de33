"""Places are measured as they are, however strongly the colours change."""

import albumentations
import numpy as np
import pytest
from torchvision.transforms import v2

from catalyst_cityscapes.data.augmentation import Pipeline, mmseg
from catalyst_cityscapes.data.augmentation.adapters import adapted
from catalyst_cityscapes.data.augmentation.colour_steps import is_colour_step, without_colour_steps
from catalyst_cityscapes.lab.measure.geometry import measure_colours, measure_draw, measure_normalisation
from catalyst_cityscapes.lab.measure.steps import measure_steps
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.transform import MEAN, STD, Normalize, RandomGaussianBlur, RandomHorizontalFlip, ToTensor

STRONG = {"brightness": (0.3, 1.9), "contrast": (0.3, 1.9)}
ALBUMENTATIONS = albumentations.Compose(
    [
        albumentations.OneOf([albumentations.ColorJitter(**STRONG, p=1)], p=1),
        albumentations.HorizontalFlip(p=1),
        albumentations.Normalize(),
        albumentations.ToTensorV2(),
    ]
)
TORCHVISION = v2.Compose(
    [
        v2.RandomApply([v2.ColorJitter(**STRONG, hue=0.4)], p=0.9),
        v2.RandomHorizontalFlip(p=1),
    ]
)


def pipeline(**steps):
    return Pipeline(list(steps), steps)


TENSOR = {"tensor": ToTensor(), "normalize": Normalize(MEAN, STD)}
AUGMENTATIONS = {
    "mmsegmentation": pipeline(
        bgr=mmseg.ToBGR(),
        colour=mmseg.PhotoMetricDistortion(),
        flip=mmseg.RandomFlip(1.0),
        back=mmseg.NormalizeAndPad([64, 96], MEAN, STD, 255),
    ),
    "albumentations": adapted(ALBUMENTATIONS, whole=True),
    "torchvision": adapted(TORCHVISION, whole=True),
    "a step of torchvision": pipeline(colour=v2.ColorJitter(**STRONG), flip=RandomHorizontalFlip(1.0), **TENSOR),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_mirror_among_strong_colours_is_a_mirror_alone(name):
    whole = AUGMENTATIONS[name]
    rest = without_colour_steps(whole)
    assert rest is not whole
    for index in range(8):
        found = measure_draw(whole, (64, 96), 19, 255, SeedStreams(0), 0, index, rest)
        assert found.mirrored
        assert (found.scale, found.visible) == pytest.approx((1, 1), abs=0.01)
        assert (found.top, found.left) == pytest.approx((0.5, 0.5), abs=0.01)
        assert abs(found.rotation) < 0.2
        assert found.residual < 1
        assert found.labels_aligned > 0.99
        assert measure_colours(whole, (64, 96), SeedStreams(0), 0, index, rest).order == (0, 1, 2)


def test_other_steps_draw_as_they_did():
    steps = {"colour": mmseg.PhotoMetricDistortion(), "flip": mmseg.RandomFlip(0.5)}
    whole = pipeline(bgr=mmseg.ToBGR(), **steps)
    image, label = np.full((8, 12, 3), 90, np.float32), np.arange(96).reshape(8, 12).astype(np.uint8)
    for seed in range(12):
        labels = []
        for augmentation in (whole, without_colour_steps(whole)):
            np.random.seed(seed)
            labels.append(augmentation(image, label)[1])
        np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (mmseg.PhotoMetricDistortion(), True),
        (adapted(v2.ColorJitter(hue=0.4)), True),
        (adapted(albumentations.RandomGamma(p=1)), True),
        (mmseg.ToBGR(), False),
        (RandomHorizontalFlip(0.5), False),
        (RandomGaussianBlur(), False),
        (adapted(albumentations.HorizontalFlip(p=1)), False),
        (ToTensor(), False),
    ],
)
def test_colour_is_told_from_movement(step, expected):
    assert is_colour_step(step) is expected


@pytest.mark.parametrize("name", ["mmsegmentation", "albumentations", "a step of torchvision"])
def test_the_normalisation_is_read_beside_the_colours(name):
    whole = AUGMENTATIONS[name]
    rest = without_colour_steps(whole, only_drawn=True)
    for index in range(3):
        found = measure_normalisation(rest, (64, 96), SeedStreams(0), index=index)
        np.testing.assert_allclose(found, [MEAN, STD], rtol=1e-4)
    seen = [measure_normalisation(whole, (64, 96), SeedStreams(0), index=index) for index in range(3)]
    assert np.abs(np.array(seen) - [MEAN, STD]).max() > 1


def test_a_fixed_change_of_values_is_no_drawn_one():
    def fixed(image, label):
        return image // 2, label

    assert is_colour_step(fixed)
    assert not is_colour_step(fixed, only_drawn=True)
    assert is_colour_step(mmseg.PhotoMetricDistortion(), only_drawn=True)


def test_a_colour_step_alone_moves_nothing():
    (step,) = measure_steps(pipeline(colour=mmseg.PhotoMetricDistortion()), 19, 255, 4)
    assert step.draws
    assert not step.moves
    assert not step.spread
