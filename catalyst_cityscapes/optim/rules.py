"""Parameter groups by a table of rules: a parameter's name or kind gives multipliers of its rate and its decay."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from catalyst_cityscapes.optim.param_groups import Groups
from semseg_ref.base.console import warn
from semseg_ref.base.errors import OptionError, did_you_mean

MULTIPLIERS = ("lr_mult", "decay_mult")
CONDITIONS = ("name", "kind")
KINDS = ("norm", "bias")
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class _Parameter:
    """A parameter under its first name.

    Attributes:
        name: dotted, as in `named_parameters`.
        value: the parameter.
        kinds: `norm`, `bias` where they apply, and the names of its module's class and of that one's bases.
    """

    name: str
    value: nn.Parameter
    kinds: frozenset[str]


def groups_by_rule(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    rules: Mapping[str, Mapping[str, float]] | Sequence[Mapping[str, Any]],
    merge: bool | None = None,
) -> Groups:
    """Groups whose rates and decays are the optimiser's times the multipliers that a table gives each parameter.

    A list of rows, each with a condition and multipliers:

        rules:
          - {kind: bias, decay_mult: 0}
          - {name: [ppm.*, cls.*, aux.*], lr_mult: 10}

    `name` is a pattern (`*` any text, `?` any character, `[ab]`) of the whole dotted name, or a list of which one has
    to fit; `kind` is `norm` (parameters of normalisation layers), `bias` (the name ends in it), or the class of the
    module that holds the parameter, such as `Conv2d`; a row with both needs both. Each of the two multipliers comes
    from the first row that fits and gives it, and is 1 without one. A row that fits no parameter is an error.

    A mapping is mmsegmentation's `custom_keys`, by its rules: a key is a part of the name; the longest key is tried
    first, then in alphabetical order; the first that fits gives both multipliers. A key without a hit is told and no
    error, since recipes there carry such keys.

        rules: {head: {lr_mult: 10}, norm: {decay_mult: 0}, pos_block: {decay_mult: 0}}

    Args:
        model: bare network; a parameter that two modules share counts once, where it comes first.
        lr, weight_decay: the optimiser's own.
        rules: the table.
        merge: one group for each pair of multipliers, in the order of their first parameters (default for a list and
            an empty table); otherwise one for each parameter in the network's order, as in mmsegmentation (default for
            a mapping). Checkpoints number the optimiser's state by that order, so they go with one value of it.

    Returns:
        Groups with `params`, `lr`, `weight_decay`, `name` and `lr_multiplier`, every parameter in exactly one.

    Raises:
        OptionError: a rule that is none, or a row that fits no parameter, with the nearest that exists.
    """
    parameters = list(_parameters(model))
    chosen = _by_custom_keys(parameters, rules) if isinstance(rules, Mapping) else _by_rows(parameters, rules)
    merge = not (isinstance(rules, Mapping) and rules) if merge is None else merge
    groups: dict[Any, dict[str, Any]] = {}
    for parameter, (lr_mult, decay_mult) in zip(parameters, chosen, strict=True):
        key = (lr_mult, decay_mult) if merge else parameter.name
        group = groups.setdefault(
            key,
            {
                "params": [],
                "lr": lr * lr_mult,
                "weight_decay": weight_decay * decay_mult,
                "name": f"lr x {lr_mult:g}, decay x {decay_mult:g}" if merge else parameter.name,
                "lr_multiplier": lr_mult,
            },
        )
        group["params"].append(parameter.value)
    return list(groups.values())


def _parameters(model: nn.Module) -> Iterator[_Parameter]:
    seen = set()
    for prefix, module in model.named_modules():
        kinds = {base.__name__ for base in type(module).__mro__} - {"object"}
        # Libraries have normalisation layers of their own, which are not made from torch's.
        if isinstance(module, NORMS) or "norm" in type(module).__name__.lower():
            kinds.add("norm")
        for name, value in module.named_parameters(recurse=False):
            if id(value) in seen:
                continue
            seen.add(id(value))
            bias = {"bias"} if name.endswith("bias") else set()
            yield _Parameter(f"{prefix}.{name}".lstrip("."), value, frozenset(kinds | bias))


def _by_custom_keys(
    parameters: list[_Parameter], rules: Mapping[str, Mapping[str, float]]
) -> list[tuple[float, float]]:
    table = {key: _multipliers(row, f"rules.{key}", ()) for key, row in rules.items()}
    keys = sorted(sorted(table), key=len, reverse=True)
    hits = [next((key for key in keys if key in parameter.name), None) for parameter in parameters]
    for key in keys:
        if not any(key in parameter.name for parameter in parameters):
            parts = {part for parameter in parameters for part in parameter.name.split(".") if not part.isdigit()}
            _tell(f"optimizer.groups.rules.{key}: no parameter has this in its name{_nearest(key, parts)}")
    return [
        (1.0, 1.0) if key is None else tuple(table[key].get(name, 1.0) for name in MULTIPLIERS)  # type: ignore[misc]
        for key in hits
    ]


@cache
def _tell(message: str) -> None:
    # Once: diff and lint build the same groups many times.
    warn(message)


def _by_rows(parameters: list[_Parameter], rules: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    if isinstance(rules, str) or not isinstance(rules, Sequence):
        raise OptionError(f"rules: expected a list of rows or a mapping, got {rules!r}")
    table = [(row, _multipliers(row, f"rules.{i}", CONDITIONS)) for i, row in enumerate(rules)]
    found = [[1.0, 1.0] for _ in parameters]
    for index in reversed(range(len(table))):  # so that the first row has the last word
        row, multipliers = table[index]
        fitting = [i for i, parameter in enumerate(parameters) if _fits(row, parameter)]
        if not fitting:
            raise OptionError(f"rules.{index}: {_shown(row)} fits no parameter{_near_row(row, parameters)}")
        for place, name in enumerate(MULTIPLIERS):
            for i in fitting if name in multipliers else ():
                found[i][place] = multipliers[name]
    return [(rate, decay) for rate, decay in found]


def _patterns(row: Mapping[str, Any]) -> list[str]:
    names = row.get("name", [])
    return [names] if isinstance(names, str) else list(names)


def _fits(row: Mapping[str, Any], parameter: _Parameter) -> bool:
    named = "name" not in row or any(fnmatchcase(parameter.name, pattern) for pattern in _patterns(row))
    return named and ("kind" not in row or row["kind"] in parameter.kinds)


def _multipliers(row: Any, place: str, conditions: Sequence[str]) -> dict[str, float]:
    known = (*conditions, *MULTIPLIERS)
    if not isinstance(row, Mapping):
        raise OptionError(f"{place}: expected a mapping of {', '.join(known)}, got {row!r}")
    for key, value in row.items():
        if key not in known:
            raise OptionError(f"{place}: unknown key '{key}'{did_you_mean(str(key), known)}")
        if key in MULTIPLIERS and not (type(value) in (int, float) and 0 <= value < float("inf")):
            raise OptionError(f"{place}.{key}: expected a number >= 0, got {value!r}")
    if "kind" in row and not isinstance(row["kind"], str):
        raise OptionError(f"{place}.kind: expected norm, bias or a class, got {row['kind']!r}")
    if "name" in row and not all(isinstance(pattern, str) for pattern in _patterns(row)):
        raise OptionError(f"{place}.name: expected a pattern or a list of them, got {row['name']!r}")
    if conditions and not any(key in row for key in conditions):
        raise OptionError(f"{place}: expected a condition: name or kind")
    found = {key: float(row[key]) for key in MULTIPLIERS if key in row}
    if not found:
        raise OptionError(f"{place}: expected a multiplier: lr_mult or decay_mult")
    return found


def _shown(row: Mapping[str, Any]) -> str:
    return " and ".join(f"{key} {row[key]!r}" for key in CONDITIONS if key in row)


def _near_row(row: Mapping[str, Any], parameters: list[_Parameter]) -> str:
    kinds = frozenset(KINDS).union(*(parameter.kinds for parameter in parameters)) - {"Module"}
    if "kind" in row and row["kind"] not in kinds:
        return did_you_mean(row["kind"], kinds)
    names = {parameter.name for parameter in parameters}
    # A part of a name fits nothing by itself, so it is shown with its ending.
    parts = {".".join(name.split(".")[:depth]) + ".*" for name in names for depth in range(1, name.count(".") + 1)}
    hints = (_nearest(pattern, names | parts) for pattern in _patterns(row))
    modules = ", ".join(dict.fromkeys(parameter.name.partition(".")[0] for parameter in parameters))
    return next((hint for hint in hints if hint), f"; names begin with {modules}")


def _nearest(name: str, valid: set[str]) -> str:
    hint = did_you_mean(name, valid)
    return hint if "did you mean" in hint else ""
