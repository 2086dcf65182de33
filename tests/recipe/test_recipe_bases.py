"""`base:` as one name or a list: what is laid on what, what is refused, and that the shipped parts compose."""

import itertools
from pathlib import Path

import pytest
import yaml

from catalyst_cityscapes.cli.arguments import complete_recipe
from catalyst_cityscapes.lab.ladder.file import read_ladder
from catalyst_cityscapes.recipe.consistency import CLASSES
from catalyst_cityscapes.recipe.loading import MAX_BASE_DEPTH, MAX_LAYERS, load_layers, load_recipe, read_with_base
from catalyst_cityscapes.recipe.nodes.targets import walk_nodes
from catalyst_cityscapes.recipe.places import CONFIGS, PARTS, shipped_configs, shipped_parts
from catalyst_cityscapes.runs.folder import to_yaml
from semseg_ref.base.errors import InputError
from support.command_line import catalyst_dl
from support.component_settings import NO_RECIPES
from support.places import PROJECT

RECIPES = [name for name in shipped_configs() if Path(name).parts[0] not in NO_RECIPES]
DATASETS, MODELS, SCHEDULES = (
    sorted(str(path.relative_to(PARTS / folder).with_suffix("")) for path in (PARTS / folder).rglob("*.yml"))
    for folder in ("datasets", "models", "schedules")
)
# A schedule shares no key with a model or a data set beyond those that all schedules have: each of them in turn.
COMPOSED = [(*pair, SCHEDULES[i % len(SCHEDULES)]) for i, pair in enumerate(itertools.product(DATASETS, MODELS))]
EXPECTED = "expected the name of a file beside it or of a shipped recipe, or a list of such names"
WHOLE = "experiment, data, sampling, augmentation, model, criterion, optimizer, callbacks, protocol"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file into the working directory and returns its name."""
    monkeypatch.chdir(tmp_path)

    def _write(name: str, content: str | dict) -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return name

    return _write


def message(*configs: str) -> str:
    """The one line that loading a recipe raises."""
    with pytest.raises(InputError) as error:
        load_recipe(configs)
    assert "\n" not in str(error.value)
    return str(error.value)


def merged(name: str) -> dict:
    """All layers of one file."""
    return load_layers([name]).merged()


def parts(dataset: str, model: str, schedule: str) -> list[str]:
    return [f"_base_/datasets/{dataset}", f"_base_/models/{model}", f"_base_/schedules/{schedule}"]


def missing(name: str, near: str) -> str:
    return f"no such file {name}, and no shipped one; did you mean '{near}'?"


# -- what is laid on what --------------------------------------------------------------------------------------------
def test_later_bases_lie_on_earlier_ones_and_the_file_on_all(write):
    write("one.yml", {"a": 1, "b": 1, "c": 1, "d": {"x": 1, "y": 1}})
    write("two.yml", {"b": 2, "c": 2, "d": {"y": 2}})
    name = write("top.yml", {"base": ["one.yml", "two.yml"], "c": 3})
    assert merged(name) == {"a": 1, "b": 2, "c": 3, "d": {"x": 1, "y": 2}}
    assert [source.name for source in load_layers([name]).sources] == ["one.yml", "two.yml", "top.yml"]
    write("top.yml", {"base": ["two.yml", "one.yml"]})
    assert merged("top.yml") == {"a": 1, "b": 1, "c": 1, "d": {"x": 1, "y": 1}}


def test_a_component_replaces_another_and_keeps_none_of_its_arguments(write):
    write("one.yml", {"model": {"_target_": "A", "width": 1, "depth": 2}})
    write("two.yml", {"model": {"width": 5}})
    write("three.yml", {"model": {"_target_": "B"}})
    assert merged(write("x.yml", {"base": ["one.yml", "two.yml"]}))["model"] == {
        "_target_": "A",
        "width": 5,
        "depth": 2,
    }
    assert merged(write("x.yml", {"base": ["one.yml", "three.yml"]}))["model"] == {"_target_": "B"}


def test_one_name_is_a_list_of_one(write):
    one = write("one.yml", {"base": "toy/pspnet50", "experiment": {"epochs": 3}})
    many = write("many.yml", {"base": ["toy/pspnet50"], "experiment": {"epochs": 3}})
    assert load_recipe([one]) == load_recipe([many])
    assert load_recipe([one]).experiment.epochs == 3


@pytest.mark.parametrize("name", ["cityscapes/pspnet50", "cityscapes/pspnet50.yml"])
def test_a_shipped_recipe_is_named_as_config_takes_it(name, write):
    top = write("deep/top.yml", {"base": name, "experiment": {"name": "mine"}})
    recipe = load_recipe([top])
    assert recipe.experiment.name == "mine"
    assert recipe.model == load_recipe(["cityscapes/pspnet50"]).model


def test_a_file_beside_the_recipe_comes_before_a_shipped_one(write):
    write("deep/toy/pspnet50.yml", {"a": "mine"})
    assert merged(write("deep/top.yml", {"base": "toy/pspnet50.yml"})) == {"a": "mine"}
    assert "model" in merged(write("deep/top.yml", {"base": "toy/pspnet50"})), "without its ending it is no file"


def test_a_list_is_what_config_makes_of_the_same_files(write):
    together = write("x.yml", {"base": ["toy/pspnet18", "swap/catalyst_2020", "swap/batch"]})
    assert to_yaml(load_recipe([together])) == to_yaml(
        load_recipe(["toy/pspnet18", "swap/catalyst_2020", "swap/batch"])
    )


def test_a_diamond_is_fine_and_the_last_time_counts(write):
    write("common.yml", {"a": 0, "b": 0, "c": 0})
    write("left.yml", {"base": "common.yml", "a": 1})
    write("right.yml", {"base": ["common.yml"], "b": 2})
    top = write("top.yml", {"base": ["left.yml", "right.yml"], "c": 3})
    names = [source.name for source in load_layers([top]).sources]
    assert names == ["common.yml", "left.yml", "common.yml", "right.yml", "top.yml"]
    assert merged(top) == {"a": 0, "b": 2, "c": 3}


def test_paths_are_relative_to_the_file_that_names_them(write):
    write("shared/common.yml", {"a": 1})
    write("shared/part.yml", {"base": ["common.yml"], "b": 2})
    assert merged(write("mine/deep/top.yml", {"base": ["../../shared/part.yml"]})) == {"a": 1, "b": 2}


# -- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("[]", f"base: an empty list; {EXPECTED}"),
        ("5", f"base: 5 is no name; {EXPECTED}"),
        ("''", f"base: '' is no name; {EXPECTED}"),
        ("{a: 1}", f"base: a dict is no name; {EXPECTED}"),
        ("[toy/pspnet50, 5]", f"base[1]: 5 is no name; {EXPECTED}"),
        ("[toy/pspnet50, null]", f"base[1]: None is no name; {EXPECTED}"),
        ("[[toy/pspnet50]]", f"base[0]: a list is no name; {EXPECTED}"),
        ("[toy/pspnet50, ' ']", f"base[1]: ' ' is no name; {EXPECTED}"),
        ("nibble.yml", f"base: {missing('nibble.yml', 'nibbles.yml')}"),
        ("[toy/pspnet50, nibble.yml]", f"base[1]: {missing('nibble.yml', 'nibbles.yml')}"),
        ("toy/pspnet5", f"base: {missing('toy/pspnet5', 'toy/pspnet50')}"),
        ("[toy/pspnet5.yml]", f"base[0]: {missing('toy/pspnet5.yml', 'toy/pspnet50.yml')}"),
        ("[_base_/model/pspnet50]", f"base[0]: {missing('_base_/model/pspnet50', '_base_/models/pspnet50')}"),
        ("[toy/pspnet50, r.yml]", "base[1]: r.yml leads back to itself"),
    ],
)
def test_errors_name_the_file_and_the_entry(base, expected, write):
    write("nibbles.yml", "a: 1\n")
    assert message(write("r.yml", f"base: {base}\nexperiment: {{epochs: 1}}\n")) == f"r.yml: {expected}"


@pytest.mark.parametrize(
    "base",
    ["zzz", '"\\0"', '"a\\nb"', "'${data.root}'", "n" * 5000, "n" * 5000 + "/x", "city"],
    ids=("nothing like it", "nul", "two lines", "a reference", "long", "in a long folder", "a folder"),
)
def test_names_that_nothing_is_near_to(base, write):
    Path("city").mkdir()
    name = write("r.yml", f"base: [{base}]\n")
    with pytest.raises(InputError, match=r"r\.yml: base\[0\]: no such file "):
        load_recipe([name])
    assert catalyst_dl("run", "--config", name) == 2


def test_a_circle_names_the_entry_that_closes_it(write):
    write("a.yml", {"base": ["toy/pspnet50", "deep/b.yml"]})
    write("deep/b.yml", {"base": ["toy/pspnet50", "../c.yml"]})
    write("c.yml", {"base": ["toy/pspnet50", "./a.yml"]})
    assert message("a.yml") == "deep/../c.yml: base[1]: ./a.yml leads back to itself"


def test_a_fault_is_named_by_the_base_that_holds_it(write):
    write("good.yml", {"callbacks": {"poly_lr": {"power": 0.5}}})
    write("bad.yml", {"callbacks": {"poly_lr": {"powr": 0.5}}, "engine": {"precision": "fp8"}})
    top = write("top.yml", {"base": ["toy/pspnet50", "bad.yml", "good.yml"], "experiment": {"epochs": 1}})
    assert message(top).startswith("bad.yml: engine.precision: ")
    write("bad.yml", {"callbacks": {"poly_lr": {"powr": 0.5}}})
    assert message(top) == "bad.yml: callbacks.poly_lr.powr: unknown argument; did you mean 'power'?"
    write("good.yml", {"data": {"root": "${data.rot}"}})
    write("bad.yml", {"experiment": {"epochs": 2}})
    assert message(top).startswith("good.yml: data.root: Interpolation key 'data.rot' not found")
    write("torn.yml", "a: [1\n")
    assert message(write("t.yml", {"base": ["toy/pspnet50", "torn.yml"]})).startswith("torn.yml: not readable as YAML")


def test_a_fault_of_a_shipped_part_is_named_by_the_part(write):
    top = write("top.yml", {"base": "cityscapes/pspnet50", "data": {"crop": [33, 33]}})
    layers = load_layers([top])
    assert layers.origin(("data", "crop")) == "top.yml"
    assert layers.origin(("model", "layers")) == "_base_/models/pspnet50"
    assert layers.origin(("optimizer", "lr")) == "_base_/shared/sgd_poly"
    assert layers.origin(("experiment", "epochs")) == "_base_/schedules/poly_200e"
    assert layers.origin(("expected", "mIoU")) == "cityscapes/pspnet50"


# -- files that grow -------------------------------------------------------------------------------------------------
def test_a_chain_is_as_deep_as_the_limit(write):
    write("f1.yml", {"a": 1})
    for n in range(2, MAX_BASE_DEPTH + 2):
        write(f"f{n}.yml", {"base": [f"f{n - 1}.yml"]})
    assert merged(f"f{MAX_BASE_DEPTH}.yml") == {"a": 1}
    refusal = f"f2.yml: base[0]: f1.yml: bases of bases in more than {MAX_BASE_DEPTH} levels"
    assert message(f"f{MAX_BASE_DEPTH + 1}.yml") == refusal


def test_a_list_is_as_long_as_the_limit(write):
    write("a.yml", {"a": 1})
    assert len(load_layers([write("x.yml", {"base": ["a.yml"] * (MAX_LAYERS - 1)})]).sources) == MAX_LAYERS
    refusal = f"x.yml: base[{MAX_LAYERS - 1}]: a.yml: more than {MAX_LAYERS} files, repeats counted"
    assert message(write("x.yml", {"base": ["a.yml"] * MAX_LAYERS})) == refusal
    assert message(write("x.yml", {"base": ["a.yml"] * 5000})) == refusal


def test_bases_that_double_are_refused_before_they_are_many(write):
    write("f0.yml", {"a": 1})
    for n in range(1, MAX_BASE_DEPTH):
        write(f"f{n}.yml", {"base": [f"f{n - 1}.yml"] * 10})
    assert f"more than {MAX_LAYERS} files, repeats counted" in message(f"f{MAX_BASE_DEPTH - 1}.yml")


def test_ladder_files_take_lists_too(write):
    write("notes.yml", {"notes": "mine", "seeds": 4})
    ladder = read_ladder(write("l.yml", {"base": ["ladders/semseg-catalyst-toy", "notes.yml"]}))
    shipped = read_ladder("ladders/semseg-catalyst-toy")
    assert (ladder.notes, ladder.seeds, ladder.names) == ("mine", 4, shipped.names)


# -- the shipped parts -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("dataset", "model", "schedule"), COMPOSED)
def test_every_model_data_set_and_schedule_compose(dataset, model, schedule, write):
    names = [*parts(dataset, model, schedule), "_base_/runtime/default"]
    recipe = load_recipe([write("mine.yml", {"base": names, "experiment": {"name": "mine"}})])
    data, one, rates = (yaml.safe_load((CONFIGS / f"{name}.yml").read_text()) for name in names[:3])
    assert recipe.data.classes == data["data"]["classes"]
    stated = [node[key] for _, node in walk_nodes(recipe.model) for key in CLASSES if key in node]
    assert {*stated, recipe.callbacks["mean_iou"]["classes"]} == {recipe.data.classes}
    assert stated
    assert list(recipe.protocol.crop) == recipe.augmentation["steps"]["crop"]["size"] == data["data"]["crop"]
    assert recipe.protocol.base_size == data["protocol"]["base_size"]
    assert recipe.protocol.name == "semseg-ss"
    assert recipe.criterion["ignore_index"] == recipe.data.ignore_index
    assert recipe.model.items() >= {k: v for k, v in one["model"].items() if "${data.classes}" not in str(v)}.items()
    assert (recipe.experiment.epochs, recipe.experiment.iterations, recipe.sampling.batch_size) == (
        rates["experiment"].get("epochs"),
        rates["experiment"].get("iterations"),
        rates["sampling"]["batch_size"],
    )
    assert [node["base_lr"] for node in recipe.callbacks.values() if "base_lr" in node] == [recipe.optimizer["lr"]]
    assert recipe.experiment.logdir == "exp/mine"


def test_what_there_is_to_compose():
    assert set(DATASETS) >= {"cityscapes", "camvid", "toy_city"}
    assert set(MODELS) >= {"pspnet50", "pspnet101", "psanet50", "psanet101", "pspnet18_narrow"}
    assert set(SCHEDULES) >= {"poly_200e", "poly_100e"}


@pytest.mark.parametrize("name", RECIPES)
def test_all_recipes_run_their_callbacks_in_one_order(name):
    """Callbacks of equal order run as the recipe lists them, so the order of `base:` is part of the numbers."""
    found = list(load_recipe([name]).callbacks)
    schedule = "lr_schedule" if "lr_schedule" in found else "poly_lr"
    official = ["sync_bn", "aux_loss", "gradient_step", schedule, "mean_iou", "checkpoint", "iteration_log"]
    assert found == [*official, "epoch_log", "progress", "watch", "determinism"]


def test_camvid_undoes_nothing_of_another_recipe():
    sources = read_with_base(CONFIGS / "camvid" / "pspnet50.yml", "camvid/pspnet50")
    assert [source.name for source in sources if not source.name.startswith("_base_/")] == ["camvid/pspnet50"]
    for section in ("experiment", "data", "model", "optimizer", "callbacks", "protocol"):
        keys = [key for source in sources for key in source.content.get(section, {})]
        assert len(keys) == len(set(keys)), f"{section}: a key is written twice"


@pytest.mark.parametrize("name", [*RECIPES, *shipped_parts()])
def test_shipped_files_fit_on_a_screen(name):
    assert len((CONFIGS / name).read_text().splitlines()) <= 60


# -- parts are no recipes --------------------------------------------------------------------------------------------
def test_parts_are_not_offered_as_recipes():
    assert not [name for name in shipped_configs() if name.startswith("_base_")]
    assert not [name for name in complete_recipe(None, None, "") if name.startswith("_base_")]
    assert {f"{name}.yml" for name in parts("camvid", "pspnet50", "poly_100e")} <= set(shipped_parts())
    assert "_base_/" not in message("nothing/like_it")


def test_a_part_alone_says_what_is_missing(capsys):
    assert catalyst_dl("run", "--config", "_base_/models/pspnet50") == 2
    error = capsys.readouterr().err
    found = "catalyst-dl: error: _base_/models/pspnet50: a part of a recipe, to be named under `base:`; missing: "
    missing_keys = "experiment, data, sampling, augmentation, optimizer, protocol"
    assert error == f"{found}{missing_keys}. Give a whole recipe, e.g. cityscapes/pspnet50\n"


@pytest.mark.parametrize("name", shipped_parts())
def test_no_part_is_a_recipe(name):
    found = message(name)
    assert found.startswith(f"{name}: a part of a recipe, to be named under `base:`; missing: ")
    assert set(found.split("missing: ")[1].split(". ")[0].split(", ")) < set(WHOLE.split(", "))


def test_all_parts_together_are_one():
    names = [*parts("toy_city", "pspnet50", "poly_12e_batch4"), "_base_/runtime/default"]
    assert message(*names) == "_base_/runtime/default: experiment.logdir: Interpolation key 'experiment.name' not found"
    assert load_recipe(names, ["experiment.name=x"]).experiment.logdir == "exp/x"


# -- docs/recipes.md -------------------------------------------------------------------------------------------------
def test_the_page_s_recipe_loads_and_its_error_is_what_is_printed(write):
    page = (PROJECT / "docs" / "recipes.md").read_text()
    recipe = page.split("```yaml\n# mine.yml\n")[1].split("```")[0]
    loaded = load_recipe([write("mine.yml", recipe)])
    assert (loaded.optimizer["lr"], loaded.optimizer["momentum"], loaded.model["layers"]) == (0.02, 0.9, 101)
    refusal = message(write("mine.yml", recipe.replace("models/pspnet101", "models/pspnet10")))
    assert f"catalyst-dl: error: {refusal}" in " ".join(page.split())
    assert f"At most {MAX_LAYERS} files" in page


def test_a_file_beside_without_its_ending_is_named(tmp_path):
    (tmp_path / "ok.yml").write_text("base: toy/pspnet50\n")
    (tmp_path / "top.yml").write_text("base: ok\n")
    with pytest.raises(InputError, match=r"no such file .*/ok; did you mean 'ok\.yml'\?"):
        load_recipe([tmp_path / "top.yml"])
