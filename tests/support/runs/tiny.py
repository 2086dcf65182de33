"""Trainings of `TinyLogits` on a toy city, validated after each epoch, for tests of scoring and of the lab."""

import csv
from collections.abc import Sequence
from pathlib import Path

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.runs.folder import to_yaml
from support.runs.toy import CONFIG, SMALL_PACKAGE, toy_settings, train_catalyst

TINY = (
    "model._target_=support.networks.small.TinyLogits", "model.classes=19", "callbacks.sync_bn=null",
    "experiment.epochs=1", "optimizer.lr=0.001", "protocol.base_size=128", "validation.every=1",
)  # fmt: skip
VAL_IMAGES = 5


def settings_of(city: Path, *settings: str) -> list[str]:
    """`--set` values of one epoch on a toy city; later ones win."""
    return toy_settings(city, *TINY, *settings)


def recipe_of(city: Path, *settings: str, configs: Sequence[str] = (CONFIG,)) -> Recipe:
    """Their recipe."""
    return load_recipe(configs, settings_of(city, *settings), (SMALL_PACKAGE,))


def train(recipe: Recipe) -> dict[str, float]:
    """Trains, as `catalyst-dl run` does, and returns the last epoch's validation metrics as they are in the log."""
    Path("run").mkdir(exist_ok=True)
    Path("run/recipe.yml").write_text(to_yaml(recipe))
    train_catalyst(recipe)
    return logged()


def logged() -> dict[str, float]:
    """The last epoch's validation metrics in `run`."""
    with open("run/metrics.csv") as file:
        return {row["metric"]: float(row["value"]) for row in csv.DictReader(file) if row["loader"] == "valid"}
