"""What a malformed input is, and how one is made.

Paths are relative to a furnished place, see `furnish` and `furnish_results` in place.py.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.runs.folder import to_yaml
from semseg_ref.catalog import load_names
from semseg_ref.dataset import make_dataset, read_label
from semseg_ref.evaluation import evaluate_folder, output_names, write_score
from semseg_ref.tester import save_prediction
from support.malformed.place import ONE_WINDOW, change_list, files_of
from support.runs.finished import spoilt
from support.runs.toy import SMALL, SMALL_PACKAGE, toy_settings

SETTINGS = ("--set", *toy_settings(Path("city"), *SMALL, *ONE_WINDOW, "experiment.logdir=exp/old"))
TRUST = ("--config", "toy/pspnet50", "--trust", SMALL_PACKAGE)
RUN = ("run", *TRUST, *SETTINGS, "--overwrite")
RUN_MY = ("run", "--config", "toy/pspnet50", "my.yml", "--trust", SMALL_PACKAGE, *SETTINGS, "--overwrite")
TEST = ("test", *TRUST, *SETTINGS, "--checkpoint", "good.pth", "--output", "exp/old/out")
DEMO = ("demo", "--config", "toy/pspnet50", "--trust", SMALL_PACKAGE, "--checkpoint", "good.pth")
DEMO_SETTINGS = tuple(word for setting in SETTINGS[1:] for word in ("--set", setting))
RESULT = "exp/done/result/epoch_3/val/semseg-ss"
ESCAPE = "\x1b[31mred\x1b]0;title\x07"


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        name: for the test's id.
        words: of the command line.
        parts: what the one line on stderr must hold.
        make: makes the input in the working directory.
    """

    name: str
    words: tuple[str, ...]
    parts: tuple[str, ...]
    make: Callable[[], object] = lambda: None


def furnish_results() -> None:
    """Adds a finished run with predictions and a score file at `exp/done`, and the checkpoints that cases read."""
    recipe = load_recipe(
        ["toy/pspnet50"],
        [*toy_settings(Path("city"), *SMALL, *ONE_WINDOW), "experiment.logdir=exp/done"],
        (SMALL_PACKAGE,),
    )
    output = Path(RESULT)
    for folder in ("gray", "color"):
        (output / folder).mkdir(parents=True)
    Path("exp/done/recipe.yml").write_text(to_yaml(recipe))
    pairs = make_dataset("val", "city", "city/list/fine_val.txt")
    names, colors = load_names("cityscapes_names.txt"), np.zeros((19, 3), np.uint8)
    rng = np.random.default_rng(0)
    for (_, label), name in zip(pairs, output_names(pairs), strict=True):
        prediction = spoilt(read_label(label), rng, 19, 0.1)
        save_prediction(prediction, colors, output / "gray" / name, output / "color" / name)
    evaluation = evaluate_folder(output / "gray", pairs, 19, names)
    write_score(output / "score.json", evaluation, recipe.protocol.value(), None, {"experiment": "x", "epoch": 3})


# -- how inputs are made --------------------------------------------------------------------------------------------
def file(name: str, content: str | bytes) -> Callable[[], object]:
    """Writes a file, with the folders above it."""

    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def image(content: bytes, split: str = "train", column: int = 0) -> Callable[[], object]:
    """Puts other bytes in the place of all images (column 0) or labels (1) of a split."""
    return lambda: [pair[column].write_bytes(content) for pair in files_of(split)]


def label(values: Callable[[np.ndarray], np.ndarray], split: str = "val") -> Callable[[], object]:
    """Changes all labels of a split."""

    def make() -> None:
        for _, path in files_of(split):
            cv2.imwrite(str(path), values(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)))

    return make


def score(change: Callable[[dict], object]) -> Callable[[], object]:
    """Changes the finished run's score file."""

    def make() -> None:
        path = Path(RESULT, "score.json")
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return make


def official(**values: object) -> Callable[[], object]:
    """Changes options of the official config."""

    def make() -> None:
        content = yaml.safe_load(Path("official.yaml").read_text())
        content["DATA"].update(values)
        Path("official.yaml").write_text(yaml.safe_dump(content))

    return make


def saved(content: Callable[[], object], name: str = "bad.pth") -> Callable[[], object]:
    """Writes a checkpoint file."""
    return lambda: torch.save(content(), name)


def voc(stem: str) -> Callable[[], object]:
    """Makes an unpacked VOC 2012 whose set file names an image."""

    def make() -> None:
        base = Path("voc/VOC2012")
        for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (base / name).mkdir(parents=True)
        for split in ("train", "val"):
            (base / f"ImageSets/Segmentation/{split}.txt").write_text(f"{stem}\n")
        for folder, ending in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            path = base / folder / f"{stem}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")

    return make


def recipe_file(name: str, text: str | bytes, *parts: str, words: tuple[str, ...] = RUN_MY) -> Case:
    return Case(f"recipe: {name}", words, parts, file("my.yml", text))


def setting(name: str, word: str, *parts: str) -> Case:
    return Case(f"--set: {name}", (*RUN, "--set", word), parts)


def checkpoint(name: str, make: Callable[[], object], *parts: str) -> Case:
    return Case(f"checkpoint: {name}", (*TEST, "--checkpoint", "bad.pth"), ("bad.pth: ", *parts), make)


def listing(name: str, change: Callable[[str], str], *parts: str) -> Case:
    return Case(f"list: {name}", TEST, ("fine_val.txt", *parts), lambda: change_list("val", change))


def arguments(name: str, words: str, *parts: str, make: Callable[[], object] = lambda: None) -> Case:
    return Case(f"arguments: {name}", tuple(words.split()), parts, make)
