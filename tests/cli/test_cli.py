"""`catalyst-dl`: what a person types, sees and finds on disk."""

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import Result

from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.files import file_sha256
from semseg_ref.metric import areas_from_matrix, scores_from_areas
from support.command_line import child_environment, console_command, dl
from support.component_settings import SWAPS_AND_THE_CONTROL_ARM
from support.places import PROJECT
from support.runs.toy import SMALL, SMALL_PACKAGE, remove_checkpoints, toy_recipe, toy_settings

OFFICIAL = PROJECT / "tool" / "official" / "cityscapes"
# One window over a whole image of the toy city.
ONE_WINDOW = ("protocol.crop=[65, 97]", "protocol.base_size=96")


def train(city: Path, *settings: str) -> Result:
    """Trains the small network for two epochs in the working directory."""
    return dl(
        "run",
        "--config",
        "toy/pspnet50",
        "--set",
        *toy_settings(city, *SMALL, *ONE_WINDOW, *settings),
        "--trust",
        SMALL_PACKAGE,
    )


@pytest.fixture(scope="module")
def runs(toy_city, tmp_path_factory):
    """Folder with two runs below `exp/`, `first` and `second`; the latter is the newer, and validated."""
    folder = tmp_path_factory.mktemp("runs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name, more in (("first", ()), ("second", ("experiment.epochs=3", "validation.every=2"))):
            result = train(toy_city, f"experiment.name={name}", f"experiment.logdir=exp/{name}", *more)
            assert result.exit_code == 0, result.output
    finally:
        os.chdir(before)
    yield folder
    remove_checkpoints(folder)


@pytest.fixture
def in_runs(runs, monkeypatch):
    """The `runs` folder as working directory."""
    monkeypatch.chdir(runs)
    return runs


# -- arguments -----------------------------------------------------------------------------------------------------
def test_help_texts():
    result = dl("--help")
    assert result.exit_code == 0
    assert {"run", "test"} <= {line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")}
    for command, options in {
        "run": ("--config", "--set", "--trust", "--resume", "--overwrite", "--control", "--show"),
        "test": ("--config", "--set", "--trust", "--run", "--checkpoint", "--output", "--device", "--limit"),
    }.items():
        result = dl(command, "-h")
        assert result.exit_code == 0
        assert all(option in result.stdout for option in options)
    assert dl("--version").stdout.startswith("catalyst-dl, version ")
    assert "Usage:" in dl().output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("rnu",), "no command 'rnu'; did you mean 'run'?"),
        (("--powr",), "No such option '--powr'. (--help shows the usage)"),
        (("run", "--overwrit"), "No such option '--overwrit'. Did you mean '--overwrite'? (--help shows the usage)"),
        (("run", "--config"), "Option '--config' requires an argument. (--help shows the usage)"),
        (("run",), "no recipe: give --config FILE, e.g. --config toy/pspnet50"),
        (("run", "toy/pspnet50"), "toy/pspnet50: what is this? Recipe files follow --config"),
        (("run", "--config", "toy/pspnet5"), "toy/pspnet5: no such config"),
        (("run", "--config", "toy/pspnet50", "optimizer.lr=x"), "--set: optimizer.lr"),
        (("run", "--config", "toy/pspnet50", "--resume", "no.pth"), "--resume no.pth: no such checkpoint"),
        (("test", "--limit", "0"), "Invalid value for '--limit': 0 is not in the range x>=1."),
        (("test", "--config", "toy/pspnet50"), "--checkpoint FILE is missing; it goes with --config"),
        (("test", "--config", "toy/pspnet50", "--run", "x"), "--run and --config: give one of them"),
        (("test", "--run", "nowhere"), "nowhere: no such run"),
        (
            ("test", "--config", "toy/pspnet50", "--checkpoint", "no.pth"),
            "dataset/toy_city/list/fine_val.txt: no such list",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_arguments_are_one_line(arguments, expected, workdir):
    result = dl(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"catalyst-dl: error: {expected}")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert list(workdir.iterdir()) == []


def test_no_run_to_test(workdir):
    result = dl("test")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"catalyst-dl: error: {workdir / 'exp'}: no run with a checkpoint below it")


def test_configs_and_settings_may_follow_in_any_order(workdir):
    shown = [
        dl(
            "run",
            "--show",
            "--config",
            "toy/pspnet50",
            "swap/head_lr",
            "--set",
            "experiment.epochs=3",
            "optimizer.lr=0.5",
        ),
        dl(
            "run",
            "-C",
            "toy/pspnet50",
            "-C",
            "swap/head_lr",
            "--set",
            "experiment.epochs=3",
            "--set",
            "optimizer.lr=0.5",
            "--show",
        ),
        dl("run", "--config", "toy/pspnet50", "swap/head_lr", "experiment.epochs=3", "optimizer.lr=0.5", "--show"),
    ]
    assert [result.exit_code for result in shown] == [0, 0, 0]
    assert shown[0].stdout == shown[1].stdout == shown[2].stdout
    recipe = yaml.safe_load(shown[0].stdout)
    assert (recipe["experiment"]["epochs"], recipe["optimizer"]["lr"]) == (3, 0.5)
    assert recipe["optimizer"]["groups"]["head_multiplier"] == 1


# -- showing -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["cityscapes/psanet101", "toy/pspnet50", "camvid/pspnet50"])
def test_show_prints_a_recipe_that_loads_to_the_same(name, workdir):
    Path("shown.yml").write_text(dl("run", "--config", name, "--show").stdout)
    assert load_recipe(["shown.yml"]) == load_recipe([name])
    assert dl("run", "--config", "shown.yml", "--show").stdout == Path("shown.yml").read_text()


def test_an_official_config_is_shown_as_a_recipe(workdir):
    path = OFFICIAL / "cityscapes_pspnet50.yaml"
    result = dl("run", "--config", path, "--show", "--set", "TRAIN.base_lr=0.02", "epochs=7")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"# {path} as a recipe:\n")
    recipe = yaml.safe_load(result.stdout)
    assert (recipe["optimizer"]["lr"], recipe["experiment"]["epochs"]) == (0.02, 7)
    assert recipe["callbacks"]["poly_lr"]["base_lr"] == 0.02
    Path("shown.yml").write_text(result.stdout)
    assert load_recipe(["shown.yml"]).optimizer["lr"] == 0.02
    result = dl("run", "--config", path, "--show", "--set", "base_lrr=0.02")
    assert result.exit_code == 2
    assert "unknown option 'base_lrr'; did you mean 'base_lr'?" in result.stderr
    result = dl("run", "--config", path, "swap/head_lr", "--show")
    assert "an official config takes no overlays" in result.stderr


