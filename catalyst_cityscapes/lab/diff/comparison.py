"""Two measured recipes beside each other: every effect with its distance, and what the keys have to do with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalyst_cityscapes.lab.diff.distance import Gap
from catalyst_cityscapes.lab.diff.fact import READ, Fact
from catalyst_cityscapes.lab.diff.input_facts import input_facts
from catalyst_cityscapes.lab.diff.keys import ABSENT, KeyDifference, ShortTrainings, differing_keys, topics
from catalyst_cityscapes.lab.diff.outcome_facts import outcome_facts
from catalyst_cityscapes.lab.diff.subject import Subject
from catalyst_cityscapes.lab.diff.training_facts import deviating_modules, training_facts

EQUAL, UNCLEAR, DIFFERS = "equal", "not told apart", "differs"
VERDICTS = (DIFFERS, UNCLEAR, EQUAL)
ONE_SIDED = Gap(1.0)


@dataclass(frozen=True)
class Row:
    """One effect of both recipes.

    Attributes:
        name, family, member: see `Fact`.
        a, b: for people.
        gap: how far apart, see `distance`.
        verdict: `differs`, `equal`, or `not told apart` where draws of equal distributions could be as far apart.
        basis: `measured`, or `read` from the recipe.
        detail: both values for JSON.
        topics: what of a recipe can change it.
    """

    name: str
    family: str
    member: str
    a: str
    b: str
    gap: Gap
    basis: str
    detail: tuple[Any, Any]
    topics: frozenset[str]

    @property
    def verdict(self) -> str:
        """See the class."""
        if self.gap.distance == 0:
            return EQUAL
        return DIFFERS if self.gap.told_apart else UNCLEAR


@dataclass(frozen=True)
class Comparison:
    """Two recipes, compared.

    Attributes:
        a, b: the measured recipes.
        rows: every effect, farthest apart first.
        keys: recipe keys that differ.
        idle_keys: those of them that no differing effect belongs to.
        unclear_keys: those of the idle ones to which effects belong that the draws do not tell apart.
        keyless: effects that differ although no key that could change them does.
    """

    a: Subject
    b: Subject
    rows: tuple[Row, ...]
    keys: tuple[KeyDifference, ...]
    idle_keys: tuple[KeyDifference, ...]
    unclear_keys: tuple[KeyDifference, ...]
    keyless: tuple[Row, ...]

    def having(self, verdict: str) -> list[Row]:
        """Rows of a verdict."""
        return [row for row in self.rows if row.verdict == verdict]

    @property
    def summary(self) -> str:
        """`12 of 31 effects differ (...); farthest apart: ...`."""
        differing, unclear = self.having(DIFFERS), self.having(UNCLEAR)
        counts = [f"{len(unclear)} not told apart by the draws"] if unclear else []
        counts.append(f"{len(self.having(EQUAL))} equal")
        text = f"{len(differing)} of {len(self.rows)} effects differ ({', '.join(counts)})"
        if not differing:
            return text
        families = dict.fromkeys(row.family for row in differing)
        first = {family: next(row for row in differing if row.family == family) for family in families}
        farthest = ", ".join(f"{family} {row.gap.distance:.2f}" for family, row in list(first.items())[:3])
        return f"{text}; farthest apart: {farthest}"

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; distances are those of `distance`."""
        exposure = self.a.profile.exposure
        return {
            "summary": self.summary,
            "a": self.a.name,
            "b": self.b.name,
            "processes": exposure.processes,
            "draws": len(self.a.profile.draws),
            "samples": 0 if self.a.profile.samples is None else self.a.profile.samples.count,
            "data": "read" if self.a.has_data else "assumed",
            "image_size": [list(side.profile.exposure.image_size) for side in (self.a, self.b)],
            "effects": [
                {
                    "effect": row.name,
                    "verdict": row.verdict,
                    "distance": row.gap.distance,
                    "noise": row.gap.noise,
                    "chance": row.gap.chance,
                    "basis": row.basis,
                    "a": {"text": row.a, "value": _json(row.detail[0])},
                    "b": {"text": row.b, "value": _json(row.detail[1])},
                }
                for row in self.rows
            ],
            "keys": [{"key": key.name, "a": _json(key.a), "b": _json(key.b)} for key in self.keys],
            "keys_without_effect": [key.name for key in self.idle_keys],
            "keys_not_told_apart": [key.name for key in self.unclear_keys],
            "effects_without_key": [row.name for row in self.keyless],
        }


def _json(value: Any) -> Any:
    if value is ABSENT:
        return {"absent": True}
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(inner) for inner in value]
    if isinstance(value, np.generic):
        return _json(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def compare(a: Subject, b: Subject) -> Comparison:
    """Compares two measured recipes; see `Comparison`."""
    modules = deviating_modules(a.profile.optimisation) | deviating_modules(b.profile.optimisation)
    left, right = (_facts(side, modules) for side in (a, b))
    rows = sorted(
        (_row(left.get(name), right.get(name)) for name in dict.fromkeys((*left, *right))),
        # Stable: what is equally far apart keeps the order of the facts, the measured before the read.
        key=lambda row: (VERDICTS.index(row.verdict), -round(row.gap.distance, 2), row.basis == READ),
    )
    differing = [row for row in rows if row.verdict == DIFFERS]
    keys = differing_keys(a.recipe, b.recipe)
    known = {key.path: topics(key, a.recipe, b.recipe) for key in keys}
    touched = frozenset().union(*(row.topics for row in differing))
    trainings = ShortTrainings(a.recipe, b.recipe)
    idle = [
        key
        for key in keys
        if not known[key.path] & touched or (known[key.path] == {"optimiser"} and trainings.is_void(key))
    ]
    doubtful = frozenset().union(*(row.topics for row in rows if row.verdict == UNCLEAR))
    unclear = tuple(key for key in idle if known[key.path] & doubtful)
    working = frozenset().union(*(known[key.path] for key in keys if key not in idle))
    keyless = [row for row in differing if not row.topics & working]
    return Comparison(a, b, tuple(rows), tuple(keys), tuple(idle), unclear, tuple(keyless))


def _facts(subject: Subject, modules: set[str]) -> dict[str, Fact]:
    collectors = (training_facts(subject, modules), input_facts(subject), outcome_facts(subject))
    return {fact.name: fact for collector in collectors for fact in collector.facts}


def _row(a: Fact | None, b: Fact | None) -> Row:
    known: Sequence[Fact] = [fact for fact in (a, b) if fact is not None]
    first = known[0]
    gap = ONE_SIDED if len(known) == 1 else first.measure(a.value, b.value)
    texts = tuple("none" if fact is None else fact.text for fact in (a, b))
    details = tuple(None if fact is None else fact.detail for fact in (a, b))
    return Row(first.name, first.family, first.member, *texts, gap, first.basis, details, first.topics)
