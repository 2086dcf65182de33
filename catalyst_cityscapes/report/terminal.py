"""The console that tables are printed to."""

from rich.console import Console

PIPED_WIDTH = 150


def open_console(console: Console | None = None) -> Console:
    """The given console, or standard output's; into a pipe or a file that is wide enough for tables, not 80 columns."""
    if console is not None:
        return console
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)
