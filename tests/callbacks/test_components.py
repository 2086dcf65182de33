"""Every training component, by the table in `component_settings.py`: trains, resumes, serialises, swaps, has a card."""

import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from catalyst_cityscapes import callbacks
from catalyst_cityscapes.recipe.loading import CONFIGS, load_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from support.component_settings import COMPONENTS, ComponentSetting
from support.places import PROJECT, TESTS
from support.runs.toy import SMALL_PACKAGE, assert_same_checkpoints, remove_checkpoints, toy_settings, train_catalyst

CARDS = PROJECT / "docs" / "components"
HEADINGS = [
    "What it does",
    "Official value",
    "What the 2020 Catalyst attempt did",
    "How to swap",
    "What it keeps",
    "What is known of its effect",
]
PLAIN = (type(None), bool, int, float, str, torch.Tensor)

pytestmark = pytest.mark.usefixtures("one_thread_module")
# A row without settings of its own trains the real network.
every_component = pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.name, marks=() if row.settings else pytest.mark.slow) for row in COMPONENTS],
)


def recipe_of(row: ComponentSetting, city: Path, folder: Path, with_overlay: bool = True) -> Recipe:
    """The toy recipe of a row, with its overlay or without."""
    files = ["toy/pspnet50"]
    if with_overlay:
        files.append(str(folder / "overlay.yml"))
        Path(files[-1]).write_text(yaml.safe_dump(row.overlay))
    settings = toy_settings(city, *row.settings)
    # The overlay comes last, also where the toy's settings name one of its keys.
    (folder / "settings.yml").write_text(yaml.safe_dump(nested(settings)))
    return load_recipe(
        [files[0], str(folder / "settings.yml"), *files[1:]], [f"experiment.logdir={folder}/run"], (SMALL_PACKAGE,)
    )


def nested(settings: list[str]) -> dict:
    """`a.b=1` settings as a nested mapping."""
    result: dict = {}
    for setting in settings:
        path, value = setting.split("=", 1)
        *sections, key = path.split(".")
        node = result
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = yaml.safe_load(value)
    return result


def flat(value: object, path: str = "") -> dict[str, object]:
    """Nested mappings as {dotted path: value}."""
    if not isinstance(value, dict):
        return {path: value}
    return {
        key: leaf for name, inner in value.items() for key, leaf in flat(inner, f"{path}.{name}".strip(".")).items()
    }


def is_plain(value: object) -> bool:
    """Whether a value is made of tensors and plain types only."""
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_plain(inner) for inner in value)
    return type(value) in PLAIN


@pytest.fixture(scope="module")
def baseline(toy_city, tmp_path_factory):
    """Gives the last checkpoint of the toy recipe without an overlay, for the settings of a row."""
    made: dict[tuple[str, ...], Path] = {}

    def _baseline(row: ComponentSetting) -> Path:
        if row.settings not in made:
            folder = tmp_path_factory.mktemp("baseline")
            train_catalyst(recipe_of(row, toy_city, folder, with_overlay=False))
            made[row.settings] = folder / "run" / "model" / "train_epoch_2.pth"
        return made[row.settings]

    yield _baseline
    for path in made.values():
        remove_checkpoints(path.parent)


