"""The one way to call the command line: in this process, or in one of its own."""

import os
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from catalyst_cityscapes.cli import main
from support.places import TESTS


def dl(*arguments: object) -> Result:
    """Runs `catalyst-dl` in this process with its output kept; its own errors other than an exit are the test's."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def catalyst_dl(*arguments: object) -> int:
    """Runs `catalyst-dl` in this process with its output left to `capsys`; returns the exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    raise AssertionError("click ends every command with an exit")


def console_command() -> str:
    """Path of the installed `catalyst-dl`."""
    return str(Path(sys.executable).with_name("catalyst-dl"))


def child_environment() -> dict[str, str]:
    """Environment of a child process: one thread each, the tests' modules importable."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
