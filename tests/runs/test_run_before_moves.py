"""A run of the version before components moved, with their old names: it resumes, is scored and is the same training.

`goldens/run_before_moves` is the recipe and the checkpoint after the first of two epochs, of a narrow network on the
toy city of the tests.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from catalyst_cityscapes.recipe.changes import check_changes
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.renamed import RENAMED, current_name, with_current_names
from catalyst_cityscapes.recipe.nodes.targets import resolve_target
from catalyst_cityscapes.recipe.places import RENAMED_CONFIGS, shipped_configs
from semseg_ref.base.checkpoints.reading import read_checkpoint
from support.command_line import catalyst_dl
from support.places import GOLDENS

OLD_RUN = GOLDENS / "run_before_moves"
OLD_NAMES = ("catalyst_cityscapes.optimization.DecoupledSGD", "catalyst_cityscapes.optimization.no_bias_decay_groups")


@pytest.fixture
def old_run(workdir, toy_city) -> Path:
    shutil.copytree(OLD_RUN, workdir / "run")
    (workdir / "toy_city").symlink_to(toy_city)
    return workdir / "run"


def test_it_holds_old_names():
    text = (OLD_RUN / "recipe.yml").read_text()
    held = read_checkpoint(OLD_RUN / "model" / "train_epoch_1.pth")["recipe"]
    assert all(name in text and name in json.dumps(held) for name in OLD_NAMES)


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_stands_for_what_has_moved(old):
    new = current_name(f"{old}.Something")
    assert new == f"{RENAMED[old]}.Something"
    assert current_name(new) == new
    assert current_name(f"{old}s.Something") == f"{old}s.Something"


def test_targets_resolve_under_both_names():
    callbacks, augmentation = "catalyst_cityscapes.callbacks", "catalyst_cityscapes.data.augmentation"
    others = (
        "catalyst_cityscapes.engine.SegmentationEngine",
        f"{callbacks}.DeterminismLedger",
        f"{callbacks}.determinism.DeterminismLedger",
        f"{callbacks}.Watch",
        f"{callbacks}.watch.Watch",
        f"{augmentation}.earlier_attempt.ShiftScaleRotate",
    )
    for name in (*OLD_NAMES, *others):
        assert resolve_target(name) is resolve_target(current_name(name))


def test_names_are_current_at_any_depth():
    node = {"_target_": OLD_NAMES[0], "groups": [{"_target_": OLD_NAMES[1]}, {"name": OLD_NAMES[1]}]}
    assert with_current_names(node) == {
        "_target_": "catalyst_cityscapes.optim.DecoupledSGD",
        "groups": [{"_target_": "catalyst_cityscapes.optim.no_bias_decay_groups"}, {"name": OLD_NAMES[1]}],
    }


def test_the_recipe_is_the_one_under_new_names(tmp_path):
    content = yaml.safe_load((OLD_RUN / "recipe.yml").read_text())
    (tmp_path / "new.yml").write_text(yaml.safe_dump(with_current_names(content)))
    old, new = load_recipe([OLD_RUN / "recipe.yml"]), load_recipe([tmp_path / "new.yml"])
    assert old == new
    assert not any(name in json.dumps(old.model_dump(mode="json")) for name in OLD_NAMES)
    assert check_changes(old.model_dump(mode="json"), new.model_dump(mode="json"), "x.pth") == []


@pytest.mark.usefixtures("one_thread")
def test_it_resumes_without_a_word_of_another_recipe_and_is_scored(old_run, capsys):
    assert catalyst_dl("run", "--config", "run/recipe.yml", "--resume", "auto") == 0
    said = capsys.readouterr().err
    assert "recipe" not in said
    assert "code was" in said  # the versions differ, and that is reported
    content = read_checkpoint(old_run / "model" / "last.pth")
    assert content["epoch"] == 2
    assert not any(name in json.dumps(content["recipe"]) for name in OLD_NAMES)
    with open(old_run / "iterations.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "1"]  # counted from 0
    assert catalyst_dl("test", "--run", "run", "--device", "cpu") == 0
    assert len(list(old_run.rglob("score.json"))) == 1


@pytest.mark.usefixtures("one_thread")
def test_the_rest_of_the_training_is_the_same_under_new_names(old_run, workdir):
    shutil.copytree(old_run, workdir / "new")
    content = with_current_names(yaml.safe_load((old_run / "recipe.yml").read_text()))
    (workdir / "new" / "recipe.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    for name in ("run", "new"):
        arguments = ["--config", f"{name}/recipe.yml", "--set", f"experiment.logdir={name}", "--resume", "auto"]
        assert catalyst_dl("run", *arguments) == 0
    logs = [(workdir / name / "iterations.csv").read_bytes() for name in ("run", "new")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("old", RENAMED_CONFIGS)
def test_old_names_of_shipped_configs_are_known(old, tmp_path):
    for name in (old, f"{old}.yml"):
        assert load_recipe(["toy/pspnet18", name]) == load_recipe(["toy/pspnet18", RENAMED_CONFIGS[old]])
    (tmp_path / "mine.yml").write_text(f"base: [toy/pspnet18, {old}]\n")
    assert load_recipe([tmp_path / "mine.yml"]) == load_recipe(["toy/pspnet18", RENAMED_CONFIGS[old]])
    assert f"{old}.yml" not in shipped_configs()
