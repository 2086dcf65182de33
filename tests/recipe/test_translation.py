"""Between recipes and official configs: one recipe drives both arms, or the refusal names what it cannot."""

from pathlib import Path

import pytest
import torch

from catalyst_cityscapes.recipe.loading import CONFIGS, load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.places import shipped_configs
from catalyst_cityscapes.recipe.translation import is_official, official_to_recipe, recipe_to_official
from catalyst_cityscapes.runs.folder import to_yaml
from semseg_ref.base.errors import InputError
from semseg_ref.config import load_cfg_from_cfg_file
from semseg_ref.model.build import build_network
from support.component_settings import NO_RECIPES, SWAPS_AND_THE_CONTROL_ARM
from support.places import PROJECT

OFFICIAL = PROJECT / "tool" / "official"
RECIPES = [name for name in shipped_configs() if Path(name).parts[0] not in NO_RECIPES]
CONFIG_FILES = sorted(str(p.relative_to(OFFICIAL)) for p in OFFICIAL.rglob("*.yaml"))
NETWORKS_OF_OUR_OWN = {
    "toy/pspnet18.yml": "model._target_",
    "toy/unet_resnet34.yml": "model._target_",
    **{name: "experiment.iterations" for name in RECIPES if name.startswith("mmseg/")},
}
"""Shipped recipes that the official format has no words for, and the key that the refusal names."""
# Names, files and logs: nothing that is trained or scored.
NO_NUMBERS = (
    "experiment.name",
    "experiment.logdir",
    "data.names",
    "data.colors",
    "data.test_list",
    "expected",
    "callbacks.mean_iou.names",
    "callbacks.progress",
    "callbacks.iteration_log",
)


def flat(value: object, path: str = "") -> dict[str, object]:
    """Nested mappings as {dotted path: value}."""
    if not isinstance(value, dict):
        return {path: value}
    return {
        key: leaf for name, inner in value.items() for key, leaf in flat(inner, f"{path}.{name}".strip(".")).items()
    }


def differing(left, right) -> set[str]:
    """Dotted paths at which two recipes differ, without those that hold no numbers."""
    first, second = (flat(recipe.plain()) for recipe in (left, right))
    paths = {path for path in first.keys() | second.keys() if first.get(path, "absent") != second.get(path, "absent")}
    return {path for path in paths if not path.startswith(NO_NUMBERS)}


def official(name: str, **values):
    """An official config with some options set."""
    cfg = load_cfg_from_cfg_file(OFFICIAL / name)
    cfg.update(values)
    return cfg


# -- round trips ---------------------------------------------------------------------------------------------------
def test_there_is_something_to_translate():
    assert len(RECIPES) >= 7
    assert len(CONFIG_FILES) >= 4


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in NETWORKS_OF_OUR_OWN])
def test_recipe_to_official_and_back(name):
    recipe = load_recipe([name])
    cfg = recipe_to_official(recipe)
    again = official_to_recipe(cfg, recipe.experiment.name, recipe.experiment.logdir)
    assert differing(recipe, again) == set()
    assert recipe_to_official(again) == cfg


@pytest.mark.parametrize("name", NETWORKS_OF_OUR_OWN)
def test_a_recipe_without_official_words_is_refused_by_its_key(name):
    with pytest.raises(InputError, match=rf"{NETWORKS_OF_OUR_OWN[name]}"):
        recipe_to_official(load_recipe([name]))


@pytest.mark.parametrize("name", CONFIG_FILES)
def test_official_to_recipe_and_back(name):
    cfg = official(name)
    back = recipe_to_official(official_to_recipe(cfg, "x", "exp/x"))
    trained = [key for key in cfg if key in back and key not in ("train_gpu", "save_path", "mask_h", "mask_w")]
    assert len(trained) >= 30
    assert {key: back[key] for key in trained} == {key: cfg[key] for key in trained}


@pytest.mark.parametrize("name", [name for name in CONFIG_FILES if name.startswith("cityscapes/")])
def test_official_files_are_the_shipped_recipes(name):
    recipe = official_to_recipe(official(name), "x", "exp/x")
    shipped = load_recipe([f"cityscapes/{Path(name).stem.split('_')[1]}"])
    assert differing(recipe, shipped) == {"experiment.seed", "sampling.seed_stream"}
    assert (recipe.experiment.seed, recipe.sampling.seed_stream) == (None, "reference")
    assert differing(official_to_recipe(official(name, manual_seed=0), "x", "exp/x"), shipped) == set()


