"""`lint`: all findings about a recipe, what they mean for the exit code, and how they are written down."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from catalyst_cityscapes.lab.lint import DRAWS, SAMPLES
from catalyst_cityscapes.lab.lint.description import describe
from catalyst_cityscapes.lab.lint.facts import Facts, gather
from catalyst_cityscapes.lab.lint.finding import SEVERITIES, Diagnostic, Finding, Rule
from catalyst_cityscapes.lab.lint.reference import RECIPE, measure_reference, processes_of, reference_recipe
from catalyst_cityscapes.lab.lint.rules.decay import is_alike
from catalyst_cityscapes.lab.lint.table import RULES
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError

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
    against: str | None = None,
) -> Report:
    """Measures a recipe and applies every rule.

    Args:
        recipe: a checked recipe.
        processes: how many would train it; None: see `processes_of`.
        draws: of the augmentation on known images; shares and ranges are only judged from 12 on.
        samples: training samples to draw and, twice as many a list, labels to read.
        use_data: False asks nothing of the data set.
        allow: ids of rules whose findings do not count.
        against: name of the published recipe that it is held against; None: the one that it names itself
            (`expected.recipe`), or the official one.

    Raises:
        InputError: no such published recipe, or one that is refused.
    """
    named = None if recipe.expected is None else recipe.expected.recipe
    name = (against or named or RECIPE).removesuffix(".yml")
    try:
        published = reference_recipe(name)
    except InputError as error:
        raise InputError(f"{'--against' if against else 'expected.recipe'}: {error}") from error
    is_official = name == RECIPE
    processes = processes_of(recipe, None if is_official else published) if processes is None else processes
    facts = gather(recipe, processes, draws, samples, use_data)
    known = None if facts.optimisation is None else (recipe, facts.optimisation)
    facts.reference = measure_reference(name, published, known)
    others = _not_asked(facts)
    found = [
        Finding(rule.id, said.severity, _baseline(rule, facts), said.evidence, _fix(rule, said, facts), said.measured)
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


def _baseline(rule: Rule, facts: Facts) -> str:
    is_reference = rule.baseline == "published recipe" or (
        rule.baseline == "official recipe" and not facts.reference.is_official
    )
    return facts.reference.name if is_reference else rule.baseline


def _fix(rule: Rule, said: Diagnostic, facts: Facts) -> str:
    if said.fix is None and rule.official_fix and not facts.reference.is_official:
        return f"as {facts.reference.name} has it; catalyst-dl diff {facts.reference.name} RECIPE shows the keys"
    return said.fix or rule.fix


def _not_asked(facts: Facts) -> set[str]:
    """Ids of the rules that say nothing about such a recipe; which and why joins what was skipped."""
    network, optimisation = facts.network, facts.optimisation
    reasons = []
    if network is not None and not network.has_reference_parts:
        reasons.append(("reference_networks", f"of the reference's networks; {network.kind} is another"))
    if not facts.reference.is_official:
        reasons.append(("official_only", f"of the official recipe's values; it is held against {facts.reference.name}"))
    if optimisation is not None and not is_alike(facts):
        kind = "SGD" if facts.reference.is_official else "another optimiser"
        reasons.append(
            ("sgd", f"{facts.reference.owned} values are {kind}'s; the optimiser is {optimisation.optimizer}")
        )
    if network is not None and not network.norm_settings:
        reasons.append(("batch_norm", "of batch norm; the network has none"))
    others: set[str] = set()
    for kind, why in reasons:
        ids = [rule.id for rule in RULES.values() if getattr(rule, kind) and rule.id not in others]
        facts.skipped.append(f"{', '.join(ids)}: {why}")
        others.update(ids)
    return others
