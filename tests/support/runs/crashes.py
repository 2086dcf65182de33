"""Runs of three short epochs on the toy city that are cut short, and what is left of them."""

import os
import signal
from pathlib import Path

import pytest

from support.command_line import catalyst_dl
from support.runs.toy import CONFIG, SMALL, SMALL_PACKAGE, toy_settings

SETTINGS = (
    *SMALL, "experiment.epochs=3", "validation.every=1", "callbacks.checkpoint.metric=loss",
    "callbacks.checkpoint.minimize=true", "callbacks.iteration_log.every=1",
    "callbacks.early_stopping._target_=catalyst_cityscapes.callbacks.EarlyStopping", "callbacks.watch=null",
)  # fmt: skip
"""Validation and a best checkpoint, so that callbacks have a state of their own; a log flushed within an epoch."""
STEPS = ("sampling.batch_size=1", "validation.batch_size=1", "callbacks.iteration_log.every=3",
         "callbacks.watch=null")  # fmt: skip
"""Five steps an epoch, three validation batches, a log that is flushed in the middle, and no warnings."""
PREEMPTED = 75
"""Exit code of a run that saved itself and stopped."""


class CrashError(Exception):
    """Stands for whatever ends a process."""


def train(city: Path, *arguments: str, settings: tuple[str, ...] = ()) -> int:
    """Trains three epochs of five steps in `run`; returns the command's exit code."""
    return catalyst_dl(*train_words(city, *arguments, settings=settings))


def train_words(city: Path, *arguments: str, settings: tuple[str, ...] = ()) -> list[str]:
    """The words of that command."""
    return [
        "run", "--config", CONFIG, "--trust", SMALL_PACKAGE, *arguments,
        "--set", *toy_settings(city, *SETTINGS, *STEPS, *settings),
    ]  # fmt: skip


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file below a folder."""
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_one_line(captured: str, *parts: object) -> None:
    """Asserts that a single line was printed and holds the parts."""
    lines = captured.strip().splitlines()
    assert len(lines) == 1, captured
    for part in parts:
        assert str(part) in lines[0]


def crash_at_call(patch: pytest.MonkeyPatch, owner: object, name: str, number: int, before: bool = True) -> None:
    """Lets the `number`-th call (from 1) of a function raise CrashError, before or after it did its work."""
    original, calls = getattr(owner, name), []

    def crashing(*args: object, **kwargs: object) -> object:
        calls.append(name)
        if len(calls) != number:
            return original(*args, **kwargs)
        if not before:
            original(*args, **kwargs)
        raise CrashError(f"{name}, call {number}")

    patch.setattr(owner, name, crashing)


def crash_at_replace(patch: pytest.MonkeyPatch, target: str, before: bool = True, number: int = 2) -> None:
    """Crashes at renaming the `number`-th file of this name into its place, or right after."""
    original, calls = os.replace, []

    def crashing(source: object, destination: object) -> None:
        calls.append(Path(destination).name == target)
        if not calls[-1] or sum(calls) != number:
            return original(source, destination)
        if not before:
            original(source, destination)
        raise CrashError(f"replace {destination}")

    patch.setattr(os, "replace", crashing)


def signal_after(
    patch: pytest.MonkeyPatch, owner: type, number: int, which: int = signal.SIGTERM, rank: int = 0
) -> None:
    """Sends this process a signal at the end of the `number`-th call (from 1) of a callback's `on_batch_end`.

    Of several processes, only that of a rank.
    """
    original, calls = owner.on_batch_end, []

    def signalling(self: object, runner: object) -> None:
        original(self, runner)
        calls.append(1)
        if len(calls) == number and int(os.environ.get("RANK", rank)) == rank:
            os.kill(os.getpid(), which)

    patch.setattr(owner, "on_batch_end", signalling)
