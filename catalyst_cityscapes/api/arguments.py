"""Arguments that python lets through in any form, checked as the command line checks its options."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from semseg_ref.base.errors import OptionError, did_you_mean

DEVICES = ("auto", "cpu", "cuda")


def check_choice(name: str, value: str, valid: Iterable[str]) -> None:
    """Raises OptionError where an argument is none of the valid values."""
    valid = tuple(valid)
    if value not in valid:
        raise OptionError(f"{name}: {value!r}{did_you_mean(str(value), valid)}")


def check_count(name: str, value: int | None) -> None:
    """Raises OptionError where an argument is neither None nor a whole number from 1 on."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(f"{name}: {value!r}; expected a whole number >= 1, or None for all")


def listed(name: str, values: Sequence[Any]) -> list[str]:
    """The texts of a list argument.

    Raises:
        OptionError: it is one text, which python would take apart into letters.
    """
    if isinstance(values, (str, Path)):
        raise OptionError(f"{name}: {str(values)!r} is one value; expected a list of them, [{str(values)!r}]")
    return [str(value) for value in values]
