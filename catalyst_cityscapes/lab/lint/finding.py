"""Findings, the rules that make them, and what they hold a recipe against."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from catalyst_cityscapes.lab.lint.facts import Facts

Severity = Literal["error", "warning", "note"]
Against = Literal["official recipe", "own protocol", "own words", "data", "machine"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Hit:
    """What a rule's check says.

    Attributes:
        severity: `error`: it trains or scores something else than the recipe says. `warning`: it is likely to cost
            accuracy, or keeps the number from being compared. `note`: worth knowing.
        evidence: one line with the measured numbers.
        measured: the same numbers by name, plain values.
        mend: what to write where, when it is not the rule's own.
    """

    severity: Severity
    evidence: str
    measured: dict[str, Any] = field(default_factory=dict)
    mend: str | None = None


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: stable name, kebab-case.
        severities: that its findings can have, worst first.
        against: what a recipe is held against.
        measured: how its facts come about, in words.
        mend: what to write where.
        check: `facts -> hits`; it yields nothing where what it asks for could not be measured.
        issues: public threads about this fault.
    """

    id: str
    severities: tuple[Severity, ...]
    against: Against
    measured: str
    mend: str
    check: Callable[[Facts], Iterator[Hit]]
    issues: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One finding: a rule's hit with its id and what to do."""

    rule: str
    severity: Severity
    against: Against
    evidence: str
    mend: str
    measured: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "against": self.against,
            "evidence": self.evidence,
            "mend": self.mend,
            "measured": self.measured,
        }