# -- the control arm -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("swap", sorted(n for n, key in SWAPS_AND_THE_CONTROL_ARM.items() if key is not None))
def test_control_refuses_by_name_what_it_cannot_express(swap, toy_city, workdir):
    result = dl("run", "--control", "--config", "toy/pspnet50", f"swap/{swap}", "--set", *toy_settings(toy_city))
    assert result.exit_code == 2
    key = SWAPS_AND_THE_CONTROL_ARM[swap]
    assert result.stderr.startswith(f"catalyst-dl: error: --control: the control arm cannot express {key}")
    assert list(workdir.iterdir()) == []


# -- running -------------------------------------------------------------------------------------------------------
def test_a_run_folder_holds_what_was_run(runs, toy_city):
    folder = runs / "exp" / "first"
    recipe = load_recipe([folder / "recipe.yml"], trusted=[SMALL_PACKAGE])
    assert recipe == toy_recipe(toy_city, *SMALL, *ONE_WINDOW, "experiment.name=first", "experiment.logdir=exp/first")
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["seed"] == 0
    assert environment["resumed_from"] is None
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert environment["world_size"] == 1
    assert sorted(p.name for p in (folder / "model").iterdir()) == [
        "last.pth",
        "train_epoch_1.pth",
        "train_epoch_2.pth",
    ]
    assert (folder / "model" / "last.pth").samefile(folder / "model" / "train_epoch_2.pth")
    assert len((folder / "iterations.csv").read_text().splitlines()) == 1 + 2 * 2
    assert list((folder / "tensorboard" / "train").iterdir())


