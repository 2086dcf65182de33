"""Findings, the rules that make them, and what they hold a recipe against."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from catalyst_cityscapes.lab.lint.facts import Facts

Severity = Literal["error", "warning", "note"]
Baseline = Literal["official recipe", "published recipe", "own protocol", "own words", "data", "machine"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Diagnostic:
    """What a rule's check says.

    Attributes:
        severity: `error`: it trains or scores something else than the recipe says. `warning`: it is likely to cost
            accuracy, or keeps the number from being compared. `note`: worth knowing.
        evidence: one line with the measured numbers.
        measured: the same numbers by name, plain values.
        fix: what to write where, when it is not the rule's own.
    """

    severity: Severity
    evidence: str
    measured: dict[str, Any] = field(default_factory=dict)
    fix: str | None = None


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: stable name, kebab-case.
        severities: that its findings can have, worst first.
        baseline: what a recipe is held against. `official recipe` is the reference, whichever that is; what can be
            held against other ones only says `published recipe`.
        measured: how its facts come about, in words.
        fix: what to write where.
        check: `facts -> diagnostics`; it yields nothing where what it asks for could not be measured.
        issues: public threads about this fault.
        reference_networks: whether it holds for networks of the reference's parts only (layer0 ... layer4, cls).
        sgd: whether it holds for SGD only: what the official recipe sets says nothing about a rule of another kind.
        batch_norm: whether it is about batch norm, which not every network has.
        official_only: whether it knows the official recipe's values alone. Held against another reference, a recipe is
            compared with that one instead.
        official_fix: whether what to write has the official recipe's values in it.
    """

    id: str
    severities: tuple[Severity, ...]
    baseline: Baseline
    measured: str
    fix: str
    check: Callable[[Facts], Iterator[Diagnostic]]
    issues: tuple[str, ...] = ()
    reference_networks: bool = False
    sgd: bool = False
    batch_norm: bool = False
    official_only: bool = False
    official_fix: bool = False


@dataclass(frozen=True)
class Finding:
    """One finding: a diagnostic with the id of its rule and what to do."""

    rule: str
    severity: Severity
    baseline: str
    evidence: str
    fix: str
    measured: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "against": self.baseline,
            "evidence": self.evidence,
            "fix": self.fix,
            "measured": self.measured,
        }
