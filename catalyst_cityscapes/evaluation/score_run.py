"""Predicting and scoring with a checkpoint: what `catalyst-dl test` runs and how `demo` begins."""

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from catalyst_cityscapes import __version__
from catalyst_cityscapes.evaluation.comparison import compare, to_json
from catalyst_cityscapes.evaluation.occurring import areas_of_matrices, mmseg_iou
from catalyst_cityscapes.evaluation.official import check_instances, official_module
from catalyst_cityscapes.evaluation.predictions import label_ids_of
from catalyst_cityscapes.inference.folder import Labels, test_images
from catalyst_cityscapes.models.contract import check_network
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.models.known import origin
from catalyst_cityscapes.models.outputs import align_corners_of
from catalyst_cityscapes.recipe.normalisation import check_trained_normalisation
from catalyst_cityscapes.recipe.protocols import protocol_of
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.runs.checkpoints import Trained, trained_for
from catalyst_cityscapes.runs.environment import git_revision
from semseg_ref.base.checkpoints.state_dict import load_weights
from semseg_ref.base.console import warn
from semseg_ref.base.errors import InputError, OptionError, printable
from semseg_ref.base.files import file_sha256, replace_atomically
from semseg_ref.catalog import load_colors, load_names
from semseg_ref.checks.lists import judge_labels, look_at_labels
from semseg_ref.dataset import check_list, make_dataset
from semseg_ref.evaluation import Evaluation, check_labels, write_score
from semseg_ref.metric import check_ignored_value
from semseg_ref.protocol import Protocol

Say = Callable[[str], Any]
"""Takes a line of text that a person may want to see."""


@dataclass(frozen=True)
class ScoredRun:
    """A checkpoint's score, and what a picture of it needs.

    `score` is the content of `folder`/score.json; `pairs` are (image path, label path) in the order of `evaluation`;
    `colors` uint8 [K, 3], RGB.
    """

    score: dict[str, Any]
    folder: Path
    pairs: Sequence[tuple[str, str]]
    names: Sequence[str]
    colors: np.ndarray
    evaluation: Evaluation


