"""How long work on many files shows itself: a bar on a terminal, lines in a log."""

import contextlib
import sys
from collections.abc import Iterator

from semseg_ref.base.parallel import Progress


@contextlib.contextmanager
def shown_progress() -> Iterator[Progress]:
    """A bar for each stage on a terminal, a line every tenth of the way in a log; both on stderr."""
    if not sys.stderr.isatty():
        yield _print_tenths
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    # Refreshed by hand: a thread would keep the workers from being forked.
    with Bars(console=Console(stderr=True), auto_refresh=False) as bars:
        stages: dict[str, int] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done)
            if done == total or done % max(total // 200, 1) == 0:
                bars.refresh()

        yield show


def _print_tenths(stage: str, done: int, total: int) -> None:
    if done and (done * 10 // total > (done - 1) * 10 // total):
        print(f"{stage}: {done}/{total}", file=sys.stderr, flush=True)