def test_validation_runs_every_so_many_epochs_and_after_the_last(runs):
    rows = [line.split(",") for line in (runs / "exp" / "second" / "metrics.csv").read_text().splitlines()]
    assert rows[0] == ["epoch", "loader", "metric", "value"]
    assert {(int(epoch), loader) for epoch, loader, _, _ in rows[1:]} == {
        (1, "train"),
        (2, "train"),
        (2, "valid"),
        (3, "train"),
        (3, "valid"),
    }
    valid = {metric: float(value) for epoch, loader, metric, value in rows[1:] if (epoch, loader) == ("2", "valid")}
    assert {"loss", "main_loss", "mIoU", "mAcc", "allAcc", "iou/road"} <= valid.keys()
    assert "aux_loss" not in valid
    assert valid["loss"] == valid["main_loss"] > 0
    names = [metric for metric in valid if metric.startswith("iou/")]
    assert len(names) == 19
    assert valid["mIoU"] == pytest.approx(np.mean([valid[name] for name in names]), abs=1e-12)


def test_a_folder_that_holds_a_run_is_not_overwritten_by_chance(in_runs, toy_city):
    before = file_sha256("exp/first/model/last.pth")
    result = train(toy_city, "experiment.name=first", "experiment.logdir=exp/first")
    assert result.exit_code == 2
    assert "this folder already holds a run; go on with --resume auto, start anew with --overwrite" in result.stderr
    assert file_sha256("exp/first/model/last.pth") == before


def test_overwrite_starts_anew(toy_city, workdir):
    settings = toy_settings(toy_city, *SMALL, "experiment.epochs=1")
    arguments = ["run", "--config", "toy/pspnet50", "--trust", SMALL_PACKAGE, "--set", *settings]
    assert dl(*arguments).exit_code == 0
    (workdir / "run" / "model" / "train_epoch_9.pth").write_bytes(b"of an earlier run")
    assert dl(*arguments, "--overwrite").exit_code == 0
    assert sorted(p.name for p in (workdir / "run" / "model").iterdir()) == ["last.pth", "train_epoch_1.pth"]


def test_resume_auto_goes_on_and_starts_where_there_is_nothing(toy_city, workdir):
    settings = toy_settings(toy_city, *SMALL)
    arguments = ["run", "--config", "toy/pspnet50", "--trust", SMALL_PACKAGE, "--resume", "auto", "--set", *settings]
    first = dl(*arguments, "experiment.epochs=1")
    assert "run: no checkpoint yet, starting anew" in first.stdout
    second = dl(*arguments)
    assert "resuming from run/model/last.pth" in second.stdout
    assert "epoch 2/2" in second.stdout
    assert "epoch 1/2" not in second.stdout
    assert json.loads(Path("run/environment.json").read_text())["resumed_from"] == "run/model/last.pth"