def test_the_toy_config_is_the_toy_recipe():
    recipe = official_to_recipe(official("toy/toy_pspnet50.yaml"), "x", "exp/x")
    shipped = load_recipe(["toy/pspnet50"])
    assert differing(recipe, shipped) <= {"sampling.workers"}


@pytest.mark.parametrize(
    ("option", "value", "path"),
    [
        ("base_lr", 0.5, "optimizer.lr"),
        ("power", 0.5, "callbacks.poly_lr.power"),
        ("momentum", 0.5, "optimizer.momentum"),
        ("weight_decay", 0.5, "optimizer.weight_decay"),
        ("aux_weight", 0.5, "callbacks.aux_loss.weight"),
        ("epochs", 5, "experiment.epochs"),
        ("manual_seed", 5, "experiment.seed"),
        ("batch_size", 5, "sampling.batch_size"),
        ("workers", 5, "sampling.workers"),
        ("batch_size_val", 5, "validation.batch_size"),
        ("classes", 5, "data.classes"),
        ("ignore_label", 5, "data.ignore_index"),
        ("layers", 101, "model.layers"),
        ("zoom_factor", 1, "model.zoom_factor"),
        ("base_size", 512, "protocol.base_size"),
        ("scales", [0.5, 1.0], "protocol.scales"),
        ("save_freq", 5, "callbacks.checkpoint.save_every"),
        ("train_h", 65, "data.crop"),
        ("train_w", 65, "data.crop"),
        ("test_h", 65, "protocol.crop"),
        ("test_w", 65, "protocol.crop"),
        ("scale_min", 0.7, "augmentation.steps.scale.scale"),
        ("scale_max", 0.7, "augmentation.steps.scale.scale"),
        ("rotate_min", -5, "augmentation.steps.rotate.rotate"),
        ("rotate_max", 5, "augmentation.steps.rotate.rotate"),
        ("sync_bn", False, "callbacks.sync_bn._target_"),
        ("evaluate", True, "validation.every"),
        ("data_root", "d", "data.root"),
        ("train_list", "d", "data.train_list"),
        ("val_list", "d", "data.val_list"),
    ],
)
def test_every_official_option_reaches_the_recipe_and_returns(option, value, path):
    plain = official_to_recipe(official("cityscapes/cityscapes_pspnet50.yaml", manual_seed=0), "x", "exp/x")
    options = {"manual_seed": 0, option: value}
    if option == "val_list":  # a recipe scores the images that it validates on
        options["test_list"] = value
    changed = official_to_recipe(official("cityscapes/cityscapes_pspnet50.yaml", **options), "x", "exp/x")
    assert path in differing(plain, changed)
    assert recipe_to_official(changed)[option] == value
    assert recipe_to_official(plain)[option] != value


@pytest.mark.parametrize("name", ["cityscapes/cityscapes_pspnet50.yaml", "cityscapes/cityscapes_psanet50.yaml"])
def test_both_arms_build_the_same_network(name):
    cfg = official(name, train_h=65, train_w=97, test_h=65, test_w=97, pretrained=False)
    recipe = official_to_recipe(cfg, "x", "exp/x")
    torch.manual_seed(0)
    control = build_network(cfg, pretrained=False)
    torch.manual_seed(0)
    catalyst = build(recipe.model, "model")
    expected = control.state_dict()
    found = catalyst.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    if cfg.arch == "psa":
        assert (recipe.model["mask_h"], recipe.model["mask_w"]) == (9, 13)


# -- refusals ------------------------------------------------------------------------------------------------------
def test_every_swap_is_in_the_table():
    assert SWAPS_AND_THE_CONTROL_ARM.keys() == {path.stem for path in (CONFIGS / "swap").glob("*.yml")}


