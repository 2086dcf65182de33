"""What the scores of a lab say about its arms: differences to the base, their intervals, tests and verdicts."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalyst_cityscapes.lab.analysis.verdict import Evidence, notes_on, shows, verdict_on
from catalyst_cityscapes.lab.results import LabResults, RunScore
from catalyst_cityscapes.lab.statistics import (
    Interval,
    holm,
    image_interval,
    paired_t_test,
    seed_bounds,
    seed_interval,
    sign_flip_test,
    smallest_effect,
)
from semseg_ref.base.files import create_folder, replace_atomically

CONFIDENCE = 0.95
FEWEST_PAIRS = 3
"""Below, no interval over seeds: with two pairs it is 13 standard errors wide to each side."""
FEWEST_IMAGES = 10
"""Below, no interval over images: its coverage was looked at from 10 on."""


@dataclass(frozen=True)
class RunSummary:
    """Scores of one finished run, 0..1; `iou` of each class."""

    seed: int
    miou: float
    macc: float
    allacc: float
    iou: tuple[float, ...]


@dataclass(frozen=True)
class ArmScore:
    """Scores of an arm.

    Attributes:
        arm: its name.
        runs: the finished ones, in the order of the seeds.
        mean, sd: of their mIoU, 0..1; None without a run, and without two.
    """

    arm: str
    runs: tuple[RunSummary, ...]
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class ClassDifference:
    """Difference in one class's IoU between an arm and the base.

    Attributes:
        name: of the class.
        absent: no pixel of it in the ground truth: not tested.
        mean: arm - base over the pairs, -1..1; None without a pair.
        interval: of the mean, for this class alone; None with under three pairs.
        p: of the paired t-test; None where there is no interval.
        p_holm: the same after Holm's correction over the tested classes.
    """

    name: str
    absent: bool
    mean: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None


@dataclass(frozen=True)
class ArmComparison:
    """An arm against the base, over the seeds that both have finished. Differences are arm - base, in mIoU (0..1).

    Attributes:
        arm: its name.
        seeds: of the pairs, in order.
        differences: of each pair.
        identical: seeds whose two runs have equal confusion matrices in every image.
        mean: over the pairs; None without one.
        sd: None with fewer than two pairs.
        seed_interval: of the mean over other seeds, on these images; None with fewer than three pairs.
        p_t: of the paired t-test that belongs to the interval.
        p_arms: `p_t` after Holm's correction over the arms of the lab.
        p_sign_flip: exact; None with fewer than three pairs.
        image_interval: over other images, for these networks; None with fewer than ten images.
        smallest_effect: the true difference that so many pairs with this sd show in 80 % of labs.
        classes: of each class.
        verdict: a sentence for people.
        notes: what else they should know.
    """

    arm: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    identical: tuple[int, ...]
    mean: float | None
    sd: float | None
    seed_interval: Interval | None
    p_t: float | None
    p_arms: float | None
    p_sign_flip: float | None
    image_interval: Interval | None
    smallest_effect: float | None
    classes: tuple[ClassDifference, ...]
    verdict: str
    notes: tuple[str, ...]

    @property
    def shown(self) -> bool:
        """Whether the verdict claims a difference."""
        return shows(self.seed_interval, self.p_sign_flip)


@dataclass(frozen=True)
class Analysis:
    """All of a lab.

    Attributes:
        base: name of the arm that the others are compared with.
        seeds: all planned ones.
        names: of the K classes.
        images: number of scored images.
        protocol: hash of the protocol.
        missing: (arm, seed) of the runs that are not finished.
        scores: of every arm, the base first.
        comparisons: of every arm but the base.
    """

    base: str
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    images: int
    protocol: str
    missing: tuple[tuple[str, int], ...]
    scores: tuple[ArmScore, ...]
    comparisons: tuple[ArmComparison, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values; shares in 0..1, None where a number does not exist."""
        return {"confidence": CONFIDENCE, **asdict(self)}


