"""Errors that are the user's to mend.

Every command line turns an `InputError` into one line on stderr and exit code 2, and a `RunStopError` into one line and
a code of its own; any other exception is a bug of ours and keeps its traceback. Where the reference raises a certain
built-in type (`RuntimeError` for a bad list file, `AssertionError` for an unknown option, `ValueError` for a wrong
type), the subclass inherits from both.
"""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input: the message names the file, key or value, what was expected, and the nearest valid choice."""


class DataError(InputError, RuntimeError):
    """A list file, an image or a label that cannot be used."""


class OptionError(InputError, AssertionError):
    """An option that does not exist, or has no value."""


class OptionTypeError(InputError, ValueError):
    """An option's value has another type than the option."""


class CheckpointError(InputError, RuntimeError):
    """A checkpoint that is missing, damaged, or belongs to another network."""


class RunStopError(Exception):
    """A run that ended early for a reason that is nobody's mistake; the message says what to do next.

    Attributes:
        exit_code: of the command.
    """

    exit_code = 1


class PreemptedError(RunStopError):
    """A signal asked the run to stop, and it saved itself; 75 is EX_TEMPFAIL, "try again later"."""

    exit_code = 75


class StorageError(RunStopError):
    """A checkpoint could not be written; 74 is EX_IOERR."""

    exit_code = 74


class DivergedError(RunStopError):
    """The loss is no longer a number."""

    exit_code = 3


class LoaderError(RunStopError):
    """The machine does not carry the loader processes; 71 is EX_OSERR, "system error"."""

    exit_code = 71


class LostProcessError(RunStopError):
    """Another process of the run is gone or does not answer."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The tail of an error message: `; did you mean 'power'?`, or the valid names when none is near.

    Upper and lower case only count where they decide between names that are equally near.
    """
    names = sorted(str(v) for v in valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not near:
        # miou for mIoU: where several names differ in case only, the first one is as good as any.
        by_lower_case = {n.lower(): n for n in reversed(names)}
        near = [by_lower_case[n] for n in difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)]
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; valid: {', '.join(names)}" if names else ""


def printable(text: str) -> str:
    """`text` on one line: what cannot be printed becomes '?'.

    That is line breaks, a terminal's escape sequences, marks that turn the direction of writing, and undecodable bytes
    of file names.
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def one_line(error: BaseException) -> str:
    """The message of an error in one printable line, also when a loader's worker process raised it.

    A message quotes files, so what it holds is other people's text, which a terminal must not take for commands. torch
    wraps a worker's exception into its whole traceback; the message proper is that text's last line.
    """
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return printable(" ".join(text.split()))
