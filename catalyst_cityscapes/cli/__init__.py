"""`catalyst-dl`: one module a subcommand. Bad input is one line on stderr and exit code 2; a run that had to stop has a
code of its own."""

import errno
import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from catalyst_cityscapes.notices import is_main
from semseg_ref.errors import InputError, LostProcessError, RunStopError, did_you_mean, one_line, printable
from semseg_ref.unpickling import no_pickled_code

COMMANDS = {
    "prepare": "catalyst_cityscapes.cli.prepare",
    "browse": "catalyst_cityscapes.cli.browse",
    "lint": "catalyst_cityscapes.cli.lint",
    "run": "catalyst_cityscapes.cli.run",
    "test": "catalyst_cityscapes.cli.test",
    "evaluate": "catalyst_cityscapes.cli.evaluate",
    "scores": "catalyst_cityscapes.cli.scores",
    "diff": "catalyst_cityscapes.cli.diff",
    "ab": "catalyst_cityscapes.cli.ab",
    "ladder": "catalyst_cityscapes.cli.ladder",
    "submit": "catalyst_cityscapes.cli.submit",
    "weights": "catalyst_cityscapes.cli.weights",
    "demo": "catalyst_cityscapes.cli.demo",
    "report": "catalyst_cityscapes.cli.report",
    "bench": "catalyst_cityscapes.cli.bench",
}
"""Subcommand -> module with a command of the same name."""


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

    def invoke(self, ctx: click.Context) -> object:
        """Runs the subcommand; nothing that it loads may run pickled code."""
        _take_back_signals()
        with _exit_in_one_line(), no_pickled_code():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Subcommands in the order of a project's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        """Imports a subcommand's module only when it is asked for: torch takes seconds.

        Raises:
            InputError: there is no such subcommand.
        """
        if name not in COMMANDS:
            raise InputError(f"no command '{name}'{did_you_mean(name, COMMANDS)}")
        return getattr(importlib.import_module(COMMANDS[name]), name)


@click.group(cls=InputErrorGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="catalyst-cityscapes", prog_name="catalyst-dl")
def main() -> None:
    """Train and score PSPNet recipes through Catalyst, strictly comparable to the official semseg numbers."""
