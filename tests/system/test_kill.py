"""Real signals to real processes: a few of benchmarks/kill_thirty.py's trials, and what a scheduler sends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from catalyst_cityscapes.runs.checkpoints import resumable
from support.command_line import child_environment, console_command
from support.places import PROJECT
from support.runs.crashes import PREEMPTED, SETTINGS, STEPS, assert_one_line, train
from support.runs.toy import CONFIG, SMALL_PACKAGE, toy_settings

pytestmark = [pytest.mark.usefixtures("one_thread_module"), pytest.mark.slow]
SCRIPT = PROJECT / "benchmarks" / "kill_thirty.py"


@pytest.mark.parametrize(("which", "processes"), [("KILL", 1), ("TERM", 1), ("KILL", 2)])
def test_random_moments(which, processes):
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--signal", which, "--processes", str(processes),
               "--epochs", "4", "--no-record"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "3 of 3 equal to the uninterrupted run" in done.stdout


def start(city: Path, *settings: str) -> subprocess.Popen:
    """The console command in a session of its own, with two loader processes."""
    values = toy_settings(city, *settings)
    command = [console_command(), "run", "--config", CONFIG, "--trust", SMALL_PACKAGE, "--set", *values]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=child_environment(), start_new_session=True, **pipes)


def family_at_work(process: subprocess.Popen) -> list[psutil.Process]:
    """Child processes, once a few steps are in the log."""
    log = Path("run/iterations.csv")
    while process.poll() is None and not (log.is_file() and len(log.read_bytes().splitlines()) > 6):
        time.sleep(0.01)
    return psutil.Process(process.pid).children(recursive=True)


def running(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended."""
    return [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]


def test_a_signal_to_all_processes_of_a_job(toy_city, workdir):
    """Schedulers also send it to the loader processes; the training process still gets its batches."""
    settings = (*SETTINGS, *STEPS, "sampling.workers=2", "experiment.epochs=20", "experiment.logdir=run")
    process = start(toy_city, *settings)
    family = family_at_work(process)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == PREEMPTED, errors
    assert_one_line(errors, "stopped by SIGTERM", "--resume auto")
    assert not running(family)
    assert resumable(Path("run/model"))
    assert train(toy_city, "--resume", "auto", settings=("experiment.epochs=20",)) == 0
    assert train(toy_city, settings=("experiment.epochs=20", "experiment.logdir=whole")) == 0
    for name in ("last", "best"):
        assert (Path("whole/model", f"{name}.pth")).is_file()
    assert Path("whole/iterations.csv").read_bytes() == Path("run/iterations.csv").read_bytes()
    assert Path("whole/metrics.csv").read_bytes() == Path("run/metrics.csv").read_bytes()


def test_control_c_leaves_no_process_behind(toy_city, workdir):
    process = start(toy_city, *SETTINGS, *STEPS, "sampling.workers=2", "experiment.epochs=1000")
    family = family_at_work(process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert_one_line(errors, "stopped by Ctrl-C")
    assert not running(family)
