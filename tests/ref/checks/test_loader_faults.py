"""Loader processes that the machine does not carry: one line with the cause, the way out and a code of its own."""

import errno
import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader

from semseg_ref.base.errors import LoaderError
from semseg_ref.checks import workers as loader_faults
from semseg_ref.checks.workers import batch_bytes, loader_fault, shared_memory_warning, told_loader_faults
from semseg_ref.config import exit_on_input_error

WORKER = "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(f"{WORKER}unable to write to file </torch_12_34>: No space left on device (28)"), "is too small"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that"), "is too small"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "for want of memory"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "ended without a word"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible."), "ulimit -n"),
    ],
)
def test_torchs_words_become_one_line(error, said):
    found = loader_fault(error, workers=2)
    assert isinstance(found, LoaderError)
    assert found.exit_code == 71
    assert str(found).startswith("sampling.workers: 2: ")
    assert said in str(found)
    assert "--resume auto" in str(found)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE])
def test_a_process_that_cannot_be_started(monkeypatch, code):
    def refuse():
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(LoaderError, match=r"sampling\.workers: 1: "), told_loader_faults(1):
        next(iter(DataLoader(torch.zeros(2, 1), num_workers=1)))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        OSError(errno.ENOSPC, "No space left on device"),  # a log's, not a loader's
        ConnectionResetError("of a dashboard"),
        KeyError("loss"),
    ],
)
def test_other_errors_stay_what_they_are(error):
    assert loader_fault(error, workers=2) is None
    with pytest.raises(type(error)), told_loader_faults(2):
        raise error


def test_without_loader_processes_nothing_is_theirs():
    assert loader_fault(RuntimeError("received 0 items of ancdata"), workers=0) is None


def end_itself(_worker: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed():
    loader = DataLoader(torch.zeros(8, 1), num_workers=1, worker_init_fn=end_itself)
    with (
        pytest.raises(LoaderError, match=r"sampling\.workers: 1: a loader process (was killed|ended without a word)"),
        told_loader_faults(1),
    ):
        list(loader)


def test_shared_memory_is_reckoned_before_the_start(monkeypatch):
    assert batch_bytes(2, (713, 713)) == 2 * 713 * 713 * 20
    usage = {"free": 64 * loader_faults.MIB}
    monkeypatch.setattr(loader_faults, "_space", lambda: (usage["free"], usage["free"]))
    assert shared_memory_warning(0, 16, (713, 713)) is None
    assert shared_memory_warning(2, 1, (713, 713)) is None
    said = shared_memory_warning(16, 2, (713, 713))
    assert "16 loader processes hold up to 621 MiB of batches in /dev/shm, which has 64.0 MiB left" in said
    usage["free"] = 2**40
    assert shared_memory_warning(16, 2, (713, 713)) is None


def test_the_control_arm_ends_with_the_code(capsys):
    with pytest.raises(SystemExit) as stop, exit_on_input_error("semseg_ref.train"), told_loader_faults(4):
        raise RuntimeError("received 0 items of ancdata")
    assert stop.value.code == 71
    assert capsys.readouterr().err.startswith("semseg_ref.train: error: sampling.workers: 4: no more files")
