"""Two processes under torchrun: the same training as one, and what happens when one of them dies, hangs or is asked to
stop.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import psutil
import pytest
import torch
from torch import distributed

from catalyst_cityscapes.runs.checkpoints import WITHIN_FILE, resumable
from catalyst_cityscapes.toy_city import build_toy_city
from semseg_ref.base.checkpoints.checksum import check_integrity
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from semseg_ref.base.iteration_log import read_iteration_log
from semseg_ref.distributed import start_processes
from support.command_line import catalyst_dl, child_environment, console_command
from support.runs.forked_processes import finish as ended
from support.runs.forked_processes import forked_processes, is_running
from support.runs.labs import fork
from support.runs.toy import CONFIG, SMALL, SMALL_PACKAGE, assert_same_runs, toy_settings

pytestmark = [pytest.mark.usefixtures("one_thread_module"), pytest.mark.slow]
EPOCHS = 12
SETTINGS = (
    *SMALL, f"experiment.epochs={EPOCHS}", "sampling.batch_size=2", "validation.every=4", "callbacks.watch=null",
    "callbacks.checkpoint.metric=mIoU", "callbacks.iteration_log.every=2",
)  # fmt: skip


def arguments(city: Path, *settings: str) -> list[str]:
    """Of `catalyst-dl`, to train in `run` or go on there."""
    values = toy_settings(city, *SETTINGS, *settings)
    return ["run", "--config", CONFIG, "--trust", SMALL_PACKAGE, "--resume", "auto", "--set", *values]


@contextmanager
def torchrun(folder: Path, arguments: list[str], *options: str) -> Iterator[subprocess.Popen]:
    """Two processes of the console command; whatever is left of them afterwards is killed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--log-dir",
               str(folder / "torchrun"), *options, "--no-python", console_command(), *arguments]  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=folder, env=child_environment(), **pipes)
    family = [psutil.Process(process.pid)]
    try:
        yield process
    finally:
        if process.poll() is None:
            family += family[0].children(recursive=True)
            for member in reversed(family):
                member.kill()
        process.communicate()


def finish(process: subprocess.Popen, seconds: float = 300) -> tuple[int, str]:
    """Waits for the end; returns the exit status and what was written to stderr."""
    _, errors = process.communicate(timeout=seconds)
    return process.returncode, errors


def ranks(process: subprocess.Popen) -> list[psutil.Process]:
    """torchrun's processes by rank."""
    children = psutil.Process(process.pid).children()
    return sorted((c for c in children if "RANK" in c.environ()), key=lambda c: int(c.environ()["RANK"]))


def wait_for(process: subprocess.Popen, is_reached: Callable[[], bool]) -> None:
    """Until the moment comes or the run is over."""
    while process.poll() is None and not is_reached():
        time.sleep(0.005)


def rows(folder: Path) -> int:
    """Steps that are in the log."""
    return len(read_iteration_log(folder / "run" / "iterations.csv"))


def wait_for_rows(folder: Path, ids: list[int], count: int) -> None:
    """Until so many steps are in the log or a forked process has ended."""
    while all(is_running(process) for process in ids) and rows(folder) < count:
        time.sleep(0.005)


def train_to_the_end(folder: Path, arguments: list[str]) -> None:
    """Two processes without torchrun, which start at once."""
    with forked_processes(folder, arguments) as ids:
        statuses, output = ended(folder, ids)
    assert statuses == [0, 0], output[-3000:]


