"""Training and test give the network the same values, whatever library normalises; where they do not, it is told."""

import random
import re

import numpy as np
import pytest
import torch

from catalyst_cityscapes.data.training_set import build_augmentation
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.normalisation import check_trained_normalisation
from catalyst_cityscapes.recipe.normalisation import tested_with as normalisation_of_the_test
from catalyst_cityscapes.recipe.protocols import protocol_value
from catalyst_cityscapes.train.input_check import check_training_input
from catalyst_cityscapes.train.validation import validation_set
from semseg_ref.base.errors import InputError
from semseg_ref.protocol import semseg_ss
from semseg_ref.transform import MEAN, STD
from support.runs.toy import toy_recipe

STEPS = "augmentation.steps"
OFFICIAL = (tuple(MEAN), tuple(STD))
HALF = (f"{STEPS}.normalize.mean=[127.5,127.5,127.5]", f"{STEPS}.normalize.std=[127.5,127.5,127.5]")
PAD = "{_target_: albumentations.PadIfNeeded, min_height: 99, min_width: 99}"
CROP = "{_target_: albumentations.RandomCrop, height: 33, width: 33}"
TENSOR = "{_target_: albumentations.pytorch.ToTensorV2}"


def compose(*transforms: str) -> str:
    return f"augmentation={{_target_: albumentations.Compose, transforms: [{', '.join(transforms)}]}}"


def vision(*transforms: str) -> str:
    return f"augmentation={{_target_: torchvision.transforms.v2.Compose, transforms: [{', '.join(transforms)}]}}"


def notes(city, *settings: str) -> list[str]:
    return check_training_input(toy_recipe(city, *settings, trusted=("support",)))


def refused(city, *settings: str) -> str:
    with pytest.raises(InputError) as error:
        notes(city, *settings)
    return str(error.value)


def test_the_official_recipe_is_as_it_was(toy_city):
    recipe = toy_recipe(toy_city)
    assert normalisation_of_the_test(recipe) == OFFICIAL
    assert protocol_value(recipe).hash == semseg_ss((33, 33), 256).hash
    assert check_training_input(recipe) == []
    # 57.12 and 57.120000000000005 are one deviation, and one hash.
    other = toy_recipe(toy_city, f"{STEPS}.normalize.std=[58.395,57.12,57.375]")
    assert protocol_value(other).hash == protocol_value(recipe).hash


def test_the_test_and_the_validation_take_the_trainings(toy_city):
    recipe = toy_recipe(toy_city, *HALF, "validation.every=1")
    protocol = protocol_value(recipe)
    assert (protocol.mean, protocol.std) == ((127.5,) * 3, (127.5,) * 3)
    images, _ = validation_set(recipe)
    official, _ = validation_set(toy_recipe(toy_city, "validation.every=1"))
    grey = official[0][0] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    assert torch.allclose(images[0][0], (grey - 127.5) / 127.5, atol=1e-4)
    (first, second) = check_training_input(recipe)
    assert first.startswith(f"{STEPS}.rotate.padding: [123.675, 116.28, 103.53] is not the mean that {STEPS}.normalize")
    assert second.startswith(f"{STEPS}.crop.padding: ")


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ((f"{STEPS}.normalize.std=null",), MEAN, None),
        (
            ("augmentation={_target_: catalyst_cityscapes.data.augmentation.CropFirst, crop: [33,33], mean: [1,2,3]}",),
            (1, 2, 3),
            STD,
        ),
        ((compose(CROP, "{_target_: albumentations.Normalize}", TENSOR),), MEAN, STD),
        (
            (compose(CROP, "{_target_: albumentations.Normalize, mean: [0.5,0.5,0.5], std: [0.5,0.5,0.5]}", TENSOR),),
            (127.5,) * 3,
            (127.5,) * 3,
        ),
        (("protocol.mean=[0,0,0]", "protocol.std=[255,255,255]", f"{STEPS}.normalize=null"), (0, 0, 0), (255,) * 3),
    ],
)
def test_whoever_states_it(toy_city, settings, mean, std):
    found = normalisation_of_the_test(toy_recipe(toy_city, *settings))
    assert found[0] == pytest.approx(tuple(mean))
    assert found[1] is None if std is None else found[1] == pytest.approx(tuple(std))


