"""`catalyst-dl` in this process, for the parts that run it as people do."""

import time

from catalyst_cityscapes.cli import main


def catalyst_dl(*arguments: object) -> float:
    """Runs a subcommand; returns its seconds.

    Raises:
        RuntimeError: it ended with another exit code than 0.
    """
    given, start, code = [str(argument) for argument in arguments], time.perf_counter(), 0
    print("catalyst-dl", *given, flush=True)
    try:
        main(given, standalone_mode=False)
    except SystemExit as stop:
        code = stop.code
    if code not in (0, None):
        raise RuntimeError(f"catalyst-dl {given[0]} ended with {code}; the log says why")
    return time.perf_counter() - start
