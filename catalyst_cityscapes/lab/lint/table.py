"""The one table of rules."""

from collections.abc import Iterable, Sequence

from catalyst_cityscapes.lab.lint.finding import Rule
from catalyst_cityscapes.lab.lint.rules import (
    data,
    decay,
    exposure,
    geometry,
    labels,
    network,
    randomness,
    rates,
    scoring,
    values,
)
from semseg_ref.base.errors import OptionError, did_you_mean

THEMES: dict[str, Sequence[Rule]] = {
    "data": data.RULES,
    "geometry": geometry.RULES,
    "labels": labels.RULES,
    "values": values.RULES,
    "random draws": randomness.RULES,
    "learning rate": rates.RULES,
    "momentum and decay": decay.RULES,
    "batches and steps": exposure.RULES,
    "network and loss": network.RULES,
    "scoring": scoring.RULES,
}
"""Rules by theme, in the order of a training."""

RULES: dict[str, Rule] = {rule.id: rule for rules in THEMES.values() for rule in rules}
"""Every rule by its id."""


def check_ids(names: Iterable[str]) -> None:
    """Raises OptionError for a name that is no rule, with the nearest."""
    for name in names:
        if name not in RULES:
            raise OptionError(f"--allow {name}: no such rule{did_you_mean(name, RULES)}")


def markdown() -> str:
    """The table of docs/lint.md, a heading and a table a theme."""
    parts = []
    for theme, rules in THEMES.items():
        lines = [
            f"### {theme.capitalize()}",
            "",
            "| rule | severity | against | measured | mend | would have saved |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| `{r.id}` | {', '.join(r.severities)} | {r.against} | {r.measured} | {r.mend} | {_links(r)} |"
            for r in rules
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _links(rule: Rule) -> str:
    named = []
    for url in rule.issues:
        _, repository, _, number = url.removeprefix("https://github.com/").split("/")
        named.append(f"[{repository}#{number}]({url})")
    return ", ".join(named) or "-"
