"""The normal form of recipes: recipes of one form train the same bits."""

from pathlib import Path

import pytest

from catalyst_cityscapes.lab.ladder.components import differences_of
from catalyst_cityscapes.lab.ladder.normal_form import differing_keys, fingerprint, normal_form
from catalyst_cityscapes.recipe.key_roles import may_resume
from catalyst_cityscapes.recipe.loading import CONFIGS, load_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from support.runs.toy import SMALL, SMALL_PACKAGE, assert_same_checkpoints, toy_settings, train_catalyst

pytestmark = pytest.mark.usefixtures("one_thread_module")
WEIGHTS = ("epoch", "state_dict")
SAME = {"validation_metric"}
"""Shipped overlays that change no number."""


def small(city: Path, *files: str, settings: tuple[str, ...] = (), logdir: str = "run") -> Recipe:
    content = toy_settings(city, *SMALL, *settings, f"experiment.logdir={logdir}")
    return load_recipe(["toy/pspnet50", *files], content, (SMALL_PACKAGE,))


def trained(recipe: Recipe) -> Path:
    train_catalyst(recipe)
    return Path(recipe.experiment.logdir) / "model" / "last.pth"


def test_the_earlier_attempt_in_its_own_and_in_the_canonical_spelling(toy_city: Path, workdir: Path) -> None:
    epochs = ("experiment.epochs=3", "sampling.batch_size=2")
    start, goal = (small(toy_city, *files, settings=epochs) for files in ((), ("swap/catalyst_2020",)))
    found = differences_of(start, goal, (SMALL_PACKAGE,))
    again = found.recipe([component.name for component in found.components])
    ours, theirs = goal.optimizer, again.optimizer
    assert (ours["groups"]["head_multiplier"], theirs["groups"]["head_multiplier"]) == (10, 1)
    assert "momentum_cycle" in again.callbacks
    assert "momentum_cycle" not in goal.callbacks
    assert fingerprint(again, (SMALL_PACKAGE,)) == fingerprint(goal, (SMALL_PACKAGE,))
    settled = again.model_copy(update={"experiment": again.experiment.model_copy(update={"logdir": "again"})})
    assert_same_checkpoints(trained(goal), trained(settled), WEIGHTS)


def test_values_that_the_schedule_overwrites_change_nothing(toy_city: Path, workdir: Path) -> None:
    recipes = [
        small(toy_city, "swap/schedule", "swap/momentum", settings=(f"optimizer.lr={lr}", f"optimizer.momentum={m}"))
        for lr, m in ((0.01, 0.9), (0.3, 0.0))
    ]
    assert fingerprint(recipes[0], (SMALL_PACKAGE,)) == fingerprint(recipes[1], (SMALL_PACKAGE,))
    moved = recipes[1].model_copy(update={"experiment": recipes[1].experiment.model_copy(update={"logdir": "other"})})
    assert_same_checkpoints(trained(recipes[0]), trained(moved), WEIGHTS)


def test_idle_validation_changes_nothing(toy_city: Path, workdir: Path) -> None:
    plain = small(toy_city)
    validated = small(
        toy_city,
        "swap/validation_metric",
        settings=("callbacks.checkpoint.metric=batch_mIoU", "validation.protocol=test"),
        logdir="validated",
    )
    assert fingerprint(plain, (SMALL_PACKAGE,)) == fingerprint(validated, (SMALL_PACKAGE,))
    assert_same_checkpoints(trained(plain), trained(validated), WEIGHTS)


def test_each_swap_is_another_recipe_but_those_that_change_no_number() -> None:
    base = load_recipe(["cityscapes/pspnet50"])
    for path in sorted((CONFIGS / "swap").glob("*.yml")):
        other = load_recipe(["cityscapes/pspnet50", f"swap/{path.stem}"])
        assert (fingerprint(base) == fingerprint(other)) == (path.stem in SAME), path.stem
        assert bool(differing_keys(normal_form(base), normal_form(other))) != (path.stem in SAME)


@pytest.mark.parametrize(
    "settings",
    [
        ("callbacks.checkpoint.select=best", "callbacks.checkpoint.metric=loss"),
        ("callbacks.early_stopping._target_=catalyst_cityscapes.callbacks.EarlyStopping", "validation.every=1"),
        ("sampling.seed_stream=reference",),
        ("optimizer.momentum=0.5",),
        ("optimizer.lr=0.02", "callbacks.poly_lr.base_lr=0.01"),
        ("callbacks.poly_lr.base_lr=0.02",),
    ],
)
def test_what_matters_is_kept(settings: tuple[str, ...]) -> None:
    base = load_recipe(["cityscapes/pspnet50"])
    assert fingerprint(base) != fingerprint(load_recipe(["cityscapes/pspnet50"], settings))


def test_validation_matters_where_it_decides() -> None:
    files = ["cityscapes/pspnet50", "swap/model_selection"]
    selected = fingerprint(load_recipe(files))
    assert selected != fingerprint(load_recipe(files, ["validation.every=2"]))
    assert selected != fingerprint(load_recipe(files, ["validation.protocol=test"]))
    assert selected == fingerprint(load_recipe([*files, "swap/validation_metric"]))
    by_metric = load_recipe([*files, "swap/validation_metric"], ["callbacks.checkpoint.metric=batch_mIoU"])
    assert ("callbacks", "batch_mean_iou", "_target_") in normal_form(by_metric)


def test_numbers_are_compared_as_numbers() -> None:
    base = load_recipe(["cityscapes/pspnet50"])
    same = load_recipe(["cityscapes/pspnet50"], ["optimizer.groups.head_multiplier=10.0"])
    assert fingerprint(base) == fingerprint(same)


def test_computing_the_crop_alone_is_no_other_recipe() -> None:
    files = ["toy/pspnet50", "swap/augmentation/mmseg"]
    part, whole = (load_recipe(files, [f"augmentation.crop_first={asked}"]) for asked in ("true", "false"))
    official = load_recipe(files[:1])
    assert fingerprint(part) == fingerprint(whole)
    assert differences_of(whole, part).components == ()
    assert differences_of(official, part).components == differences_of(official, whole).components
    path = ("augmentation", "crop_first")
    assert may_resume(path, part.plain(), whole.plain()) is True
    assert not may_resume(("augmentation", "order"), part.plain(), whole.plain())
