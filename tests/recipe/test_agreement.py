"""The ignored value and the number of classes: alike wherever a recipe says them, and no class ignored."""

import pytest

from catalyst_cityscapes.recipe.consistency import check_consistency
from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.errors import InputError, OptionError
from support.runs.toy import SMALL, SMALL_PACKAGE, toy_recipe, toy_settings, train_control

STEPS = "augmentation.steps"
ROTATE = "_target_: albumentations.Rotate, limit: 10"
CROP = "_target_: albumentations.RandomCrop, height: 33, width: 33"


def composed(transform: str) -> str:
    """A setting that makes one transform of albumentations the augmentation."""
    return f"augmentation={{_target_: albumentations.Compose, transforms: [{{{transform}}}]}}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("data.ignore_index=0",), r"data\.ignore_index: 0 is one of the 19 classes \(0\.\.18\)"),
        (("data.ignore_index=18",), r"data\.ignore_index: 18 is one of"),
        (
            ("criterion={_target_: torch.nn.CrossEntropyLoss}",),
            r"criterion\.ignore_index: -100 \(its default\) differs",
        ),
        (("criterion.ignore_index=254",), r"criterion\.ignore_index: 254 differs from data\.ignore_index, 255"),
        ((f"{STEPS}.crop.ignore_label=0",), r"steps\.crop\.ignore_label: 0 differs"),
        (("callbacks.mean_iou.ignore_index=254",), r"callbacks\.mean_iou\.ignore_index: 254 differs"),
        (
            ("data.ignore_index=254", f"{STEPS}.crop={{_target_: semseg_ref.transform.Crop, size: [33, 33]}}"),
            r"crop\.ignore_label: 255 \(its default\) differs from data\.ignore_index, 254",
        ),
        ((composed(ROTATE),), r"augmentation\.transforms\.0\.fill_mask: 0.* \(its default\) differs"),
        (("model.classes=21",), r"model\.classes: 21 differs from data\.classes, 19"),
        (("callbacks.mean_iou.classes=20",), r"callbacks\.mean_iou\.classes: 20 differs"),
        (("data.names=camvid_names.txt",), r"data\.names: .*11 class names, expected 19; data\.classes is 19"),
        (("data.colors=camvid_colors.txt",), r"data\.colors: .*11 "),
    ],
)
def test_what_differs_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        check_consistency(toy_recipe("city", *SMALL, *settings))


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("data.ignore_index=254", "data.classes=19"),
        (composed(f"{ROTATE}, border_mode: 4"),),
        (composed(f"{ROTATE}, fill_mask: 255"),),
        (composed(CROP),),
    ],
)
def test_what_agrees_passes(settings):
    check_consistency(toy_recipe("city", *SMALL, *settings))


@pytest.mark.parametrize("swap", ["catalyst_2020", "augmentation_albumentations", "augmentation_crop_first"])
def test_shipped_recipes_agree(swap):
    check_consistency(load_recipe(["toy/pspnet50", f"swap/{swap}"], toy_settings("city"), (SMALL_PACKAGE,)))


def test_the_control_arm_refuses_an_ignored_class(toy_city, workdir):
    recipe = toy_recipe(toy_city, "data.ignore_index=3")
    with pytest.raises(OptionError, match=r"option 'ignore_label': 3 is one of the 19 classes"):
        train_control(recipe)
