"""Kills a toy training at random moments, resumes it, and compares the end with an uninterrupted one, bit by bit.

    .venv/bin/python benchmarks/kill_thirty.py [--kills 30] [--processes 1] [--signal KILL] [--seed 0] [--workers 0]

Each trial starts a run of a small network on a toy city, sends it the signal at a random moment, every second time
in the very moment that a checkpoint is being written, and resumes it with `--resume auto` to its end. Runs are
forks of one process that has imported everything, so a trial takes seconds. Two processes find each other over gloo,
as under torchrun; the signal goes to a random one of them, and where it kills, the other has
twice the engine's time-out and half a minute more to end. Prints a line a trial and the counts, appends a row to
benchmarks/results/kill_<machine>.csv, and ends with 1 unless all are equal.
"""

import os
import platform
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import click  # noqa: E402
import torch  # noqa: E402

from catalyst_cityscapes.bench.repeats import append_row  # noqa: E402
from catalyst_cityscapes.runs.checkpoints import resumable  # noqa: E402
from catalyst_cityscapes.runs.folder import open_run_folder  # noqa: E402, F401 - imported before the forks
from catalyst_cityscapes.toy_city import build_toy_city  # noqa: E402
from catalyst_cityscapes.train.runner import SegmentationRunner  # noqa: E402, F401
from semseg_ref.base.checkpoints.checksum import check_integrity  # noqa: E402
from support.command_line import catalyst_dl  # noqa: E402
from support.runs.toy import CONFIG, SMALL, SMALL_PACKAGE, assert_same_runs, toy_settings  # noqa: E402

torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first optimiser imports torch's compiler: 3 s a fork

TIMEOUT_MINUTES = 0.5
# Killed while the two find each other, the first one takes torch's store with it, and the other goes on asking for it:
# it ended after 85 to 109 s where the time-out was 60 s, since the store's client waits longer before every new try.
SECONDS_TO_END = 2 * 60 * TIMEOUT_MINUTES + 30
SECONDS_TO_RUN = 300
RESULTS = Path(__file__).parent / "results" / f"kill_{platform.machine()}-cpu.csv"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder: Path, arguments: list[str], processes: int) -> list[int]:
    """Forks the processes of one run; returns their ids by rank."""
    port, ids = str(free_port()), []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if processes > 1:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, LOCAL_WORLD_SIZE=str(processes))
            code = 1
            try:
                code = catalyst_dl(*arguments)
            except BaseException as error:
                print(type(error).__name__, error, flush=True)
            finally:
                os._exit(code)
        ids.append(child)
    return ids


def wait(ids: list[int], seconds: float) -> list[int | None]:
    """Exit statuses (negative: by a signal); None and SIGKILL for one that has not ended in time."""
    until, statuses = time.monotonic() + seconds, []
    for child in ids:
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < until:
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        statuses.append(os.waitstatus_to_exitcode(status) if ended else None)
    return statuses


def is_running(child: int) -> bool:
    """Whether a child has not ended, without collecting it."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def interrupt(ids: list[int], folder: Path, which: int, seconds: float, in_write: bool, victim: int) -> bool:
    """Sends the signal after so many seconds, or when a checkpoint is next being written; False: the run was over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and is_running(victim):
        time.sleep(0.001)
    model = folder / "run" / "model"
    while in_write and is_running(victim):
        if model.is_dir() and any(name.endswith(".pth.tmp") for name in os.listdir(model)):
            break
    if not is_running(victim):
        return False
    os.kill(victim, which)
    return True


def differences(whole: Path, run: Path) -> list[str]:
    """The first thing that is not bit by bit the same in two run folders, if any."""
    try:
        assert_same_runs(whole, run)
    except (AssertionError, OSError, RuntimeError) as error:
        return [f"{type(error).__name__} {error}"]
    return []