# -- testing -------------------------------------------------------------------------------------------------------
def test_the_newest_run_is_scored(in_runs):
    result = dl("test", "--trust", SMALL_PACKAGE)
    assert result.exit_code == 0, result.output
    recipe = load_recipe(["exp/second/recipe.yml"], trusted=[SMALL_PACKAGE])
    protocol = recipe.protocol.value()
    folder = Path("exp/second/result/epoch_3/val") / f"semseg-ss-{protocol.hash}"
    score = json.loads((folder / "score.json").read_text())
    assert (score["experiment"], score["epoch"], score["limit"], score["images"]) == ("second", 3, None, 3)
    assert score["protocol"]["hash"] == protocol.hash
    assert score["protocol"]["crop"] == [65, 97]
    assert score["checkpoint"] == {
        "path": "exp/second/model/last.pth",
        "sha256": file_sha256("exp/second/model/last.pth"),
    }

    with np.load(folder / score["matrices"]) as arrays:
        matrices, names = arrays["matrices"], list(arrays["images"])
    assert matrices.shape == (3, 19, 19)
    scores = scores_from_areas(*areas_from_matrix(matrices.sum(axis=0)))
    assert (score["mIoU"], score["mAcc"], score["allAcc"]) == (scores.mIoU, scores.mAcc, scores.allAcc)
    assert [row["iou"] for row in score["classes"]] == scores.iou_class.tolist()
    assert sum(row["pixels"] for row in score["classes"]) == matrices.sum() > 0

    assert sorted(names) == sorted(path.name for path in (folder / "gray").iterdir())
    assert sorted(names) == sorted(path.name for path in (folder / "color").iterdir())
    assert f"mIoU/mAcc/allAcc {score['mIoU']:.4f}" in result.stdout
    for name in ("road", "bicycle", "score.json", "comparison.png"):
        assert name in result.stdout

    picture = cv2.imread(str(folder / "comparison.png"))
    height, width = picture.shape[:2]
    assert min(height, width) > 200
    for row in range(3):  # three frames: none of the four columns is one colour
        for column in range(4):
            cell = picture[height * row // 4 : height * (row + 1) // 4, width * column // 4 : width * (column + 1) // 4]
            assert cell.std() > 10


def test_an_older_run_a_limit_and_another_folder(in_runs, tmp_path):
    result = dl(
        "test",
        "--trust",
        SMALL_PACKAGE,
        "--run",
        "exp/first",
        "--limit",
        1,
        "--output",
        tmp_path / "out",
        "--set",
        "protocol.flip=false",
        "expected={mIoU: 0.5, tolerance: 0.1, source: here}",
    )
    assert result.exit_code == 0, result.output
    score = json.loads((tmp_path / "out" / "score.json").read_text())
    assert (score["experiment"], score["limit"], score["images"]) == ("first", 1, 1)
    assert score["protocol"]["flip"] is False
    assert len(list((tmp_path / "out" / "gray").iterdir())) == 1
    assert "published" not in result.stdout  # a part of the images is no comparable score


def test_a_score_is_compared_to_the_published_one(in_runs, tmp_path):
    result = dl(
        "test",
        "--trust",
        SMALL_PACKAGE,
        "--run",
        "exp/first",
        "--output",
        tmp_path,
        "--set",
        "expected={mIoU: 1.0, tolerance: 0.01, source: here}",
    )
    assert "below the published 1.0000 (here)" in result.stdout


def test_a_recipe_and_a_checkpoint(in_runs, toy_city, tmp_path):
    result = dl(
        "test",
        "--config",
        "toy/pspnet50",
        "--checkpoint",
        "exp/first/model/train_epoch_1.pth",
        "--trust",
        SMALL_PACKAGE,
        "--output",
        tmp_path,
        "--set",
        *toy_settings(toy_city, *SMALL, *ONE_WINDOW),
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "score.json").read_text())["epoch"] == 1


def test_the_best_checkpoint_is_scored_where_the_recipe_selects_it(toy_city, workdir):
    best = ("callbacks.checkpoint.metric=mIoU", "callbacks.checkpoint.select=best", "validation.every=1")
    assert train(toy_city, "experiment.logdir=exp/best", *best).exit_code == 0
    assert dl("test", "--trust", SMALL_PACKAGE).exit_code == 0
    score = json.loads(next(Path("exp/best").rglob("score.json")).read_text())
    assert score["checkpoint"]["path"] == "exp/best/model/best.pth"


# -- as a program --------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_program_trains_and_scores_pspnet(toy_city, workdir):
    settings = toy_settings(
        toy_city, *ONE_WINDOW, "experiment.epochs=1", "experiment.logdir=exp/one", "validation.every=1"
    )
    command = [console_command(), "run", "--config", "toy/pspnet50", "--set", *settings]
    trained = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=300)
    assert trained.returncode == 0, trained.stderr
    assert "Traceback" not in trained.stderr
    assert "train epoch 1/1 step 2/2" in trained.stdout
    assert "epoch 1/1 | train: loss" in trained.stdout
    assert "done: exp/one" in trained.stdout
    assert dl("test").exit_code == 0
    assert next(Path("exp/one").rglob("score.json")).is_file()
    refused = subprocess.run(
        [console_command(), "run"], env=child_environment(), capture_output=True, text=True, timeout=300
    )
    assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (2, "", 1)
