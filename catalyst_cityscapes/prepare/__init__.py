"""Preparation of downloaded data sets: train-id labels, list files, and a manifest to check both against."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from catalyst_cityscapes.prepare.files import exclusive
from catalyst_cityscapes.prepare.manifest import Manifest, check_folder
from catalyst_cityscapes.prepare.pipeline import Outcome, carry_out
from semseg_ref.base.errors import InputError, did_you_mean
from semseg_ref.base.parallel import Progress, available_cpus, silent

DATASETS = ("ade20k", "bdd100k", "camvid", "cityscapes", "voc2012")

__all__ = ["DATASETS", "Manifest", "Outcome", "available_cpus", "check_folder", "prepare"]


def prepare(
    dataset: str,
    sources: Sequence[Path],
    root: Path,
    workers: int = 1,
    allow_partial: bool = False,
    progress: Progress = silent,
) -> Outcome:
    """Prepares a data set in `root`; a repeated call finishes what is missing and leaves the rest untouched.

    Args:
        dataset: one of `DATASETS`.
        sources: zip files or unpacked folders, see the data set's module.
        root: folder to write into; for cityscapes it may be the source.
        workers: processes. More than one needs an importable main module.
        allow_partial: accept other counts than the published data set's.
        progress: see `Progress`.

    Raises:
        InputError: unknown data set, or a source that cannot be used; see the data set's module and `carry_out`.
    """
    check_dataset(dataset)
    planner = importlib.import_module(f".{dataset}", __name__)
    with exclusive(root):
        return carry_out(planner.plan(sources, root, workers, progress), root, workers, allow_partial, progress)


def check_dataset(dataset: str) -> None:
    """Raises InputError for an unknown data set."""
    if dataset not in DATASETS:
        raise InputError(f"data set '{dataset}'{did_you_mean(dataset, DATASETS)}")
