"""Trainings of the tiny network on a toy city, for tests of scoring."""

import csv
from pathlib import Path

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.runs.folder import to_yaml
from catalyst_cityscapes.train.engine import close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner

TINY = ("model._target_=support.networks.tiny.TinyLogits", "model.classes=19", "callbacks.sync_bn=null")
VAL_IMAGES = 5


def settings_of(city, *settings):
    return [
        *TINY,
        f"data.root={city}",
        "data.crop=[33,33]",
        "experiment.epochs=1",
        "experiment.logdir=run",
        "sampling.batch_size=2",
        "sampling.workers=0",
        "engine.device=cpu",
        "optimizer.lr=0.001",
        "protocol.base_size=128",
        "validation.every=1",
        *settings,
    ]


def recipe_of(city, *settings, configs=("toy/pspnet50",)):
    return load_recipe(configs, settings_of(city, *settings), ("support",))


def train(recipe) -> dict[str, float]:
    """Trains, as `catalyst-dl run` does, and returns the last epoch's validation metrics as they are in the log."""
    Path("run").mkdir(exist_ok=True)
    Path("run/recipe.yml").write_text(to_yaml(recipe))
    runner = SegmentationRunner(recipe)
    try:
        runner.run()
    finally:
        close_processes()
    return logged()


def logged() -> dict[str, float]:
    with open("run/metrics.csv") as file:
        return {row["metric"]: float(row["value"]) for row in csv.DictReader(file) if row["loader"] == "valid"}
