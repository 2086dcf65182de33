"""What a run folder holds, read for a report: nothing in it is trusted, what is missing or damaged becomes a note."""

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from catalyst_cityscapes.recipe.loading import read_yaml
from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import DataError, InputError, did_you_mean
from semseg_ref.base.iteration_log import IterationRecord, read_iteration_log
from semseg_ref.base.safe.npz import read_arrays


class ClassScore(BaseModel):
    """A class's line of a score file; None where a score does not exist."""

    name: str
    iou: float | None
    accuracy: float | None
    pixels: int


class ScoreFile(BaseModel):
    """The part of a score file that a report needs; other entries are kept."""

    model_config = ConfigDict(extra="allow")

    mIoU: float  # noqa: N815 - the file's name
    mAcc: float  # noqa: N815
    allAcc: float  # noqa: N815
    images: int
    classes: list[ClassScore]
    protocol: dict[str, Any] | None = None
    checkpoint: dict[str, Any] | None = None
    versions: dict[str, Any] = {}
    matrices: str | None = None
    experiment: str | None = None
    epoch: int | None = None
    iteration: int | None = None
    list: str | None = None
    limit: int | None = None


class OfficialScore(BaseModel):
    """What `catalyst-dl evaluate` writes: cityscapesScripts' means beside ours."""

    means: dict[str, float | None]
    own: dict[str, float | None] = {}
    cityscapesscripts: str = ""
    largest_difference: float | None = None
    images: int | None = None
    partial: bool = False


@dataclass(frozen=True)
class ScoreRecord:
    """A score file and what lies beside it.

    `matrices` (int64 [n, K, K]) and `images`, the predictions' names, are per image; None and empty where they are
    unusable. `official` is None where nothing was scored officially.
    """

    path: Path
    content: ScoreFile
    matrices: np.ndarray | None
    images: tuple[str, ...]
    official: OfficialScore | None = None

    @property
    def protocol_hash(self) -> str:
        """Hash of the test protocol, or a dash."""
        return str((self.content.protocol or {}).get("hash", "—"))

    @property
    def protocol_name(self) -> str:
        """Name of the test protocol; empty where it has none."""
        return str((self.content.protocol or {}).get("name") or "")


