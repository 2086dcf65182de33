"""What a person should know although the run goes on: one line on stderr, of the main process."""

import os
import sys

from semseg_ref.base.errors import printable


def is_main() -> bool:
    """Whether this process is the one that speaks, also before the processes have found each other."""
    return os.environ.get("RANK", "0") == "0"


def warn(message: str) -> None:
    """Prints a warning, once for all processes."""
    if is_main():
        print(printable(f"catalyst-dl: warning: {message}"), file=sys.stderr, flush=True)
