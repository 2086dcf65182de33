"""The one table of rules."""

import textwrap
from collections.abc import Iterable, Sequence

from catalyst_cityscapes.lab.lint.finding import Rule
from catalyst_cityscapes.lab.lint.rules import (
    data,
    decay,
    exposure,
    geometry,
    labels,
    network,
    protocol,
    published,
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
    "scoring": (*scoring.RULES, *protocol.RULES),
    "the published recipe": published.RULES,
}
"""Rules by theme, in the order of a training."""

RULES: dict[str, Rule] = {rule.id: rule for rules in THEMES.values() for rule in rules}
"""Every rule by its id."""

WIDTH = 120
"""Characters of a line in the documentation."""


def check_ids(names: Iterable[str]) -> None:
    """Raises OptionError for a name that is no rule, with the nearest."""
    for name in names:
        if name not in RULES:
            raise OptionError(f"--allow {name}: no such rule{did_you_mean(name, RULES)}")


def markdown() -> str:
    """The rules of docs/lint.md: a heading a theme, a list item a rule, lines of at most `WIDTH` characters."""
    return (
        "\n\n".join(
            "\n".join([f"### {theme.capitalize()}", "", *(line for rule in rules for line in _item(rule))])
            for theme, rules in THEMES.items()
        )
        + "\n"
    )


def _item(rule: Rule) -> list[str]:
    """A rule's list item, with items of its own for what is measured, the fix and the threads."""
    parts = [
        ("measured", rule.measured),
        ("fix", rule.fix),
        *(("would have saved", _link(url)) for url in rule.issues),
    ]
    lines = [f"- `{rule.id}` ({', '.join(rule.severities)}), against: {rule.baseline}"]
    for name, text in parts:
        indents = {"initial_indent": "  - ", "subsequent_indent": "    "}
        lines += textwrap.wrap(f"{name}: {text}", WIDTH, break_long_words=False, break_on_hyphens=False, **indents)
    return lines


def _link(url: str) -> str:
    _, repository, _, number = url.removeprefix("https://github.com/").split("/")
    return f"[{repository}#{number}]({url})"