@pytest.fixture(scope="module")
def uninterrupted(toy_city, tmp_path_factory):
    """Run folder of two processes in one go: three steps an epoch, validation on two and one images."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    train_to_the_end(folder, arguments(toy_city))
    assert rows(folder) == 3 * EPOCHS
    return folder / "run"


def test_one_process_with_twice_the_batch(workdir):
    """Numeric: sums in another order. Without batch norm and dropout, and with as many labelled pixels in each share:
    the loss is a mean over pixels, and its mean over processes is the reference's.
    """
    city = build_toy_city(workdir / "city", train=8, val=3, test=1, height=64, width=96)
    for path in city.rglob("*labelTrainIds.png"):
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        label[label == 255] = 0
        cv2.imwrite(str(path), label)
    settings = (
        "model.batch_norm=false", "model.dropout=0", "sampling.batch_size=4", "experiment.epochs=2",
        "augmentation.steps.scale.scale=[1.0,1.2]", "augmentation.steps.rotate.p=0.0", "validation.every=1",
        "callbacks.checkpoint.save_every=1", "callbacks.mean_iou.names=null",
    )  # fmt: skip
    assert catalyst_dl(*arguments(city, *settings, "experiment.logdir=one")) == 0
    train_to_the_end(workdir, arguments(city, *settings, "experiment.logdir=two"))
    one, two = (read_checkpoint(f"{name}/model/last.pth") for name in ("one", "two"))
    for key, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][key], value, rtol=1e-5, atol=1e-7)
    # The momentum is the sum of the gradients, weighted by 0.9 a step.
    for index, state in one["optimizer"]["state"].items():
        other = two["optimizer"]["state"][index]["momentum_buffer"]
        torch.testing.assert_close(other, state["momentum_buffer"], rtol=1e-4, atol=1e-7)
    for left, right in zip(*(read_iteration_log(f"{name}/iterations.csv") for name in ("one", "two")), strict=True):
        assert left.loss == pytest.approx(right.loss, rel=1e-5)
    metrics = []
    for name in ("one", "two"):
        with open(f"{name}/metrics.csv") as file:
            metrics.append({(r["epoch"], r["loader"], r["metric"]): float(r["value"]) for r in csv.DictReader(file)})
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-3, abs=1e-3)
    assert ("2", "valid", "mIoU") in metrics[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_stops_both_at_the_same_step(toy_city, workdir, uninterrupted, rank):
    """The one under torchrun, the other without."""
    if rank == 0:
        with torchrun(workdir, arguments(toy_city)) as process:
            wait_for(process, lambda: rows(workdir) >= 8)
            os.kill(ranks(process)[rank].pid, signal.SIGTERM)
            status, errors = finish(process)
        assert status == 1
    else:
        with forked_processes(workdir, arguments(toy_city)) as ids:
            wait_for_rows(workdir, ids, 8)
            os.kill(ids[rank], signal.SIGTERM)
            statuses, errors = ended(workdir, ids)
        assert statuses == [75, 75]
    assert errors.count("stopped by") == 1
    newest = resumable(workdir / "run" / "model")[0]
    if WITHIN_FILE.fullmatch(newest.name):
        content = read_checkpoint(newest)
        assert len(content["processes"]) == 2
        assert rows(workdir) == 3 * content["epoch"] + content["batches"] < 3 * EPOCHS
    train_to_the_end(workdir, arguments(toy_city))
    assert_same_runs(uninterrupted, workdir / "run")


def test_a_killed_process_ends_the_run_and_torchrun_starts_it_again(toy_city, workdir, uninterrupted):
    """First without restarts: the other one ends, with its message, and no checkpoint is damaged."""
    with forked_processes(workdir, arguments(toy_city)) as ids:
        wait_for_rows(workdir, ids, 8)
        os.kill(ids[1], signal.SIGKILL)
        statuses, told = ended(workdir, ids, seconds=60)
    assert statuses[0] > 0
    assert "Traceback" not in told, told
    for path in (workdir / "run" / "model").glob("*.pth"):
        check_integrity(path)
    before = rows(workdir)
    with torchrun(workdir, arguments(toy_city), "--max-restarts=1") as process:
        wait_for(process, lambda: rows(workdir) >= before + 4)
        ranks(process)[1].kill()
        status, errors = finish(process)
    assert status == 0, errors[-3000:]
    assert_same_runs(uninterrupted, workdir / "run")


def test_a_restart_does_not_find_the_addresses_of_the_attempt_before(workdir):
    """The second attempt's process 1 looks for process 0 before that one is there (pytorch#135712)."""
    agent = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def work(places: dict[str, str], delay: int) -> None:
        os.environ.update(places)
        time.sleep(delay)
        start_processes()
        distributed.barrier()
        time.sleep(1)

    for attempt in (0, 1):
        started = []
        for rank in (0, 1):
            shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(agent.port)}
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "TORCHELASTIC_RESTART_COUNT": str(attempt)}
            places = {**shared, **own, "TORCHELASTIC_USE_AGENT_STORE": "True"}
            delay = 3 if rank == 0 and attempt == 1 else 0
            started.append(fork(lambda places=places, delay=delay: work(places, delay), workdir / "log"))
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]
        assert codes == [0, 0], (workdir / "log").read_text()


def test_a_process_that_hangs_is_given_up_with_the_step(toy_city, workdir):
    settings = ("engine.timeout_minutes=0.1", "experiment.epochs=500")
    with forked_processes(workdir, arguments(toy_city, *settings)) as ids:
        wait_for_rows(workdir, ids, 8)
        os.kill(ids[1], signal.SIGSTOP)
        statuses, output = ended(workdir, ids[:1], seconds=120)
    assert statuses == [1]
    told = [line for line in output.splitlines() if line.startswith("catalyst-dl: error: ")]
    assert len(told) == 1, output
    assert "process 0 of 2, epoch " in told[0]
    assert "did not answer for 0.1 minutes" in told[0]


def test_bad_input_of_one_process_is_told(workdir):
    """A broken image in one process's share: its message, and no traceback of ours."""
    city = build_toy_city(workdir / "city", train=6, val=2, test=1, height=64, width=96)
    image = sorted(city.rglob("train/**/*leftImg8bit.png"))[0]
    image.write_bytes(image.read_bytes()[:200])
    with forked_processes(workdir, arguments(city)) as ids:
        statuses, told = ended(workdir, ids, seconds=120)
    assert 0 not in statuses
    assert sum(image.name in line for line in told.splitlines()) == 1, told
