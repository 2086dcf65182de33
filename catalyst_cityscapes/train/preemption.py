"""Signals that ask a run to save itself and stop, and how all its processes agree on the step.

A process cannot stop alone: the others would wait for its gradients. Every process says at each step what it wants, and
all of them do at the next step what any of them wanted at this one. That answer is under way while the next step is
computed, so nobody waits for it, and it travels over the CPUs, so no GPU is asked.
"""

import signal
import threading
from datetime import timedelta
from types import FrameType

import torch
from torch import distributed

from semseg_ref.base.errors import LostProcessError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
NOTHING, SAVE, STOP = 0, 1, 2
"""What a process wants; of several votes the largest counts."""


class StopSignals:
    """Notes that one of `SIGNALS` came, between `install` and `remove`.

    Signals reach the main thread only; a run in another thread is not asked.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, object] = {}

    def install(self) -> None:
        """Takes the signals over."""
        self.received = None
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def remove(self) -> None:
        """Gives them back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name


class Consensus:
    """What any process wanted at the step before, the same for all of them.

    Args:
        world_size: number of processes; with one, its own vote counts at once.
        timeout: after which a process that does not answer is given up.
    """

    def __init__(self, world_size: int, timeout: timedelta) -> None:
        self._timeout = timeout
        self._group = distributed.new_group(backend="gloo", timeout=timeout) if world_size > 1 else None
        self._sent: tuple[distributed.Work, torch.Tensor] | None = None

    def exchange(self, vote: int) -> int:
        """Sends this step's vote and gives the largest of the step before; all processes call it equally often.

        Raises:
            LostProcessError: another process is gone or does not answer.
        """
        if self._group is None:
            return vote
        answer = self.finish()
        votes = torch.tensor(vote)
        self._sent = (distributed.all_reduce(votes, distributed.ReduceOp.MAX, self._group, async_op=True), votes)
        return answer

    def finish(self) -> int:
        """The answer that is still under way."""
        if self._sent is None:
            return NOTHING
        work, votes = self._sent
        self._sent = None
        try:
            work.wait()
        except RuntimeError as error:
            raise LostProcessError(str(error)) from error
        return int(votes)

    def gather(self, value: object, is_main: bool, world_size: int) -> list | None:
        """Every process's value, by rank, on the main process; None on the others."""
        if self._group is None:
            return [value]
        values: list | None = [None] * world_size if is_main else None
        distributed.gather_object(value, values, group=self._group)
        return values
