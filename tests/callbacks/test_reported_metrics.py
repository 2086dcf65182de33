"""What callbacks say they will report is what a run logs, so a wrong metric is noticed before the first step."""

import csv
from pathlib import Path

import pytest

from catalyst_cityscapes.train.engine import close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner
from semseg_ref.base.errors import InputError
from support.runs.tiny import recipe_of, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("configs", [("toy/pspnet50",), ("toy/pspnet50", "swap/validation_metric")])
def test_reported_names_are_the_logged_ones(toy_city, workdir, configs):
    recipe = recipe_of(toy_city, configs=configs)
    runner = SegmentationRunner(recipe)
    callbacks = [callback for callback in runner.get_callbacks().values() if hasattr(callback, "reported")]
    assert callbacks
    train(recipe)
    with open("run/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    for loader in ("train", "valid"):
        logged = {row["metric"] for row in rows if row["loader"] == loader}
        reported = {name for callback in callbacks for name in callback.reported(loader == "train")}
        assert reported <= logged
        # What Catalyst logs by itself, of the optimiser, is no score of a checkpoint.
        assert not {name for name in logged - reported if not name.startswith(("lr", "momentum"))}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("callbacks.checkpoint.metric=miou",), "callbacks.checkpoint.metric: loader 'valid' has no metric 'miou'"),
        (("callbacks.checkpoint.metric=mIoU", "callbacks.checkpoint.loader=val"), "no loader 'val'"),
        (
            ("callbacks.checkpoint.metric=mIoU", "callbacks.checkpoint.select=best", "validation.every=0"),
            "callbacks.checkpoint.select: best needs loader 'valid'",
        ),
    ],
)
def test_a_wrong_metric_costs_no_step(toy_city, workdir, settings, message):
    runner = SegmentationRunner(recipe_of(toy_city, *settings))
    try:
        with pytest.raises(InputError, match=r"callbacks\.checkpoint") as caught:
            runner.run()
    finally:
        close_processes()
    assert message in str(caught.value)
    assert not Path("run").exists()