@pytest.mark.parametrize("name", ["semseg-ms", "whole", "official"])
def test_another_protocol_keeps_the_normalisation(toy_city, tmp_path, name):
    foreign = compose(CROP, TENSOR).replace("=", ": ", 1)
    (tmp_path / "recipe.yml").write_text(f"{foreign}\nprotocol: {{name: semseg-ss, mean: [0, 0, 0], std: [1, 1, 1]}}\n")
    layers = ["toy/pspnet50", tmp_path / "recipe.yml"]
    protocol = protocol_value(load_recipe(layers, [f"protocol.name={name}"]), (64, 96))
    assert (protocol.mean, protocol.std) == ((0, 0, 0), (1, 1, 1))
    assert protocol.name == name


def test_the_remedy_works_where_a_step_of_ones_own_changes_values(toy_city):
    order = "augmentation.order=[unit,scale,rotate,blur,flip,crop,to_tensor,normalize]"
    own = (f"{STEPS}.unit={{_target_: support.faults.components.UnitRange}}", order)
    remedy = refused(toy_city, *own).rpartition("--set ")[2].split()
    notes(toy_city, *own, *remedy)


def test_two_that_differ_are_refused_by_key_with_both_values(toy_city):
    said = (
        "--set: protocol.mean: the test would normalise by mean [0,0,0], std [1,1,1], and augmentation.steps.normalize "
        "trains with mean [123.675,116.28,103.53], std [58.395,57.12,57.375]; leave protocol.mean and protocol.std out"
    )
    with pytest.raises(InputError) as error:
        toy_recipe(toy_city, "protocol.mean=[0,0,0]", "protocol.std=[1,1,1]")
    assert str(error.value).startswith(said)
    with pytest.raises(InputError, match=r"protocol\.std: goes with a mean"):
        toy_recipe(toy_city, "protocol.std=[1,1,1]")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((f"{STEPS}.normalize=null",), "normalises by mean [0,0,0], std [1,1,1] in grey levels of 0..255"),
        (
            (f"{STEPS}.again={{_target_: semseg_ref.transform.Normalize, mean: [0,0,0], std: [2,2,2]}}",
             "augmentation.order=[scale,rotate,blur,flip,crop,to_tensor,normalize,again]"),
            "normalises by mean [123.675,116.28,103.53], std [116.79,114.24,114.75]",
        ),
        (
            (f"{STEPS}.unit={{_target_: support.faults.components.UnitRange}}",
             "augmentation.order=[unit,scale,rotate,blur,flip,crop,to_tensor,normalize]"),
            "or test as trained with --set protocol.mean=[31537",
        ),
        (
            (f"{STEPS}.swap={{_target_: support.faults.components.SwapRedAndBlue}}",
             "augmentation.order=[swap,scale,rotate,blur,flip,crop,to_tensor,normalize]"),
            "gives the network the channels BGR, and the test gives it RGB",
        ),
        ((compose(CROP, TENSOR),), "normalises by mean [0,0,0], std [1,1,1] in grey levels"),
        ((f"augmentation={CROP}",), "normalises by mean [0,0,0], std [1,1,1]"),
        (
            (compose(PAD, "{_target_: albumentations.Normalize}"),),
            "writes the label 0 where it was 1 everywhere: padding and turned-in corners must become 255",
        ),
        (("augmentation={_target_: support.faults.components.AsMapping}",), "augmentation: returns dict; exp"),
        ((f"{STEPS}.to_tensor=null", f"{STEPS}.normalize=null"), "ndarray [33, 33, 3]"),
    ],
)  # fmt: skip
def test_what_the_test_would_not_do_is_refused_before_the_training(toy_city, settings, said):
    assert said in refused(toy_city, *settings)