@dataclass
class RunRecord:
    """A run folder's content.

    Attributes:
        folder: the run folder.
        name: the experiment's.
        recipe_text: recipe.yml as it stands.
        recipe: the checked recipe; None where it does not fit this version's schema.
        environment: environment.json; empty where there is none.
        iterations, metrics: rows of iterations.csv and (epoch or iteration, loader, metric, value) of
            metrics.csv; see `unit`.
        scores: all score files below result/, the newest first.
        notes: what was missing or damaged, a sentence each.
    """

    folder: Path
    name: str
    recipe_text: str
    recipe: Recipe | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    iterations: list[IterationRecord] = field(default_factory=list)
    metrics: list[tuple[int, str, str, float]] = field(default_factory=list)
    scores: list[ScoreRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """What the recipe, and with it `metrics`, counts: epoch or iteration."""
        return "iteration" if self.recipe is not None and self.recipe.experiment.iterations is not None else "epoch"


def read_run(folder: Path) -> RunRecord:
    """Reads a run folder.

    Raises:
        InputError: no such folder, or one without a readable recipe.yml.
    """
    path = folder / RECIPE_FILE
    if not path.is_file():
        parent = folder.parent
        runs = [str(p.parent) for p in parent.glob(f"*/{RECIPE_FILE}")] if parent.is_dir() else []
        what = f"no {RECIPE_FILE} in it, so this is no run folder" if folder.is_dir() else "no such run folder"
        raise InputError(f"{folder}: {what}{did_you_mean(str(folder), runs)}")
    content = read_yaml(path)
    experiment = content.get("experiment")
    name = experiment.get("name") if isinstance(experiment, dict) else None
    record = RunRecord(folder, str(name or folder.name), path.read_text(encoding="utf-8", errors="replace"))
    try:
        record.recipe = Recipe.model_validate(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        record.notes.append(f"The recipe does not fit this version's schema ({where}: {error.errors()[0]['msg']}).")
    record.environment = _read_environment(folder / "environment.json", record.notes)
    record.iterations = _read_iterations(folder / "iterations.csv", record.notes)
    record.metrics = _read_metrics(folder / "metrics.csv", record.notes)
    found = sorted((folder / "result").rglob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    for score_path in (p for p in found if p.name == "score.json"):
        try:
            record.scores.append(read_score(score_path, record.notes))
        except DataError as error:
            record.notes.append(f"Left out: {error}.")
    return record


def read_score(path: Path, notes: list[str]) -> ScoreRecord:
    """Reads a score file and its matrices; unusable matrices become a note.

    Raises:
        DataError: missing, or no score file.
    """
    try:
        content = ScoreFile.model_validate(json.loads(path.read_text(encoding="utf-8")), strict=True)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.errors()[0] if isinstance(error, ValidationError) else None
        said = f"{'.'.join(map(str, reason['loc']))}: {reason['msg']}" if reason else " ".join(str(error).split())
        raise DataError(f"{path}: no readable score file ({said})") from error
    if not content.classes:
        raise DataError(f"{path}: no readable score file (classes: empty)")
    official = _read_official(path, content, notes)
    # Only the file's own folder: the name comes from the file.
    matrices_path = path.parent / Path(content.matrices or "score.npz").name
    try:
        arrays = read_arrays(matrices_path, ("matrices", "images"))
        matrices, images = arrays["matrices"], tuple(str(name) for name in arrays["images"].ravel())
        size = len(content.classes)
        usable = matrices.dtype.kind in "iu" and matrices.shape == (len(images), size, size) and len(images) > 0
        if not usable or matrices.min() < 0:
            raise ValueError(f"shape {matrices.shape} of {matrices.dtype} for {len(images)} images, {size} classes")
    except DataError as error:
        notes.append(f"No confusions and frames: {error}.")
        return ScoreRecord(path, content, None, (), official)
    except ValueError as error:
        notes.append(f"No confusions and frames: {matrices_path} is unusable ({' '.join(str(error).split())}).")
        return ScoreRecord(path, content, None, (), official)
    return ScoreRecord(path, content, matrices.astype(np.int64), images, official)


def _read_official(path: Path, content: ScoreFile, notes: list[str]) -> OfficialScore | None:
    """The official score in the file itself (`test --protocol official`), or that of `evaluate` beside it."""
    beside = path.parent / "official" / "official.json"
    entries = (content.model_extra or {}).get("official")
    if entries is None and not beside.is_file():
        return None
    try:
        return OfficialScore.model_validate(json.loads(beside.read_text()) if entries is None else entries)
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"No official score: {beside} is damaged ({' '.join(str(error).split())[:200]}).")
        return None


def _read_environment(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        notes.append(f"{path.name} is missing or damaged: where and with which versions this ran is not known.")
        return {}
    return content if isinstance(content, dict) else {"content": content}


def _read_iterations(path: Path, notes: list[str]) -> list[IterationRecord]:
    try:
        rows = read_iteration_log(path)
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        notes.append(f"{path.name} is damaged ({' '.join(str(error).split())}).")
        return []
    if not rows:
        notes.append(f"{path.name} is missing or empty: no curves of losses and learning rates.")
    return rows


def _read_metrics(path: Path, notes: list[str]) -> list[tuple[int, str, str, float]]:
    rows, unreadable = [], 0
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            for row in list(csv.reader(file))[1:]:
                try:
                    epoch, loader, metric, value = row
                    rows.append((int(epoch), loader, metric, float(value)))
                except ValueError:
                    unreadable += 1
    except (OSError, csv.Error):
        pass
    if not rows:
        notes.append(f"{path.name} is missing or empty: no metrics of the epochs.")
    elif unreadable:
        notes.append(f"{path.name}: {unreadable} unreadable rows left out.")
    return rows


def epoch_series(record: RunRecord, metric: str) -> dict[str, tuple[list[int], list[float]]]:
    """(epochs, values) of a metric by loader; only finite values. A repeated epoch's last value counts."""
    series: dict[str, dict[int, float]] = {}
    for epoch, loader, name, value in record.metrics:
        if name == metric and math.isfinite(value):
            series.setdefault(loader, {})[epoch] = value
    return {loader: (sorted(values), [values[e] for e in sorted(values)]) for loader, values in series.items()}


def last_metrics(record: RunRecord) -> tuple[int | None, dict[str, dict[str, float]]]:
    """The last epoch, and its metrics as {metric: {loader: value}}."""
    if not record.metrics:
        return None, {}
    last = max(epoch for epoch, *_ in record.metrics)
    table: dict[str, dict[str, float]] = {}
    for epoch, loader, metric, value in record.metrics:
        if epoch == last:
            table.setdefault(metric, {})[loader] = value
    return last, table


def protocol_text(score: ScoreRecord) -> str:
    """The protocol's values as YAML."""
    return yaml.safe_dump(score.content.protocol, sort_keys=False, width=100, allow_unicode=True)
