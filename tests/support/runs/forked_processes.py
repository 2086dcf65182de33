"""Processes of one run, forked: what a command or torchrun starts, without the seconds that imports take in each.

For what processes do together; how torchrun starts, restarts and ends them is in test_processes.py.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from support.command_line import catalyst_dl, child_environment, console_command
from support.runs.labs import fork

LOG = "processes.log"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def forked_processes(folder: Path, arguments: Sequence[str], processes: int = 2) -> Iterator[list[int]]:
    """Process ids by rank of `catalyst-dl ARGUMENTS` in a folder; their output goes to `LOG` there.

    Whatever is left of them afterwards is killed.
    """
    port = str(free_port())
    ids = []
    for rank in range(processes):
        places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        places |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": str(processes)}
        start = _start if torch.cuda.is_available() else _fork
        ids.append(start(folder, arguments, places if processes > 1 else {}))
    try:
        yield ids
    finally:
        for process in ids:
            if is_running(process):
                os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _fork(folder: Path, arguments: Sequence[str], places: dict[str, str]) -> int:
    def work() -> None:
        os.chdir(folder)
        os.environ.update(places)
        raise SystemExit(catalyst_dl(*arguments))

    return fork(work, folder / LOG)


def _start(folder: Path, arguments: Sequence[str], places: dict[str, str]) -> int:
    """A process that has used CUDA cannot be forked."""
    with open(folder / LOG, "ab") as log:
        command = [console_command(), *arguments]
        environment = {**child_environment(), **places}
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log).pid


def is_running(process: int) -> bool:
    """Whether a child has not ended, without collecting it."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def finish(folder: Path, ids: Sequence[int], seconds: float = 300) -> tuple[list[int], str]:
    """Waits for the end; returns the exit statuses by rank, negative for a signal, and what was written to the log."""
    deadline = time.monotonic() + seconds
    statuses = []
    for process in ids:
        while is_running(process):
            assert time.monotonic() < deadline, (folder / LOG).read_text()
            time.sleep(0.01)
        ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        statuses.append(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
    return statuses, (folder / LOG).read_text()