@pytest.mark.parametrize("base", ["cityscapes/pspnet50", "toy/pspnet50"])
@pytest.mark.parametrize("swap", sorted(SWAPS_AND_THE_CONTROL_ARM))
def test_swaps_and_the_control_arm(swap, base):
    recipe, key = load_recipe([base, f"swap/{swap}"]), SWAPS_AND_THE_CONTROL_ARM[swap]
    if key is None:
        again = official_to_recipe(recipe_to_official(recipe), "x", "exp/x")
        assert differing(recipe, again) == set()
        assert differing(recipe, load_recipe([base]))
        return
    with pytest.raises(InputError) as error:
        recipe_to_official(recipe)
    assert str(error.value).startswith(f"--control: the control arm cannot express {key}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("model.bins=[1, 2]", "model.bins"),
        ("model.use_ppm=false", "model.use_ppm"),
        ("criterion.label_smoothing=0.1", "criterion.label_smoothing"),
        ("criterion.ignore_index=3", "criterion.ignore_index"),
        ("optimizer.nesterov=true", "optimizer.nesterov"),
        ("optimizer.groups=null", "optimizer.groups"),
        ("callbacks.poly_lr.base_lr=0.5", "callbacks.poly_lr.base_lr"),
        ("callbacks.gradient_step.accumulation_steps=2", "callbacks.gradient_step.accumulation_steps"),
        ("callbacks.gradient_step.clip_norm=1.0", "callbacks.gradient_step.clip_norm"),
        ("callbacks.aux_loss=null", "callbacks.aux_loss"),
        ("sampling.shuffle=false", "sampling.shuffle"),
        ("sampling.seed_stream=reference", "sampling.seed_stream"),
        ("validation.every=2", "validation.every"),
        ("protocol.flip=false", "protocol.flip"),
        ("protocol.stride_rate=0.5", "protocol.stride_rate"),
        ("augmentation.steps.blur.radius=3", "augmentation.steps.blur.radius"),
        ("augmentation.steps.rotate.p=1.0", "augmentation.steps.rotate.p"),
        ("augmentation.steps.crop.crop_type=center", "augmentation.steps.crop.crop_type"),
        ("augmentation.steps.scale.scale=[0.5, 1.0, 2.0]", "augmentation.steps.scale.scale"),
    ],
)
def test_what_the_control_arm_has_no_option_for_is_named(setting, key):
    with pytest.raises(InputError) as error:
        recipe_to_official(load_recipe(["toy/pspnet50"], [setting]))
    assert f"the control arm cannot express {key}" in str(error.value)


@pytest.mark.parametrize(
    "setting",
    [
        "experiment.name=x",
        "callbacks.progress=null",
        "callbacks.checkpoint.keep=5",
        "engine.device=cpu",
        "callbacks.iteration_log.every=1",
        "callbacks.mean_iou=null",
        "protocol.name=null",
        "expected=null",
        "sampling.persistent_workers=true",
    ],
)
def test_what_changes_no_number_is_no_reason_to_refuse(setting):
    recipe_to_official(load_recipe(["toy/pspnet50"], [setting]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "fcn"}, "official config: arch: 'fcn' is neither 'psp' nor 'psa'"),
        ({"weight": "x.pth"}, "official config: weight: x.pth has no place in a recipe"),
        (
            {"resume": "x.pth"},
            "official config: resume: x.pth has no place in a recipe; empty it and pass --resume FILE",
        ),
        ({"start_epoch": 3}, "official config: start_epoch: 3 has no place in a recipe"),
        ({"epochs": "many"}, "official config x: experiment.epochs: Input should be a valid integer"),
        (
            {"train_h": 35, "test_h": 35},
            "official config x: protocol.crop: 35 is not possible: it has to be a multiple of 8 plus 1",
        ),
        ({"scale_min": "small"}, "official config x: augmentation.steps.scale.scale: "),
    ],
)
def test_official_configs_that_no_recipe_can_express(options, message):
    with pytest.raises(InputError) as error:
        official_to_recipe(official("cityscapes/cityscapes_pspnet50.yaml", **options), "x", "exp/x")
    assert str(error.value).startswith(message)


def test_a_missing_official_option_is_named():
    cfg = official("cityscapes/cityscapes_pspnet50.yaml")
    del cfg["base_lr"]
    with pytest.raises(InputError, match="official config: the configuration has no option 'base_lr'"):
        official_to_recipe(cfg, "x", "exp/x")


def test_what_is_official():
    assert is_official({"DATA": {}})
    assert is_official({"TEST": {}, "other": 1})
    assert not is_official({"data": {}, "model": {}})


def test_a_translated_recipe_survives_its_snapshot(tmp_path):
    recipe = official_to_recipe(official("cityscapes/cityscapes_psanet101.yaml"), "x", "exp/x")
    (tmp_path / "recipe.yml").write_text(to_yaml(recipe))
    assert load_recipe([tmp_path / "recipe.yml"]) == recipe