def build_for_test(recipe: Recipe, checkpoint: Path, device: str) -> tuple[nn.Module, Trained]:
    """The recipe's network with a checkpoint's weights, in eval mode on the device, and how long they were trained.

    No ImageNet file is needed.

    Raises:
        CheckpointError, OptionError: see `load_weights`; a GPU asked for and none visible.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("--device cuda: no GPU is visible")
    network = recipe_network(recipe)
    check_network(network, recipe.data.classes, recipe.data.crop, None)
    content = load_weights(network, checkpoint, warn)
    check_trained_normalisation(recipe, content.get("recipe"), checkpoint)
    use_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    written_by = origin(content)
    trained = trained_for(content if written_by is None else written_by.trained)
    return network.to("cuda" if use_gpu else "cpu"), trained


def _output_folder(checkpoint: Path, trained: Trained, split: str, protocol: Protocol) -> Path:
    done = f"iter_{trained['iteration']}" if "iteration" in trained else f"epoch_{trained['epoch']}"
    root = checkpoint.parent.parent if checkpoint.parent.name == "model" else checkpoint.parent
    return root / "result" / done / split / f"{protocol.name or 'protocol'}-{protocol.hash}"


def _progress(say: Say) -> Callable[[int, int, str], None]:
    start = time.perf_counter()

    def progress(done: int, total: int, name: str) -> None:
        if done % 10 == 0 or done == total:
            seconds = (time.perf_counter() - start) / done
            say(printable(f"predicted {done}/{total} {name} {seconds:.2f} s/image"))

    return progress


def _provenance(recipe: Recipe, network: nn.Module, trained: Trained, data_list: str, limit: int | None) -> dict:
    return {
        "experiment": recipe.experiment.name,
        **trained,
        "list": data_list,
        "list_sha256": file_sha256(data_list),
        "limit": limit,
        "device": str(next(network.parameters()).device),
        "align_corners": align_corners_of(network),
        "code": {
            "version": __version__,
            "git": git_revision(Path(__file__).parent),
            "python": platform.python_version(),
        },
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def score_checkpoint(
    recipe: Recipe,
    checkpoint: Path,
    output: Path | None = None,
    device: str = "auto",
    limit: int | None = None,
    tester: str = "exact",
    batch: int | None = None,
    precision: str = "fp32",
    say: Say = print,
) -> ScoredRun:
    """Predicts, evaluates, and writes `score.json` and `score.npz`.

    Arguments `tester`, `batch` and `precision`: see `inference.folder.test_images`.

    Where a class is in no label, the entry `occurring` has the means without what does not occur, and the names of the
    classes that are nowhere. With the official scorer `mIoU` is the official average over classes, and the entry
    `official` has all its scores.
    """
    data = recipe.data
    check_ignored_value(data.ignore_index, data.classes, "data.ignore_index")
    names, colors = load_names(data.names, data.classes), load_colors(data.colors, data.classes)
    pairs = make_dataset("val", data.root, data.val_list)[:limit]
    check_list(pairs, data.val_list, data.root)
    protocol = protocol_of(recipe, pairs)
    label_ids = []
    if protocol.scorer != "semseg":
        label_ids = label_ids_of([label for _, label in pairs], data.classes)
        official_module()
        check_instances(label_ids)
    network, trained = build_for_test(recipe, checkpoint, device)
    check_labels(pairs, data.classes, data.ignore_index)
    look = look_at_labels(pairs, data.classes, data.ignore_index, data.val_list)
    for note in judge_labels(look, data.classes, data.ignore_index, data.val_list, trained=False):
        warn(note)
    output = output or _output_folder(checkpoint, trained, "val", protocol)
    start = time.perf_counter()
    labels = Labels(names, data.ignore_index)
    options = (tester, batch, precision, labels, say, recipe.experiment.seed)
    run = test_images(network, pairs, protocol, output, colors, _progress(say), *options)
    assert run.evaluation is not None
    extra = {**_provenance(recipe, network, trained, data.val_list, limit), "tester": run.settings}
    occurring = mmseg_iou(areas_of_matrices(run.evaluation.matrices))
    if np.isnan(occurring.classes["Acc"]).any():
        # Where all pixels are ignored no class is left, and JSON has no nan.
        means = {key: occurring.mean(name) for key, name in (("mIoU", "IoU"), ("mAcc", "Acc"))}
        extra["occurring"] = {
            **{key: None if np.isnan(mean) else mean for key, mean in means.items()},
            "absent": [names[index] for index in occurring.absent],
        }
    if label_ids:
        files = [output / "gray" / name for name in run.names]
        comparison = compare(list(zip(files, label_ids, strict=True)), output / "label_ids")
        extra |= {"mIoU": comparison.scores.means["IoU class"], "official": to_json(comparison)}
    extra["seconds"] = round(time.perf_counter() - start, 2)
    score = write_score(output / "score.json", run.evaluation, protocol, checkpoint, extra)
    return ScoredRun(score, output, pairs, names, colors, run.evaluation)


def predict_test_split(
    recipe: Recipe,
    checkpoint: Path,
    output: Path | None = None,
    device: str = "auto",
    limit: int | None = None,
    tester: str = "exact",
    batch: int | None = None,
    precision: str = "fp32",
    say: Say = print,
) -> Path:
    """Predicts the images of `data.test_list`, which has no labels, and writes `predictions.json` beside them.

    Returns:
        The folder with `gray/` and `color/`.
    """
    data = recipe.data
    if data.test_list is None:
        raise InputError("data.test_list: not set; it names the test images, one a line: --set data.test_list=FILE")
    colors = load_colors(data.colors, data.classes)
    pairs = make_dataset("test", data.root, data.test_list)[:limit]
    check_list(pairs, data.test_list, data.root)
    protocol = protocol_of(recipe, pairs)
    network, trained = build_for_test(recipe, checkpoint, device)
    output = output or _output_folder(checkpoint, trained, "test", protocol)
    options = (tester, batch, precision, None, say, recipe.experiment.seed)
    run = test_images(network, pairs, protocol, output, colors, _progress(say), *options)
    content = {
        **_provenance(recipe, network, trained, data.test_list, limit),
        "tester": run.settings,
        "images": len(pairs),
        "protocol": {**protocol.to_dict(), "hash": protocol.hash},
        "checkpoint": {"path": str(checkpoint), "sha256": file_sha256(checkpoint)},
    }
    text = json.dumps(content, indent=1) + "\n"
    replace_atomically(output / "predictions.json", lambda file: file.write(text.encode()))
    return output
