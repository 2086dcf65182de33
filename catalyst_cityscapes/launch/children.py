"""Child processes of a lab: their own process group, output to a file, and no life beyond their parent's."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
END_SECONDS = 10.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class StoppedError(Exception):
    """A signal asked to stop.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def command_line(*arguments: str) -> list[str]:
    """`catalyst-dl ARGUMENTS` with this interpreter."""
    script = Path(sys.executable).with_name("catalyst-dl")
    program = [str(script)] if script.is_file() else ["-c", "from catalyst_cityscapes.cli import main; main()"]
    return [sys.executable, *program, *arguments]


def _end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A running command.

    Args:
        command: program and arguments.
        log: its stdout and stderr are appended to this file.
        environment: its environment.
        held: file descriptor that it inherits.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], held: int) -> None:
        self.began = time.monotonic()
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                pass_fds=(held,),
                start_new_session=True,
                preexec_fn=_end_with_parent if LIBC is not None else None,
            )

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits for the end, at most so long; whether it has come."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def signal(self, number: int) -> None:
        """Sends a signal to the process and all that it started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


def end_all(children: Iterable[Child]) -> None:
    """Ends processes and waits for it: asked first, killed after `END_SECONDS`."""
    running = [child for child in children if child.poll() is None]
    for child in running:
        child.signal(signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    for child in running:
        ended = child.wait(max(deadline - time.monotonic(), 0))
        child.signal(signal.SIGKILL)  # also what it started and left behind
        if not ended:
            child.wait()


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside the block SIGINT, SIGTERM and SIGHUP raise `StoppedError`, once; those that are ignored stay so."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise StoppedError(number)

    before = {number: signal.getsignal(number) for number in STOPPING}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