def test_a_composition_of_albumentations_trains(toy_city):
    """Its values are the reference's for the same pixels, labels travel along, and draws follow the sample's seed."""
    flip = "{_target_: albumentations.HorizontalFlip, p: 0.5}"
    recipe = toy_recipe(toy_city, compose(flip, CROP, "{_target_: albumentations.Normalize}", TENSOR))
    assert check_training_input(recipe) == []
    augmentation = build_augmentation(recipe)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    label = (image[..., 0] % 19).astype(np.uint8)

    def draw(seed: int):
        random.seed(seed)
        return augmentation(image.astype(np.float32), label)

    for seed in range(6):
        pixels, classes = draw(seed)
        again = draw(seed)
        assert torch.equal(pixels, again[0])
        assert torch.equal(classes, again[1])
        grey = pixels * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
        assert torch.equal(torch.round(grey[0]).long() % 19, classes)
    assert len({draw(seed)[0][0, 0, 0].item() for seed in range(6)}) > 2


def test_a_transform_of_torchvision_gets_typed_tensors(toy_city):
    transforms = (
        "{_target_: torchvision.transforms.v2.RandomCrop, size: [33, 33]}",
        "{_target_: torchvision.transforms.v2.RandomHorizontalFlip}",
    )
    recipe = toy_recipe(toy_city, vision(*transforms), "protocol.mean=[0,0,0]", "protocol.std=[1,1,1]")
    assert check_training_input(recipe) == []
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    torch.manual_seed(3)
    pixels, label = build_augmentation(recipe)(image, image[..., 1])
    assert torch.equal(pixels[1].long(), label)
    torch.manual_seed(3)
    assert torch.equal(build_augmentation(recipe)(image, image[..., 1])[0], pixels)


def test_a_function_of_image_and_label(toy_city):
    node = "_target_: support.faults.components.flip_all"
    with pytest.raises(InputError, match=r"missing argument 'image' .*for the function itself add _mode_: partial"):
        toy_recipe(toy_city, f"{STEPS}.flip={{{node}}}", trusted=("support",))
    assert notes(toy_city, f"{STEPS}.flip={{{node}, _mode_: partial}}") == []


def test_a_colour_augmentation_is_no_other_normalisation(toy_city):
    order = "augmentation.order=[contrast,scale,rotate,blur,flip,crop,to_tensor,normalize]"
    (note,) = notes(toy_city, f"{STEPS}.contrast={{_target_: support.faults.components.Contrast}}", order)
    assert "other values in each draw" in note


def test_another_crop_than_the_recipes_is_told(toy_city):
    (note,) = notes(toy_city, f"{STEPS}.crop.size=[41,41]")
    assert note.startswith("augmentation: gives 41 x 41, and data.crop is [33, 33]")
    assert "several sizes" in refused(toy_city, f"{STEPS}.crop=null", f"{STEPS}.extra=null", with_foreign())


PADDED = re.compile(r"augmentation: at least (\d+)% of what it gives is padding in each of 16 draws, and data\.crop is")


@pytest.mark.parametrize(
    ("side", "share"), [(17, 73), (22, 56), (32, None), (33, None)]
)  # 1 - (side / 33)^2; an edge of one pixel is no matter
def test_a_smaller_crop_that_is_padded_again_is_told(toy_city, side, share):
    mmseg = load_recipe(
        ["toy/pspnet50", "swap/augmentation/mmseg"],
        [f"data.root={toy_city}", "data.crop=[33,33]", f"{STEPS}.crop.crop_size=[{side},{side}]",
         f"{STEPS}.scale.scale=[128,64]"],
    )  # fmt: skip
    own = toy_recipe(
        toy_city,
        "augmentation.order=[scale,rotate,blur,flip,crop,again,to_tensor,normalize]",
        f"{STEPS}.crop.size=[{side},{side}]",
        f"{STEPS}.again={{_target_: semseg_ref.transform.Crop, size: [33, 33], crop_type: center, "
        "padding: [123.675, 116.28, 103.53], ignore_label: 255}",
    )
    for recipe in (mmseg, own):
        found = [int(match[1]) for note in check_training_input(recipe) if (match := PADDED.match(note))]
        assert found == ([] if share is None else [share])


