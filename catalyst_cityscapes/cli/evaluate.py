"""`catalyst-dl evaluate`: the official Cityscapes score of predictions, beside our own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalyst_cityscapes.runs.find import newest_run
from semseg_ref.base.errors import InputError, OptionError, printable
from semseg_ref.protocol import Protocol, preset_values

if TYPE_CHECKING:
    from catalyst_cityscapes.evaluation.comparison import Comparison

SCORE_FILE = "score.json"


@click.command()
@click.option("--run", "run_folder", metavar="FOLDER", help="Run folder: its newest predictions; default: newest run.")
@click.option("--predictions", metavar="FOLDER", help="Predictions instead: PNGs of train ids, or a folder with gray/.")
@click.option("--root", metavar="FOLDER", help="Cityscapes folder with gtFine/; default: the recipe's data.root.")
@click.option("--split", default="val", type=click.Choice(["val", "train"]), show_default=True)
@click.option("--output", metavar="FOLDER", help="Where the label ids and official.json go; default: beside gray/.")
@click.option("--instances/--no-instances", default=True, help="With iIoU, which needs *_instanceIds.png.")
@click.option("--partial", is_flag=True, help="Score only the frames that have a prediction (no official score).")
def evaluate(
    run_folder: str | None,
    predictions: str | None,
    root: str | None,
    split: str,
    output: str | None,
    instances: bool,
    partial: bool,
) -> None:
    """Score predictions with cityscapesScripts: classes, categories, iIoU, beside our own IoU.

    The predictions (train ids) are exported as label ids first. Own and official IoU agree to 1e-9 in every class.
    """
    if run_folder and predictions:
        raise InputError("--run and --predictions: give one of them")
    from catalyst_cityscapes.evaluation.predictions import (
        check_run_folder,
        data_of_run,
        find_ground_truth,
        match_predictions,
        newest_predictions,
        predictions_in,
    )

    if predictions:
        gray = predictions_in(Path(predictions))
    else:
        run = check_run_folder(Path(run_folder)) if run_folder else newest_run(Path("exp"))
        gray = newest_predictions(run, split)
        root = root or data_of_run(run).root
    if root is None:
        raise InputError(
            "--root FOLDER is missing: the Cityscapes folder that holds gtFine/; it goes with --predictions"
        )
    ground_truth = find_ground_truth(Path(root), split)
    pairs = match_predictions(gray, ground_truth, partial)
    if output is None:
        name = "official" if gray.name == "gray" else f"{gray.name}_official"
        folder = gray.parent / name
    else:
        folder = Path(output)
    click.echo(printable(f"predictions: {gray}, {len(pairs)} images; ground truth: {Path(root) / 'gtFine' / split}"))

    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            click.echo(f"cityscapesScripts {done}/{total}")

    from catalyst_cityscapes.evaluation.comparison import compare, to_json
    from catalyst_cityscapes.report.official_table import print_comparison

    comparison = compare(pairs, folder / "label_ids", instances, progress)
    score = _score_beside(gray)
    content = {
        **to_json(comparison),
        "split": split,
        "frames": len(ground_truth),
        "partial": len(pairs) < len(ground_truth),
        "predictions": str(gray),
        "protocol": _official_protocol(score, gray.parent / SCORE_FILE),
        **{key: score.get(key) for key in ("experiment", "epoch", "checkpoint")},
        **({"iteration": score["iteration"]} if "iteration" in score else {}),
    }
    _write(folder, content, comparison)
    print_comparison(content)
    for note in _notes(comparison, score, len(ground_truth)):
        click.echo(printable(f"note: {note}"))
    click.echo(printable(f"official score: {folder / 'official.json'}"))


def _score_beside(gray: Path) -> dict[str, Any]:
    path = gray.parent / SCORE_FILE
    if not path.is_file():
        return {}
    try:
        score = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged score file ({error})") from error
    score = score if isinstance(score, dict) else {}
    for key in ("protocol", "official"):
        if not isinstance(score.get(key), dict | None):
            raise InputError(f"{path}: damaged score file ({key}: expected a mapping)")
    return score


def _official_protocol(score: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """The protocol of the predictions with the official scorer, as `catalyst-dl test --protocol official` has it."""
    if not score.get("protocol"):
        return None
    entries = {key: value for key, value in score["protocol"].items() if key != "hash"}
    try:
        protocol = dataclasses.replace(Protocol.from_dict(entries), scorer="cityscapesscripts")
    except OptionError as error:
        raise InputError(f"{path}: {error}") from error
    is_official = {key: protocol.to_dict()[key] for key in preset_values("official")} == preset_values("official")
    is_official = is_official and not protocol.beyond_reference
    protocol = dataclasses.replace(protocol, name="official" if is_official else None)
    return {**protocol.to_dict(), "hash": protocol.hash}


def _write(folder: Path, content: dict[str, Any], comparison: Comparison) -> None:
    import numpy as np

    from semseg_ref.base.files import replace_atomically

    arrays = {"matrices": comparison.counts.matrices, "images": comparison.images, "names": comparison.names}
    replace_atomically(folder / "official.npz", lambda file: np.savez_compressed(file, **arrays))
    replace_atomically(folder / "official.txt", lambda file: file.write(comparison.scores.text.encode()))
    text = json.dumps(content, indent=1) + "\n"
    replace_atomically(folder / "official.json", lambda file: file.write(text.encode()))


def _notes(comparison: Comparison, score: dict[str, Any], frames: int) -> list[str]:
    import numpy as np

    notes = []
    if len(comparison.images) < frames:
        notes.append(f"only {len(comparison.images)} of {frames} frames: no official score of this split")
    absent = [name for name, iou in zip(comparison.names, comparison.official, strict=True) if np.isnan(iou)]
    if absent:
        notes.append(
            f"{', '.join(absent)}: in no label and no prediction; the official average leaves them out, ours counts 0"
        )
    unpredicted = int(comparison.counts.matrices[:, :, -1].sum())
    if unpredicted:
        notes.append(f"{unpredicted:,} pixels without a prediction (255), counted as wrong by both")
    if comparison.counts.differing is not None:
        path, images, pixels = comparison.counts.differing
        notes.append(
            f"{images} labelTrainIds images differ from their labelIds in {pixels:,} pixels (first: {path}); "
            "the scores above are on labelIds, score.json and the training on labelTrainIds"
        )
    own = score.get("mIoU")
    if isinstance((score.get("official") or {}).get("own"), dict):
        own = score["official"]["own"].get("mIoU")
    if isinstance(own, float) and own != comparison.means["mIoU"]:
        notes.append(
            f"score.json says mIoU {own:.6f}, here it is {comparison.means['mIoU']:.6f}: other labels or predictions"
        )
    return notes
