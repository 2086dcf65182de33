"""`catalyst-dl`: one module a subcommand, imported when it is called; what it works with is imported when it works.

So --help and a mistake are answered before torch is there. Bad input is one line on stderr and exit code 2; a run that
had to stop has a code of its own.
"""

import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from catalyst_cityscapes import __version__
from semseg_ref.base.console import is_main
from semseg_ref.base.errors import InputError, LostProcessError, RunStopError, did_you_mean, one_line, printable
from semseg_ref.base.safe.torch_load import no_pickled_code

COMPLETION = "_CATALYST_DL_COMPLETE"
"""Set by the shell when it completes a command line."""

COMMANDS = {
    "prepare": "Prepare a data set for training, or check a prepared one",
    "browse": "Draw the first training samples of an epoch, augmented",
    "lint": "Measure what a recipe does, and say what is wrong with it",
    "run": "Train a recipe",
    "test": "Score a checkpoint",
    "evaluate": "Score predictions with cityscapesScripts",
    "scores": "Put score files side by side",
    "diff": "Compare what two recipes do",
    "ab": "Which overlay changes the score?",
    "ladder": "Which component makes the gap between two recipes?",
    "generate": "Write recipe files from a table",
    "submit": "Write the test server's zip file",
    "weights": "Inspect, convert and verify weight files",
    "demo": "Predict images, folders and videos",
    "report": "Write a run's report as one HTML file that works offline",
    "bench": "Time ours against the control arm",
    "schema": "Write the JSON schema of recipes, from which editors complete",
}
"""Subcommand -> how its help begins, so that the list imports none. Its module has the same name."""

IN_LAB = ("lint", "diff", "ab", "ladder", "generate")
"""Those whose modules lie in `cli.lab`."""


@contextmanager
def _exit_in_one_line() -> Iterator[None]:
    code, is_told = 2, True
    try:
        yield
    except InputError as error:
        message = one_line(error)
    except RunStopError as error:
        message, code = one_line(error), error.exit_code
        # All processes stop for the same reason, but each lost another one at a step of its own.
        is_told = is_main() or isinstance(error, LostProcessError)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        message = printable(f"{str(error.filename)[:60]}...: this name is too long for a file")
    except click.UsageError as error:
        message = f"{printable(' '.join(error.format_message().split()))} (--help shows the usage)"
    except KeyboardInterrupt:
        message, code = "stopped by Ctrl-C", 130
    else:
        return
    if is_told:
        click.echo(f"catalyst-dl: error: {message}", err=True)
    if "torch" in sys.modules:
        from semseg_ref.distributed import leave_processes

        leave_processes(code)
    sys.exit(code)


def _take_back_signals() -> None:
    """SIGTERM ends and children's exit codes can be read, whatever the caller ignores.

    Both are inherited: with SIGCHLD ignored, a child that failed would look like one that succeeded. SIGINT and SIGHUP
    stay ignored where they are: that is how `nohup` and a script's `&` protect a command from its terminal.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGCHLD):
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)


class InputErrorGroup(click.Group):
    """Turns bad arguments and an `InputError` of a subcommand into one line and exit code 2.

    Our own bugs keep their traceback.
    """

    def make_context(self, info_name: str | None, args: list[str], *others: Any, **extra: Any) -> click.Context:
        """Reads the arguments before the subcommand; without any, click shows the help."""
        if not args:
            return super().make_context(info_name, args, *others, **extra)
        with _exit_in_one_line():
            return super().make_context(info_name, args, *others, **extra)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Runs the program, or answers the shell that asks what may come next."""
        if COMPLETION in os.environ:
            importlib.import_module("catalyst_cityscapes.cli.completion")
        return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Runs the subcommand; nothing that it loads may run pickled code."""
        _take_back_signals()
        with _exit_in_one_line(), no_pickled_code():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Subcommands in the order of a project's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports a subcommand's module only when it is asked for.

        Raises:
            InputError: there is no such subcommand; while a shell completes, that is None.
        """
        if name not in COMMANDS:
            if ctx.resilient_parsing:
                return None
            raise InputError(f"no command '{name}'{did_you_mean(name, COMMANDS)}")
        package = f"{__name__}.lab" if name in IN_LAB else __name__
        return getattr(importlib.import_module(f"{package}.{name}"), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=InputErrorGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="catalyst-dl")
def main() -> None:
    """Train and score PSPNet recipes through Catalyst, strictly comparable to the official semseg numbers."""