def analyse(results: LabResults) -> Analysis:
    """Compares every arm with the base. A lab that is not finished is compared over the pairs that there are."""
    base, *arms = results.arms
    scores = tuple(_arm_score(results, arm) for arm in results.arms)
    found = [_evidence(results, base, arm) for arm in arms]
    tested = [index for index, evidence in enumerate(found) if evidence.p_t is not None]
    adjusted = dict(zip(tested, holm(np.array([found[i].p_t for i in tested])).tolist(), strict=True))
    comparisons = tuple(
        _comparison(results, arm, evidence, adjusted.get(index), len(tested))
        for index, (arm, evidence) in enumerate(zip(arms, found, strict=True))
    )
    first = next(iter(results.runs.values()), None)
    return Analysis(
        base=base,
        seeds=results.seeds,
        names=results.names,
        images=len(first.images) if first else 0,
        protocol=str(first.protocol["hash"]) if first else "",
        missing=tuple((arm, seed) for seed in results.seeds for arm in results.arms if (arm, seed) not in results.runs),
        scores=scores,
        comparisons=comparisons,
    )


def pairs_of(results: LabResults, base: str, arm: str) -> list[tuple[RunScore, RunScore]]:
    """(base's run, arm's run) of every seed that both have finished, in the order of the seeds."""
    runs = results.runs
    return [(runs[base, seed], runs[arm, seed]) for seed in results.seeds if {(base, seed), (arm, seed)} <= runs.keys()]


def _arm_score(results: LabResults, arm: str) -> ArmScore:
    runs = tuple(
        RunSummary(run.seed, run.miou, run.macc, run.allacc, tuple(run.iou.tolist()))
        for run in (results.runs[arm, seed] for seed in results.seeds if (arm, seed) in results.runs)
    )
    miou = np.array([run.miou for run in runs])
    return ArmScore(
        arm=arm,
        runs=runs,
        mean=float(miou.mean()) if len(runs) else None,
        sd=float(miou.std(ddof=1)) if len(runs) > 1 else None,
    )


def _evidence(results: LabResults, base: str, arm: str) -> Evidence:
    pairs = pairs_of(results, base, arm)
    scores = np.array([[left.miou, right.miou] for left, right in pairs]).reshape(-1, 2)
    differences = scores[:, 1] - scores[:, 0]
    count = len(pairs)
    sd = float(differences.std(ddof=1)) if count > 1 else None
    enough = count >= FEWEST_PAIRS
    images = len(pairs[0][0].images) if pairs else 0
    return Evidence(
        pairs=count,
        mean=float(differences.mean()) if count else None,
        sd=sd,
        seed_interval=seed_interval(differences, CONFIDENCE) if enough else None,
        p_t=float(paired_t_test(differences)) if enough else None,
        p_sign_flip=float(sign_flip_test(differences)) if enough else None,
        image_interval=_over_images(pairs) if images >= FEWEST_IMAGES else None,
        smallest_effect=smallest_effect(count, sd, confidence=CONFIDENCE) if enough and sd is not None else None,
        identical=sum(_identical(left, right) for left, right in pairs),
        images=images,
        base_sd=float(scores[:, 0].std(ddof=1)) if count > 1 else None,
        arm_sd=float(scores[:, 1].std(ddof=1)) if count > 1 else None,
    )


def _over_images(pairs: Sequence[tuple[RunScore, RunScore]]) -> Interval:
    base, arm = zip(*pairs, strict=True)
    return image_interval([run.matrices for run in base], [run.matrices for run in arm], CONFIDENCE)


def _identical(left: RunScore, right: RunScore) -> bool:
    return left.miou == right.miou and np.array_equal(left.matrices, right.matrices)


