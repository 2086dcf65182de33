"""Recipes: the shipped ones, how layers combine, and what their error messages name."""

from pathlib import Path

import pytest
import yaml

from catalyst_cityscapes.recipe.loading import CONFIGS, load_recipe, overlay, parse_settings
from catalyst_cityscapes.recipe.places import shipped_configs
from catalyst_cityscapes.runs.folder import to_yaml
from semseg_ref.base.errors import InputError
from semseg_ref.model.build import PSA_OPTIONS, psa_mask_size
from support.component_settings import NO_RECIPES
from support.golden.inputs import load_golden

SHIPPED = shipped_configs()
WHOLE = [name for name in SHIPPED if Path(name).parts[0] not in NO_RECIPES]
SWAPS = [name for name in SHIPPED if name.startswith("swap/")]
SWAPS_OF_A_FAMILY = {"swap/mmseg/": ("mmseg/pspnet_r50_769",)}
"""Overlays that go over recipes of a family alone, by the folder that they are in."""
SWAPPED = [
    (name, base)
    for name in SWAPS
    for base in next(
        (bases for folder, bases in SWAPS_OF_A_FAMILY.items() if name.startswith(folder)),
        ("cityscapes/pspnet50", "toy/pspnet50"),
    )
]
OFFICIAL = {name: {key: value for key, value, _ in rows} for name, rows in load_golden("config.json")["files"].items()}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file into the working directory and returns its name."""
    monkeypatch.chdir(tmp_path)

    def _write(name: str, text: str) -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
        return name

    return _write


def message(*configs, settings=(), trusted=()) -> str:
    """The error that loading a recipe raises."""
    with pytest.raises(InputError) as error:
        load_recipe(configs, settings, trusted)
    return str(error.value)


# -- shipped files -------------------------------------------------------------------------------------------------
def test_there_are_shipped_recipes_and_swaps():
    assert {"cityscapes/pspnet50.yml", "toy/pspnet50.yml", "camvid/pspnet50.yml"} <= set(WHOLE)
    assert len(SWAPS) >= 8


@pytest.mark.parametrize("name", WHOLE)
def test_shipped_recipes_load_and_survive_their_snapshot(name, write):
    recipe = load_recipe([name])
    assert load_recipe([write("snapshot.yml", to_yaml(recipe))]) == recipe
    rates = [node["base_lr"] for node in recipe.callbacks.values() if node and "base_lr" in node]
    assert rates == [recipe.optimizer["lr"]]


@pytest.mark.parametrize(("name", "base"), SWAPPED)
def test_swaps_load_over_a_recipe_and_change_it(name, base):
    assert load_recipe([base, name]) != load_recipe([base])


@pytest.mark.parametrize("network", ["pspnet50", "pspnet101", "psanet50", "psanet101"])
def test_cityscapes_recipes_have_the_official_values(network):
    cfg, recipe = OFFICIAL[f"cityscapes_{network}.yaml"], load_recipe([f"cityscapes/{network}"])
    steps, callbacks = recipe.augmentation["steps"], recipe.callbacks
    found = {
        "data_root": recipe.data.root,
        "train_list": recipe.data.train_list,
        "val_list": recipe.data.val_list,
        "test_list": recipe.data.val_list,
        "classes": recipe.data.classes,
        "ignore_label": recipe.data.ignore_index,
        "train_h": recipe.data.crop[0],
        "train_w": recipe.data.crop[1],
        "test_h": recipe.protocol.crop[0],
        "test_w": recipe.protocol.crop[1],
        "base_size": recipe.protocol.base_size,
        "scales": list(recipe.protocol.scales),
        "scale_min": steps["scale"]["scale"][0],
        "scale_max": steps["scale"]["scale"][1],
        "rotate_min": steps["rotate"]["rotate"][0],
        "rotate_max": steps["rotate"]["rotate"][1],
        "layers": recipe.model["layers"],
        "zoom_factor": recipe.model["zoom_factor"],
        "sync_bn": callbacks["sync_bn"] is not None,
        "aux_weight": callbacks["aux_loss"]["weight"],
        "power": callbacks["poly_lr"]["power"],
        "base_lr": recipe.optimizer["lr"],
        "momentum": recipe.optimizer["momentum"],
        "weight_decay": recipe.optimizer["weight_decay"],
        "epochs": recipe.experiment.epochs,
        "save_freq": callbacks["checkpoint"]["save_every"],
        "batch_size": recipe.sampling.batch_size,
        "workers": recipe.sampling.workers,
        "batch_size_val": recipe.validation.batch_size,
        "evaluate": recipe.validation.every > 0,
    }
    assert found == {key: cfg[key] for key in found}
    assert callbacks["checkpoint"]["select"] == "last"
    assert callbacks["poly_lr"]["base_lr"] == cfg["base_lr"]
    assert recipe.optimizer["groups"]["head_multiplier"] == 10
    assert (recipe.model["dropout"], recipe.model["pretrained"]) == (0.1, True)
    for step in ("scale", "rotate", "crop"):
        assert steps[step].get("padding", [123.675, 116.28, 103.53]) == [123.675, 116.28, 103.53]
    psa = {key: recipe.model[key] for key in PSA_OPTIONS if key in recipe.model}
    assert bool(psa) == (cfg["arch"] == "psa")
    for key, value in psa.items():
        side = key.startswith("mask_")
        assert value == (psa_mask_size(cfg["train_h"], cfg["shrink_factor"], False, cfg[key]) if side else cfg[key]), (
            key
        )


# -- combining layers ----------------------------------------------------------------------------------------------
def test_overlay_rules():
    base = {"node": {"_target_": "a.B", "x": 1}, "section": {"x": 1, "y": 2}, "list": [1, 2], "gone": {"x": 1}}
    merged = overlay(base, {"node": {"x": 2}, "section": {"y": 3, "z": 4}, "list": [3], "gone": None})
    assert merged == {
        "node": {"_target_": "a.B", "x": 2},
        "section": {"x": 1, "y": 3, "z": 4},
        "list": [3],
        "gone": None,
    }
    assert overlay(base, {"node": {"_target_": "c.D", "y": 1}})["node"] == {"_target_": "c.D", "y": 1}
    assert base["section"] == {"x": 1, "y": 2}


def test_a_node_with_a_target_replaces_and_one_without_merges(write):
    merging = write("merge.yml", "callbacks:\n  poly_lr:\n    power: 0.5\n")
    poly = load_recipe(["toy/pspnet50", merging]).callbacks["poly_lr"]
    assert poly == {"_target_": "catalyst_cityscapes.callbacks.PolyLR", "base_lr": 0.01, "power": 0.5}
    target = "catalyst_cityscapes.callbacks.PolyLR"
    replacing = write("replace.yml", f"callbacks:\n  poly_lr:\n    _target_: {target}\n    base_lr: 0.5\n")
    assert load_recipe(["toy/pspnet50", replacing]).callbacks["poly_lr"] == {"_target_": target, "base_lr": 0.5}


def test_null_removes_and_lists_replace(write):
    over = write(
        "over.yml",
        "callbacks:\n  progress: null\naugmentation:\n  order: [crop, to_tensor]\n  steps:\n"
        "    scale: null\n    rotate: null\n    blur: null\n    flip: null\n    normalize: null\n",
    )
    recipe = load_recipe(["toy/pspnet50", over])
    assert recipe.callbacks["progress"] is None
    assert recipe.augmentation["order"] == ["crop", "to_tensor"]
    assert recipe.augmentation["steps"]["scale"] is None


def test_interpolation_sees_the_last_layer(write):
    over = write("over.yml", "data:\n  crop: [33, 41]\noptimizer:\n  lr: 0.5\n")
    recipe = load_recipe(["toy/pspnet50", over], ["data.classes=7"])
    assert recipe.protocol.crop == (33, 41)
    assert recipe.augmentation["steps"]["crop"]["size"] == [33, 41]
    assert recipe.callbacks["poly_lr"]["base_lr"] == 0.5
    assert recipe.model["classes"] == recipe.callbacks["mean_iou"]["classes"] == 7


def test_later_files_and_settings_win(write):
    one, two = write("one.yml", "experiment: {epochs: 1, seed: 1}\n"), write("two.yml", "experiment: {epochs: 2}\n")
    experiment = load_recipe(["toy/pspnet50", one, two], ["experiment.name=x"]).experiment
    assert (experiment.epochs, experiment.seed, experiment.name) == (2, 1, "x")
    assert experiment.logdir == "exp/x"
    assert load_recipe(["toy/pspnet50", two, one]).experiment.epochs == 1


def test_base_chain(write):
    write("deep/a.yml", "base: ../b.yml\nexperiment:\n  epochs: 3\n")
    write("b.yml", f"base: {CONFIGS / 'toy' / 'pspnet50.yml'}\nexperiment:\n  epochs: 5\n  seed: 7\n")
    experiment = load_recipe(["deep/a.yml"]).experiment
    assert (experiment.epochs, experiment.seed, experiment.name) == (3, 7, "toy_pspnet50")


def test_base_errors(write):
    missing = message(write("a.yml", "base: bb.yml\nexperiment: {epochs: 1}\n"), settings=["x.y=1"])
    assert missing.startswith("a.yml: base: no such file bb.yml")
    write("b.yml", "base: c.yml\nexperiment: {epochs: 1}\n")
    write("c.yml", "base: a.yml\nexperiment: {epochs: 1}\n")
    assert "did you mean 'b.yml'" in message("a.yml")
    write("a.yml", "base: b.yml\nexperiment: {epochs: 1}\n")
    assert message("a.yml") == "c.yml: base: a.yml leads back to itself"
    assert message(write("self.yml", "base: self.yml\nx: 1\n")) == "self.yml: base: self.yml leads back to itself"


# -- settings ------------------------------------------------------------------------------------------------------
def test_settings_are_read_as_yaml():
    found = parse_settings(["a.b=1", "a.c=[33, 33]", "d=null", "e=0.5", "f=text", "g=1e-4", "h=true", "i=a=b"])
    assert found == {
        "a": {"b": 1, "c": [33, 33]},
        "d": None,
        "e": 0.5,
        "f": "text",
        "g": 1e-4,
        "h": True,
        "i": "a=b",
    }


@pytest.mark.parametrize("setting", ["optimizer.lr", "=1", "a..b=1", ".a=1", "a.=1", " a=1"])
def test_malformed_settings_show_the_form(setting):
    expected = f"--set {setting}: expected key.path=value, e.g. --set optimizer.lr=0.02"
    assert message("toy/pspnet50", settings=[setting]) == expected


def test_settings_with_bad_yaml_are_one_error():
    assert message("toy/pspnet50", settings=["data.crop=[1, 2"]).startswith("--set data.crop=[1, 2: ")


def test_a_setting_below_a_list_is_refused():
    assert message("toy/pspnet50", settings=["data.crop[0]=33"]).startswith("--set: data.crop")


# -- messages ------------------------------------------------------------------------------------------------------
POWR = "callbacks.poly_lr.powr: unknown argument; did you mean 'power'?"


def test_unknown_arguments_name_the_layer_that_holds_them(write):
    fault = "callbacks:\n  poly_lr:\n    powr: 0.5\n"
    write("faulty.yml", f"base: {CONFIGS / 'toy' / 'pspnet50.yml'}\n{fault}")
    on_top = write("on_top.yml", "base: faulty.yml\nexperiment:\n  epochs: 3\n")
    over = write("over.yml", fault)
    good = write("good.yml", "callbacks:\n  poly_lr:\n    power: 0.5\n")
    assert message("faulty.yml") == f"faulty.yml: {POWR}"
    assert message(on_top) == f"faulty.yml: {POWR}"
    assert message("toy/pspnet50", over, good) == f"over.yml: {POWR}"
    assert message("toy/pspnet50", settings=["callbacks.poly_lr.powr=0.5"]) == f"--set: {POWR}"
    assert message("faulty.yml", over) == f"over.yml: {POWR}"
    assert message("faulty.yml", over, settings=["callbacks.poly_lr.powr=1"]) == f"--set: {POWR}"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["experiment.epoch=1"], "--set: experiment.epoch: unknown key; did you mean 'epochs'?"),
        (["optimiser.lr=1"], "--set: optimiser: unknown key; did you mean 'optimizer'?"),
        (["experiment.epochs=-1"], "--set: experiment.epochs: Input should be greater than 0 (got -1)"),
        (["experiment.epochs=many"], "--set: experiment.epochs: Input should be a valid integer"),
        (["experiment.name=a/b"], "--set: experiment.name: String should match pattern"),
        (["data.crop=[33]"], "--set: data.crop.1: missing; it has no default"),
        (
            ["data.crop=[33, 34]"],
            "--set: data.crop: 34 is not possible: it has to be a multiple of 8 plus 1; nearest: 33, 41",
        ),
        (["engine.precision=fp8"], "--set: engine.precision: Input should be 'fp32', 'tf32', 'bf16' or 'fp16'"),
        (["model=null"], "--set: model: Input should be a valid dictionary (got None)"),
        (["model._target_=null"], "--set: model: expected a node with a '_target_'"),
        (["optimizer.momentun=0"], "--set: optimizer.momentun: unknown argument; did you mean 'momentum'?"),
        (["optimizer.params=1"], "--set: optimizer.params: unknown argument; the runner sets it"),
        (
            ["optimizer.groups.head_multiplyer=1"],
            "--set: optimizer.groups.head_multiplyer: unknown argument; did you mean 'head_multiplier'?",
        ),
        (
            ["callbacks.polylr.power=1"],
            "--set: callbacks.polylr: a new component needs a '_target_'; did you mean 'poly_lr'?",
        ),
        (["callbacks.poly_lr._mod_=call"], "--set: callbacks.poly_lr._mod_: unknown key; did you mean '_mode_'?"),
        (
            ["callbacks.poly_lr.base_lr=fast"],
            "--set: callbacks.poly_lr.base_lr: Input should be a valid number (got 'fast')",
        ),
        (["callbacks.aux_loss.weight='0.4'"], "--set: callbacks.aux_loss.weight: Input should be a valid number"),
        (["callbacks.checkpoint.keep=2.5"], "--set: callbacks.checkpoint.keep: Input should be a valid integer"),
        (
            ["callbacks.checkpoint.select=newest"],
            "--set: callbacks.checkpoint.select: Input should be 'last' or 'best'",
        ),
        (["callbacks.sync_bn.backend=torhc"], "--set: callbacks.sync_bn.backend: Input should be 'torch' or 'apex'"),
        (["model.layers=deep"], "--set: model.layers: Input should be a valid integer"),
        (["model.layers=null"], "--set: model.layers: Input should be a valid integer (got None)"),
        (
            ["optimizer.groups.head_multiplier=ten"],
            "--set: optimizer.groups.head_multiplier: Input should be a valid num",
        ),
        (["augmentation.order=scale"], "--set: augmentation.order: "),
        (["augmentation.steps.rotate.p=[1]"], "--set: augmentation.steps.rotate.p: Input should be a valid number"),
        (
            ["augmentation.steps.scale.scal=1"],
            "--set: augmentation.steps.scale.scal: unknown argument; did you mean 'scale'?",
        ),
        (["protocol.scales=[0]"], "--set: protocol.scales: (0.0,): expected one or more numbers > 0"),
        (["protocol.crop=[34, 33]"], "--set: protocol.crop: 34 is not possible: "),
        (["protocol.stride_rate=2"], "--set: protocol.stride_rate: Input should be less than or equal to 1"),
        (["data.classes=${data.klasses}"], "--set: data.classes: Interpolation key 'data.klasses' not found"),
        (
            ["data.root=${oc.env:HOME}"],
            "--set: data.root: '${oc.env:HOME}': only references to other keys are allowed, e.g. ${data.classes}",
        ),
        (["data.root=a${data.${oc.env:HOME}}"], "--set: data.root: "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_messages(settings, expected):
    assert message("toy/pspnet50", settings=settings).startswith(expected)


def test_a_bad_value_is_blamed_on_the_key_that_others_refer_to(write):
    lr = "optimizer.lr: Input should be a valid number (got 'fast')"
    assert message("toy/pspnet50", settings=["optimizer.lr=fast"]) == f"--set: {lr}"
    over = write("over.yml", "optimizer:\n  lr: ${sampling.rate}\nsampling:\n  rate: fast\n")
    assert (
        message("toy/pspnet50", over)
        == "over.yml: sampling.rate: unknown key; valid: " + message("toy/pspnet50", over).split("valid: ")[1]
    )
    over = write(
        "over.yml", "callbacks:\n  poly_lr:\n    power: ${callbacks.aux_loss.weight}\n  aux_loss: {weight: much}\n"
    )
    assert message("toy/pspnet50", over).startswith(
        "over.yml: callbacks.aux_loss.weight: Input should be a valid number"
    )
    found = message("toy/pspnet50", settings=["callbacks.poly_lr.powr=${optimizer.lr}"])
    assert found == f"--set: {POWR}"
    assert "callbacks.poly_lr.power: " in message("toy/pspnet50", settings=["callbacks.poly_lr.power=a${optimizer.lr}"])


def test_references_in_a_circle_are_an_error():
    found = message("toy/pspnet50", settings=["data.classes=${model.classes}"])
    assert "\n" not in found
    assert found.startswith("--set: data.classes: ") or "classes" in found


def test_missing_keys_and_arguments_are_named(write):
    content = yaml.safe_load(to_yaml(load_recipe(["toy/pspnet50"])))
    del content["experiment"]["epochs"]
    assert message(write("r.yml", yaml.safe_dump(content))) == "r.yml: experiment.epochs: missing; it has no default"
    content["experiment"]["epochs"] = 1
    content["experiment"].update(epoch=content["experiment"].pop("epochs"))
    assert message(write("r.yml", yaml.safe_dump(content))).endswith("epoch: unknown key; did you mean 'epochs'?")
    del content["experiment"]["epoch"]
    content["experiment"]["epochs"] = 1
    del content["callbacks"]["poly_lr"]["base_lr"]
    expected = "r.yml: callbacks.poly_lr: missing argument 'base_lr' of catalyst_cityscapes.callbacks.PolyLR"
    assert message(write("r.yml", yaml.safe_dump(content))) == expected


def test_a_resolver_in_a_list_or_a_base_file_is_refused(write):
    write("base.yml", f"base: {CONFIGS / 'toy' / 'pspnet50.yml'}\nprotocol:\n  scales: [1.0, '${{oc.env:HOME}}']\n")
    assert message(write("top.yml", "base: base.yml\ndata:\n  classes: 3\n")).startswith(
        "base.yml: protocol.scales.1: "
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a YAML mapping of recipe keys"),
        ("- 1\n", "expected a YAML mapping of recipe keys"),
        ("word\n", "word: unknown key; valid: augmentation, callbacks,"),
        ("a: [1\n", "not readable as YAML"),
        ("a: 1\na: 2\n", "found duplicate key a"),
        ("experiment:\n  epochs: 1\n  epochs: 2\n", "found duplicate key epochs"),
        ("experiment: !!python/object/apply:os.system ['true']\n", "not readable as YAML"),
        ("experiment:\n\tepochs: 1\n", "not readable as YAML"),
    ],
)
def test_files_that_are_no_recipe(write, text, expected):
    found = message(write("r.yml", text))
    assert found.startswith("r.yml: ")
    assert expected in found
    assert "\n" not in found


def test_a_file_that_is_no_text(write):
    Path(write("r.yml", "")).write_bytes(b"\xff\xfe\x00\x81")
    assert message("r.yml").startswith("r.yml: not readable as YAML: ")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cityscapes/pspnet5", "cityscapes/pspnet50.yml"),
        ("swap/head_lrr.yml", "swap/head_lr.yml"),
        ("catalyst_cityscapes/configs/toy/pspnet5.yml", "toy/pspnet50.yml"),
        ("swap/mmseg/bach_2", "swap/mmseg/batch_2.yml"),
        ("toy/hrnet_w18s", "mmseg/toy/hrnet_w18s.yml"),
    ],
)
def test_missing_configs_name_the_nearest_shipped_one(name, near):
    found = message(name)
    assert found.startswith(f"{name}: no such config")
    assert f"did you mean '{near}'?" in found


def test_a_config_near_none_is_answered_with_those_of_its_folder():
    found = message("swap/mmseg/nope")
    assert "; swap/mmseg has batch_2, crop_512, " in found
    assert "toy" not in found.partition("; ")[2]


@pytest.mark.parametrize("name", ["", ".", "/", "nosuch/"])
def test_names_that_cannot_be_files(name):
    assert "no such config" in message(name)
