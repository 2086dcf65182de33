"""Scores side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalyst_cityscapes.api.run import Run
from catalyst_cityscapes.api.scoring import Score
from semseg_ref.base.errors import InputError


@dataclass(frozen=True)
class Comparison:
    """Scores side by side. `str` of it is the table that `catalyst-dl scores` prints; a notebook shows it as one.

    Attributes:
        scores: in the order given.
        reasons: why they must not be compared; empty where they may.
    """

    scores: tuple[Score, ...]
    reasons: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One mapping a score, as a data frame takes them: run, epoch, protocol, images, mIoU, mAcc, allAcc."""
        from catalyst_cityscapes.report.table import side_by_side

        return side_by_side(self._named())

    def _named(self) -> list[tuple[str, dict[str, Any]]]:
        return [(str(score.file), score.content) for score in self.scores]

    def print(self) -> None:
        """Prints the table, as wide as the terminal."""
        from catalyst_cityscapes.report.table import print_scores

        print_scores(self._named())

    def print_protocols(self) -> None:
        """Prints a column a score: what its protocol does, step by step, and what came of it."""
        from catalyst_cityscapes.report.table import print_protocols

        print_protocols(self._named())

    def __str__(self) -> str:
        from catalyst_cityscapes.report.table import print_scores, text_of

        return text_of(lambda console: print_scores(self._named(), console))

    def _repr_html_(self) -> str:
        from catalyst_cityscapes.report.table import scores_html

        return scores_html(self._named())


def compare(scores: Sequence[Score | Run | str | Path], strict: bool = True) -> Comparison:
    """Puts scores side by side.

    Args:
        scores: of `test`; runs and folders stand for all scores below them, a path may also be a score file.
        strict: refuse scores that must not be compared; else they are shown together with the reasons.

    Raises:
        InputError: no score, a file that is none, or, if strict, different protocols or images.
    """
    found: dict[str, Score] = {}
    for entry in [scores] if isinstance(scores, (Score, Run, str, Path)) else scores:
        for score in [entry] if isinstance(entry, Score) else _read_all(entry):
            found[str(score.file)] = score
    if not found:
        raise InputError("compare: no scores; expected those of test, runs, folders or score files")
    from catalyst_cityscapes.report.table import incomparable

    reasons = tuple(incomparable([score.content for score in found.values()]))
    if reasons and strict and len(found) > 1:
        raise InputError(f"not comparable: {'; '.join(reasons)}")
    return Comparison(tuple(found.values()), reasons)


def _read_all(place: Run | str | Path) -> list[Score]:
    path = place.folder if isinstance(place, Run) else Path(place)
    files = [path] if path.is_file() else sorted(path.rglob("score.json"))
    if not files:
        raise InputError(f"{path}: no score.json here; catalyst-dl test writes one")
    return [Score.open(file) for file in files]