def _comparison(
    results: LabResults, arm: str, evidence: Evidence, p_arms: float | None, tested_arms: int
) -> ArmComparison:
    pairs = pairs_of(results, results.arms[0], arm)
    return ArmComparison(
        arm=arm,
        seeds=tuple(left.seed for left, _ in pairs),
        differences=tuple(right.miou - left.miou for left, right in pairs),
        identical=tuple(left.seed for left, right in pairs if _identical(left, right)),
        mean=evidence.mean,
        sd=evidence.sd,
        seed_interval=evidence.seed_interval,
        p_t=evidence.p_t,
        p_arms=p_arms,
        p_sign_flip=evidence.p_sign_flip,
        image_interval=evidence.image_interval,
        smallest_effect=evidence.smallest_effect,
        classes=_class_differences(results.names, pairs),
        verdict=verdict_on(evidence, p_arms),
        notes=notes_on(evidence, len(results.seeds), p_arms, tested_arms),
    )


def _class_differences(names: Sequence[str], pairs: Sequence[tuple[RunScore, RunScore]]) -> tuple[ClassDifference, ...]:
    if not pairs:
        return tuple(ClassDifference(name, False, None, None, None, None) for name in names)
    absent = pairs[0][0].matrices.sum(axis=(0, 2)) == 0
    differences = np.stack([right.iou - left.iou for left, right in pairs], axis=1)
    means = differences.mean(axis=1)
    if len(pairs) < FEWEST_PAIRS:
        rows = zip(names, absent, means, strict=True)
        return tuple(ClassDifference(name, bool(gone), float(mean), None, None, None) for name, gone, mean in rows)
    low, high = seed_bounds(differences, CONFIDENCE)
    p = paired_t_test(differences)
    adjusted = np.full(len(p), np.nan)
    adjusted[~absent] = holm(p[~absent])
    return tuple(
        ClassDifference(
            name=name,
            absent=bool(absent[i]),
            mean=float(means[i]),
            interval=Interval(float(low[i]), float(high[i])),
            p=None if absent[i] else float(p[i]),
            p_holm=None if absent[i] else float(adjusted[i]),
        )
        for i, name in enumerate(names)
    )


def write_tables(analysis: Analysis, folder: str | Path) -> list[Path]:
    """Writes `scores.csv` (a line a run), `differences.csv` (mIoU and each class of each arm) and `analysis.json`.

    Shares in 0..1; a field is empty where a number does not exist.

    Returns:
        The three files.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    create_folder(folder)
    score_lines: list[list[Any]] = [["arm", "seed", "mIoU", "mAcc", "allAcc", *(f"IoU {n}" for n in analysis.names)]]
    for score in analysis.scores:
        for run in score.runs:
            score_lines.append([score.arm, run.seed, run.miou, run.macc, run.allacc, *run.iou])
    _write_lines(folder / "scores.csv", score_lines)
    _write_lines(folder / "differences.csv", _difference_lines(analysis))
    text = json.dumps(analysis.to_json(), indent=1, allow_nan=False) + "\n"
    replace_atomically(folder / "analysis.json", lambda file: file.write(text.encode()))
    return [folder / name for name in ("scores.csv", "differences.csv", "analysis.json")]


def _difference_lines(analysis: Analysis) -> list[list[Any]]:
    lines: list[list[Any]] = [
        [
            *("arm", "score", "pairs", "mean", "sd", "seed_low", "seed_high", "p_t", "p_holm", "p_sign_flip"),
            *("image_low", "image_high", "smallest_effect"),
        ]
    ]
    for entry in analysis.comparisons:
        pairs = len(entry.seeds)
        over_seeds = (*_ends(entry.seed_interval), entry.p_t, entry.p_arms, entry.p_sign_flip)
        others = (*_ends(entry.image_interval), entry.smallest_effect)
        lines.append([entry.arm, "mIoU", pairs, entry.mean, entry.sd, *over_seeds, *others])
        for row in entry.classes:
            over_seeds = (*_ends(row.interval), row.p, row.p_holm)
            lines.append([entry.arm, f"IoU {row.name}", pairs, row.mean, None, *over_seeds, *[None] * 4])
    return lines


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)


def _write_lines(path: Path, lines: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
