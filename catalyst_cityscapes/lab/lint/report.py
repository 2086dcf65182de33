"""`lint`: all findings about a recipe, what they mean for the exit code, and how they are written down."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from catalyst_cityscapes.lab.lint import DRAWS, SAMPLES
from catalyst_cityscapes.lab.lint.description import describe
from catalyst_cityscapes.lab.lint.facts import Facts, default_processes, gather
from catalyst_cityscapes.lab.lint.finding import SEVERITIES, Finding
from catalyst_cityscapes.lab.lint.rules.decay import SGD_KINDS
from catalyst_cityscapes.lab.lint.table import RULES
from catalyst_cityscapes.recipe.schema import Recipe

EXIT_CODES = {"error": 3, "warning": 1, "note": 0}
STRICT_EXIT_CODES = {"error": 3, "warning": 3, "note": 1}


@dataclass(frozen=True)
class Report:
    """What is said about one recipe.

    Attributes:
        name: of the experiment.
        processes: that it was measured for.
        findings: worst first, in the table's order among equals.
        allowed: findings of rules that were allowed.
        skipped: what was not asked, and why.
        facts: the numbers measured, for people, (heading, text).
    """

    name: str
    processes: int
    findings: tuple[Finding, ...]
    allowed: tuple[Finding, ...]
    skipped: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]

    def count(self, severity: str) -> int:
        """Findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def exit_code(self, strict: bool = False) -> int:
        """0 with notes at most, 1 with warnings, 3 with errors; strict: notes 1, warnings 3."""
        codes = STRICT_EXIT_CODES if strict else EXIT_CODES
        return max((codes[finding.severity] for finding in self.findings), default=0)

    def to_json(self, strict: bool = False) -> dict[str, Any]:
        """Plain values."""
        return {
            "recipe": self.name,
            "processes": self.processes,
            "exit_code": self.exit_code(strict),
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "findings": [finding.to_json() for finding in self.findings],
            "allowed": [finding.to_json() for finding in self.allowed],
            "skipped": list(self.skipped),
        }


def lint(
    recipe: Recipe,
    processes: int | None = None,
    draws: int = DRAWS,
    samples: int = SAMPLES,
    use_data: bool = True,
    allow: Collection[str] = (),
) -> Report:
    """Measures a recipe and applies every rule.

    Args:
        recipe: a checked recipe.
        processes: how many would train it; None: see `default_processes`.
        draws: of the augmentation on known images; shares and ranges are only judged from 12 on.
        samples: training samples to draw and, twice as many a list, labels to read.
        use_data: False asks nothing of the data set.
        allow: ids of rules whose findings do not count.
    """
    processes = default_processes(recipe) if processes is None else processes
    facts = gather(recipe, processes, draws, samples, use_data)
    others = _not_asked(facts)
    found = [
        Finding(rule.id, said.severity, rule.baseline, said.evidence, said.fix or rule.fix, said.measured)
        for rule in RULES.values()
        if rule.id not in others
        for said in rule.check(facts)
    ]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Report(
        recipe.experiment.name,
        processes,
        tuple(finding for finding in found if finding.rule not in allow),
        tuple(finding for finding in found if finding.rule in allow),
        tuple(facts.skipped),
        tuple(describe(facts)),
    )


def _not_asked(facts: Facts) -> set[str]:
    """Ids of the rules that say nothing about such a recipe; which and why joins what was skipped."""
    network, optimisation = facts.network, facts.optimisation
    reasons = []
    if network is not None and not network.has_reference_parts:
        reasons.append(("reference_networks", f"of the reference's networks; {network.kind} is another"))
    if optimisation is not None and optimisation.optimizer not in SGD_KINDS:
        reasons.append(("sgd", f"the official values are SGD's; the optimiser is {optimisation.optimizer}"))
    if network is not None and not network.norm_settings:
        reasons.append(("batch_norm", "of batch norm; the network has none"))
    others: set[str] = set()
    for kind, why in reasons:
        ids = [rule.id for rule in RULES.values() if getattr(rule, kind) and rule.id not in others]
        facts.skipped.append(f"{', '.join(ids)}: {why}")
        others.update(ids)
    return others