def with_foreign() -> str:
    return f"{STEPS}.blur={{_target_: support.faults.components.Contrast}}"


def test_a_foreign_transform_as_a_step_and_a_dropped_argument(toy_city):
    assert notes(toy_city, f"{STEPS}.flip={{_target_: albumentations.HorizontalFlip}}") == []
    assert notes(toy_city, f"{STEPS}.flip={{_target_: torchvision.transforms.v2.RandomHorizontalFlip}}") == []
    with pytest.raises(InputError, match=r"steps\.flip: albumentations\.BboxParams does not take image and label"):
        toy_recipe(toy_city, f"{STEPS}.flip={{_target_: albumentations.BboxParams, format: yolo}}")
    typo = "{_target_: albumentations.Compose, transforms: [{_target_: albumentations.HorizontalFlip, prob: 1.0}]}"
    with pytest.raises(InputError, match=r"HorizontalFlip|prob"):
        build_augmentation(toy_recipe(toy_city, f"augmentation={typo}"))


def test_looking_draws_nothing(toy_city):
    random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state().clone(), np.random.get_state()[1].copy()
    notes(toy_city, compose(CROP, "{_target_: albumentations.Normalize}"))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert (np.random.get_state()[1] == before[2]).all()


ALBUMENTATIONS = "catalyst_cityscapes.data.augmentation.AlbumentationsPipeline"


@pytest.mark.parametrize(
    "extra",
    [
        "{name: Normalize, mean: [0.4, 0.4, 0.4], std: [0.2, 0.2, 0.2], max_pixel_value: 1.0}",
        "{name: InvertImg, p: 1.0}",
    ],
)
def test_more_steps_of_our_albumentations_pipeline_are_measured(toy_city, extra):
    recipe = load_recipe(
        ["toy/pspnet50", "swap/augmentation_albumentations"],
        [f"data.root={toy_city}", "data.crop=[33,33]", f"augmentation.extra=[{extra}]"],
    )
    with pytest.raises(InputError, match="augmentation: normalises by"):
        check_training_input(recipe)


def test_padding_of_the_smallest_image_is_seen(toy_city):
    pad = "{_target_: albumentations.RandomCrop, height: %d, width: 65, pad_if_needed: true}"
    normalize = "{_target_: albumentations.Normalize}"
    tall = ("data.crop=[65,65]",)
    assert "writes the label 0" in refused(toy_city, *tall, compose(pad % 400, normalize, TENSOR))


@pytest.mark.parametrize("mean", [[0.0, 0.0, 0.0], [127.5, 127.5, 127.5]])
def test_weights_are_tested_as_they_were_trained(toy_city, mean):
    ours = toy_recipe(toy_city)
    trained = toy_recipe(toy_city, f"{STEPS}.normalize.mean={mean}", f"{STEPS}.normalize.std=[255,255,255]")
    saved = trained.plain()
    with pytest.raises(
        InputError, match=r"w\.pth: was trained with images normalised by .*--set augmentation\.steps\.normalize\.mean="
    ) as error:
        check_trained_normalisation(ours, saved, "w.pth")
    way_out = str(error.value).partition("--set ")[2].split()
    check_trained_normalisation(toy_recipe(toy_city, *way_out), saved, "w.pth")
    check_trained_normalisation(trained, saved, "w.pth")
    check_trained_normalisation(ours, ours.plain(), "w.pth")
    check_trained_normalisation(ours, None, "w.pth")
    told = toy_recipe(toy_city, f"protocol.mean={list(MEAN)}", f"protocol.std={list(STD)}")
    check_trained_normalisation(told, saved, "w.pth")