@every_component
def test_a_component_trains_resumes_and_serialises(row, toy_city, workdir, baseline, bf16_on_any_cpu):
    recipe = recipe_of(row, toy_city, workdir)
    runner = train_catalyst(recipe)
    folder = workdir / "run"
    last = folder / "model" / "train_epoch_2.pth"

    # trains: two epochs of steps with finite losses, and weights that the claim allows
    assert runner.optimizer_steps == 2 * runner.steps_per_epoch >= 2
    losses = [row.split(",")[-1] for row in (folder / "iterations.csv").read_text().splitlines()[1:]]
    assert len(losses) == 2 * runner.train_batches
    assert all(math.isfinite(float(loss)) for loss in losses)
    content = read_checkpoint(last)
    assert all(torch.isfinite(value).all() for value in content["state_dict"].values())
    if row.claim == "bitwise":
        assert_same_checkpoints(last, baseline(row))
    elif row.settings:
        expected = read_checkpoint(baseline(row))["state_dict"]
        assert any(
            key not in expected or not torch.equal(value, expected[key]) for key, value in content["state_dict"].items()
        )

    # serialises: read back without running code, of plain types only
    assert is_plain(content)
    assert Recipe.model_validate(content["recipe"]) == recipe

    # resumes: one epoch and one more are two
    if row.resumes:
        first = folder / "model" / "train_epoch_1.pth"
        again = recipe.model_copy(update={"experiment": recipe.experiment.model_copy(update={"logdir": "again"})})
        shutil.copytree(folder, "again", ignore=shutil.ignore_patterns("model"))
        train_catalyst(again, resume=first)
        assert_same_checkpoints(Path("again/model/train_epoch_2.pth"), last)
        resumed = read_checkpoint("again/model/train_epoch_2.pth")
        assert resumed["callbacks"] == content["callbacks"]
        assert Path("again/iterations.csv").read_text() == (folder / "iterations.csv").read_text()


@every_component
def test_a_swap_changes_the_named_node_only(row, toy_city, workdir):
    plain, swapped = (flat(recipe_of(row, toy_city, workdir, with_overlay).plain()) for with_overlay in (False, True))
    changed = {key for key in plain.keys() | swapped.keys() if plain.get(key, "absent") != swapped.get(key, "absent")}
    assert changed
    below = tuple(f"{path}." for path in row.changes)
    assert {key for key in changed if key not in row.changes and not key.startswith(below)} == set()


def test_early_stopping_stops(toy_city, workdir):
    row = next(row for row in COMPONENTS if row.name == "early_stopping")
    overlay = {**row.overlay, "experiment": {"epochs": 6}}
    overlay["callbacks"] = {
        "early_stopping": {**row.overlay["callbacks"]["early_stopping"], "patience": 2, "min_delta": 1.0}
    }
    stopping = ComponentSetting("stops", row.card, overlay, (), "recipe")
    recipe = recipe_of(stopping, toy_city, workdir)
    # The first epoch is the best, and no later one gains a whole point of mIoU.
    assert train_catalyst(recipe).epoch_step == 3
    files = sorted(path.name for path in (workdir / "run" / "model").glob("train_*"))
    assert files == ["train_epoch_2.pth", "train_epoch_3.pth"]
    # A resumed training counts on: it stops at the same epoch.
    assert train_catalyst(recipe, workdir / "run" / "model" / "train_epoch_2.pth").epoch_step == 3


# -- the table and the cards ---------------------------------------------------------------------------------------
def test_every_component_class_and_swap_has_a_row():
    shown = yaml.safe_dump([row.overlay for row in COMPONENTS])
    recipe = yaml.safe_dump(load_recipe(["toy/pspnet50"]).callbacks)
    for name in callbacks.__all__:
        assert f"{name}\n" in shown + recipe, name
    rows = {row.name.removeprefix("swap/") for row in COMPONENTS if row.name.startswith("swap/")}
    shipped = {path.stem for path in (CONFIGS / "swap").glob("*.yml")}
    # These need a GPU, are too large for a unit test (the table has the same network with a smaller encoder), or have
    # tests of their own (test_torchvision_stem.py).
    assert shipped - rows == {"model_smp", "precision", "stem_torchvision"}


@pytest.mark.parametrize("card", sorted({row.card for row in COMPONENTS} - {"README"}))
def test_a_card_has_the_fixed_headings_and_names_files_that_exist(card):
    text = (CARDS / f"{card}.md").read_text()
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == HEADINGS
    for name in re.findall(r"`swap/([\w.]+)`", text):
        assert (CONFIGS / "swap" / f"{name.removesuffix('.yml')}.yml").is_file(), name
    for name in re.findall(r"tests/([\w/]+\.py)", text):
        assert (TESTS / name).is_file(), name
    assert f"({card}.md)" in (CARDS / "README.md").read_text()


def test_every_swap_is_in_a_card():
    text = "".join(path.read_text() for path in CARDS.glob("*.md"))
    for path in (CONFIGS / "swap").glob("*.yml"):
        assert f"`swap/{path.stem}`" in text, path.stem