@click.command()
@click.option("--kills", default=30, show_default=True)
@click.option("--processes", default=1, show_default=True)
@click.option("--signal", "signal_name", type=click.Choice(["KILL", "TERM"]), default="KILL", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--workers", default=0, show_default=True, help="Loader processes.")
@click.option("--epochs", default=8, show_default=True)
@click.option("--record/--no-record", default=True, help="Append to benchmarks/results.")
def main(kills: int, processes: int, signal_name: str, seed: int, workers: int, epochs: int, record: bool) -> None:
    """Kills, resumes, compares."""
    torch.set_num_threads(1)
    which, rng = signal.Signals[f"SIG{signal_name}"], random.Random(seed)
    row = {"signal": signal_name, "processes": processes, "workers": workers, "kills": 0, "equal": 0, "in_write": 0}
    row |= {"within_epoch": 0, "early": 0, "others_ended_within_s": 0.0, "torch": torch.__version__, "seed": seed}
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        city = build_toy_city(base / "city", train=10, val=3, test=1, height=64, width=96)
        settings = toy_settings(
            city, *SMALL, f"experiment.epochs={epochs}", f"sampling.batch_size={processes}", "validation.every=2",
            f"sampling.workers={workers}", "callbacks.checkpoint.metric=mIoU", "callbacks.iteration_log.every=4",
            "callbacks.checkpoint.every_minutes=0.0003", "callbacks.watch.every=3",
            f"engine.timeout_minutes={TIMEOUT_MINUTES}",
        )  # fmt: skip
        arguments = ["run", "--config", CONFIG, "--trust", SMALL_PACKAGE, "--resume", "auto", "--set", *settings]
        (base / "whole").mkdir()
        began = time.monotonic()
        statuses = wait(start(base / "whole", arguments, processes), SECONDS_TO_RUN)
        length = time.monotonic() - began
        if any(statuses):
            raise SystemExit(f"the uninterrupted run ended with {statuses}\n{(base / 'whole/output.txt').read_text()}")
        print(f"uninterrupted: {length:.1f} s; {processes} process(es), SIG{signal_name}")
        trial = 0
        while row["kills"] < kills:
            trial += 1
            folder = base / f"trial{trial}"
            folder.mkdir()
            in_write, moment = trial % 2 == 0, rng.uniform(0, 0.95 * length)
            ids = start(folder, arguments, processes)
            victim = rng.choice(ids)
            was_sent = interrupt(ids, folder, which, moment, in_write, victim)
            sent_at = time.monotonic()
            statuses = wait(ids, SECONDS_TO_END)
            if not was_sent or not any(statuses):
                shutil.rmtree(folder)
                continue
            row["kills"] += 1
            row["others_ended_within_s"] = max(row["others_ended_within_s"], round(time.monotonic() - sent_at, 1))
            model = folder / "run" / "model"
            half_written = model.is_dir() and any(model.glob("*.pth.tmp"))
            candidates = resumable(model) if model.is_dir() else []
            for path in candidates:
                check_integrity(path)
            newest = candidates[0].name if candidates else "none"
            row["in_write"] += half_written
            row["within_epoch"] += newest.startswith("within")
            row["early"] += not candidates
            again = wait(start(folder, arguments, processes), SECONDS_TO_RUN)
            found = [f"exit {again}"] if any(again) else differences(base / "whole" / "run", folder / "run")
            row["equal"] += not found and None not in statuses
            print(
                f"{row['kills']:3d} at {moment:5.2f} s{' (in a write)' if half_written else '':14s} "
                f"exit {statuses} newest {newest:28s} {'equal' if not found else 'DIFFERENT: ' + '; '.join(found)}",
                flush=True,
            )
            if found:
                print((folder / "output.txt").read_text()[-3000:])
            shutil.rmtree(folder)
    print(
        f"{row['equal']} of {row['kills']} equal to the uninterrupted run; {row['in_write']} killed inside a write of "
        f"a checkpoint, {row['within_epoch']} went on within an epoch, {row['early']} had no checkpoint yet"
    )
    if record:
        append_row(RESULTS, row)
    sys.exit(0 if row["equal"] == row["kills"] else 1)


if __name__ == "__main__":
    main()
