"""The scores of a lab, read from its run folders."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalyst_cityscapes.lab.plan.plan import folder_of, read_plan
from semseg_ref.base.errors import DataError, InputError, printable
from semseg_ref.base.safe.npz import read_arrays
from semseg_ref.evaluation import evaluation_from_matrices

SCORE_FILE = Path("score") / "score.json"
"""In a run folder; it is written last, so it says that the run is finished."""
HASH = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True)
class RunScore:
    """Score of one run.

    Scores are the reference's, computed from the matrices (a class that never occurs counts as 0 in the means), also
    where the protocol's own scorer is another.

    Attributes:
        arm: name of the arm.
        seed: root seed of the run.
        miou, macc, allacc: 0..1.
        iou: IoU of each class, float64 [K], 0..1.
        matrices: confusion matrix of each image in pixels, int64 [n, K, K], rows target.
        images: the predictions' file names [n].
        protocol: values of the test protocol and their `hash`.
    """

    arm: str
    seed: int
    miou: float
    macc: float
    allacc: float
    iou: np.ndarray
    matrices: np.ndarray
    images: tuple[str, ...]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class LabResults:
    """All scores of a lab.

    Attributes:
        folder: the lab.
        arms: names, the base first.
        seeds: all planned ones.
        names: the K classes, printable.
        runs: the finished ones, by (arm, seed); those that are not finished are missing.
        kind: see `Plan`.
        extra: see `Plan`.
    """

    folder: Path
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    runs: dict[tuple[str, int], RunScore]
    kind: str
    extra: dict[str, Any]


@dataclass(frozen=True)
class _Read:
    path: Path
    score: RunScore
    names: tuple[str, ...]
    list_sha256: str | None


def read_results(folder: str | Path) -> LabResults:
    """Reads the scores of every finished run of a lab.

    Raises:
        InputError: no lab, no finished run, a damaged score, or two scores that must not be compared (protocol, list,
            images or classes differ): names both files.
    """
    plan = read_plan(folder)
    first: _Read | None = None
    runs: dict[tuple[str, int], RunScore] = {}
    for arm, seed in plan.runs():
        path = folder_of(plan.folder, arm, seed) / SCORE_FILE
        if not path.is_file():
            continue
        found = _read_score(path, arm, seed)
        first = first or found
        _check_comparable(first, found)
        runs[arm, seed] = found.score
    if first is None:
        raise InputError(f"{plan.folder}: none of the {len(plan.runs())} runs of this lab is finished yet")
    arms = tuple(arm.name for arm in plan.arms)
    return LabResults(plan.folder, arms, plan.seeds, first.names, runs, plan.kind, plan.extra)


def read_score(path: Path, arm: str, seed: int) -> RunScore:
    """The score of one run.

    Args:
        path: its `score.json`; the matrices lie beside it.
        arm, seed: whose it is.

    Raises:
        InputError: unreadable, damaged, or not the matrices that the score was computed from.
    """
    return _read_score(path, arm, seed).score


def _read_score(path: Path, arm: str, seed: int) -> _Read:
    try:
        content = json.loads(path.read_text())
        arrays = read_arrays(path.with_name(content["matrices"]), ("matrices", "images", "names"))
        matrices = _counts(arrays["matrices"])
        images, names = tuple(map(str, arrays["images"])), tuple(map(printable, map(str, arrays["names"])))
        protocol, stated = content["protocol"], (content.get("official") or {}).get("own", content)["mIoU"]
        shape = (len(images), len(names), len(names))
        if not isinstance(protocol, dict) or not HASH.fullmatch(str(protocol.get("hash"))):
            raise InputError(f"{path}: protocol: not recorded; score the run with catalyst-dl test")
        if matrices.shape != shape or not images:
            raise InputError(f"{path}: matrices {matrices.shape}, expected {shape} for its images and classes")
        evaluation = evaluation_from_matrices(matrices, images, names)
        if not abs(evaluation.mIoU - stated) <= 1e-9:
            raise InputError(f"{path}: mIoU {stated:.6f}, but its matrices give {evaluation.mIoU:.6f}: not of one test")
    except DataError as error:
        raise InputError(f"{path}: no usable score ({error})") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: no usable score ({type(error).__name__}: {' '.join(str(error).split())})") from error
    score = RunScore(
        arm=arm,
        seed=seed,
        miou=evaluation.mIoU,
        macc=evaluation.mAcc,
        allacc=evaluation.allAcc,
        iou=evaluation.iou_class,
        matrices=matrices,
        images=images,
        protocol=protocol,
    )
    return _Read(path, score, names, content.get("list_sha256"))


def _counts(matrices: np.ndarray) -> np.ndarray:
    if matrices.dtype.kind not in "iu" or (matrices.size and (matrices.min() < 0 or matrices.max() > 1 << 40)):
        raise ValueError("matrices: expected counts of pixels")
    return matrices.astype(np.int64)


def _check_comparable(first: _Read, other: _Read) -> None:
    pairs = {
        "protocols": (first.score.protocol["hash"], other.score.protocol["hash"]),
        "classes": (first.names, other.names),
        "lists of images": (first.list_sha256, other.list_sha256),
        "images": (first.score.images, other.score.images),
    }
    for what, (left, right) in pairs.items():
        if left != right:
            values = f" ({left} and {right})" if isinstance(left, str) and len(left) < 20 else ""
            raise InputError(f"{first.path} and {other.path}: different {what}{values}; they cannot be compared")
