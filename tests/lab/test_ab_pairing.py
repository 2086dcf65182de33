"""`catalyst-dl ab` trains: pairs that are equal to the bit, and going on after every kind of ending."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from catalyst_cityscapes.callbacks.checkpoint import Checkpoint
from catalyst_cityscapes.lab import run as lab_run
from catalyst_cityscapes.lab.execution import execute
from catalyst_cityscapes.lab.results import read_results
from catalyst_cityscapes.launch.children import Child
from semseg_ref.base.iteration_log import read_iteration_log
from support.command_line import child_environment, console_command, dl
from support.runs.labs import ARMS, ForkedChild, ab_words, fork, lab_plan, wait_for
from support.runs.toy import remove_checkpoints

pytestmark = pytest.mark.usefixtures("one_thread_module")
forks = pytest.mark.skipif(torch.cuda.is_available(), reason="a process that has used CUDA cannot be forked")


def assert_part_of(left: Path, right: Path) -> None:
    """Fails unless the base's and the control's run of seed 0 are in both labs to the bit, scores and all losses."""
    first, second = read_results(left), read_results(right)
    assert set(second.runs) == {("base", 0), ("control", 0)}
    for arm, seed in second.runs:
        ours, theirs = first.runs[arm, seed], second.runs[arm, seed]
        assert ours.miou == theirs.miou
        assert np.array_equal(ours.matrices, theirs.matrices)
        logs = [folder / "runs" / arm / f"seed_{seed}" / "iterations.csv" for folder in (left, right)]
        assert logs[0].read_bytes() == logs[1].read_bytes()


@pytest.fixture(scope="module")
def trained(toy_city, tmp_path_factory):
    """A finished lab: base, control (the base again) and head (another rate of the heads), seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("trained") / "lab"
    plan = lab_plan(folder, toy_city)
    start = Child if torch.cuda.is_available() else ForkedChild
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", child_environment()["PYTHONPATH"])
        assert execute(plan, 2, progress=lambda line: None, start=start) == ()
    yield folder
    remove_checkpoints(folder)


# -- pairing --------------------------------------------------------------------------------------------------------
def test_an_arm_identical_to_the_base_has_its_scores_to_the_bit(trained):
    results = read_results(trained)
    assert set(results.runs) == {(arm, seed) for arm in ("base", "control", "head") for seed in (0, 1)}
    for seed in (0, 1):
        base, control = results.runs["base", seed], results.runs["control", seed]
        assert control.miou == base.miou
        assert np.array_equal(control.matrices, base.matrices)
        assert not np.array_equal(results.runs["head", seed].matrices, base.matrices)
    assert not np.array_equal(results.runs["base", 0].matrices, results.runs["base", 1].matrices)


def test_arms_share_weights_images_and_draws_of_a_seed(trained):
    """Before its first optimiser step an arm with another rate has done the very same as the base."""
    logs = {
        (arm, seed): read_iteration_log(trained / "runs" / arm / f"seed_{seed}" / "iterations.csv")
        for arm in ("base", "head")
        for seed in (0, 1)
    }
    for seed in (0, 1):
        base, head = logs["base", seed], logs["head", seed]
        assert (base[0].main_loss, base[0].aux_loss) == (head[0].main_loss, head[0].aux_loss)
        assert base[0].lr_backbone == head[0].lr_backbone
        assert base[0].lr_head == pytest.approx(10 * head[0].lr_head)
        assert base[1].loss != head[1].loss
    assert logs["base", 0][0].loss != logs["base", 1][0].loss


# -- going on -------------------------------------------------------------------------------------------------------
@pytest.fixture
def forked_lab(toy_city, workdir, monkeypatch):
    """Gives a function that runs a part of that lab with forked children, and returns what `ab` printed."""
    monkeypatch.setattr(lab_run, "execute", lambda *arguments: execute(*arguments, start=ForkedChild))

    def run(*more: object) -> Result:
        return dl(*ab_words(toy_city, "--jobs", "2", *more, arms=ARMS[:1], seeds=1))

    return run


def slow_checkpoint() -> Callable:
    """`Checkpoint.on_epoch_end` that leaves time for a kill after the first epoch's."""
    original = Checkpoint.on_epoch_end

    def on_epoch_end(self: Checkpoint, runner: object) -> None:
        original(self, runner)
        if runner.epoch_step == 1 and str(runner.logdir) == "lab/runs/control/seed_0":
            time.sleep(60)

    return on_epoch_end


class KilledChild(ForkedChild):
    """Is killed once, when the training of the second arm has written the checkpoint of its first epoch."""

    def __init__(self, command, log, environment, held) -> None:
        super().__init__(command, log, environment, held)
        if "run" in command and log.parent == Path("lab/runs/control/seed_0"):
            wait_for(lambda: (log.parent / "model" / "last.pth").exists())
            self.signal(signal.SIGKILL)
            self.wait()
            assert not (log.parent / "model" / "train_epoch_2.pth").exists()


@forks
def test_a_lab_whose_child_was_killed_goes_on_to_the_same_bits(forked_lab, trained, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(lab_run, "execute", lambda *arguments: execute(*arguments, start=KilledChild))
        patch.setattr(Checkpoint, "on_epoch_end", slow_checkpoint())
        result = forked_lab()
    assert result.exit_code == 1, result.output
    error, counted = result.stderr.splitlines()
    assert error.startswith("catalyst-dl: error: control seed 0: train failed (killed by SIGKILL, out of memory?): ")
    assert counted.startswith("1 of 2 runs have no score and are missing above; the same command tries them again")
    assert "1 of 2 runs are not finished; the others:" in result.stdout
    assert Path("lab/report.html").is_file()
    before = {path: path.stat().st_mtime_ns for path in Path("lab").rglob("score.json")}
    assert len(before) == 1
    result = forked_lab()
    assert result.exit_code == 0, result.output
    assert "2 runs, 1 finished before" in result.stdout
    assert (
        "resuming from lab/runs/control/seed_0/model/last.pth" in Path("lab/runs/control/seed_0/train.log").read_text()
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_part_of(trained, Path("lab"))


@forks
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=("killed", "interrupted"))
def test_a_lab_that_was_ended_goes_on_to_the_same_bits(forked_lab, trained, monkeypatch, number):
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_end", slow_checkpoint())
        process = fork(lambda: leave_with(forked_lab()), Path("log"))
        wait_for(lambda: Path("lab/runs/control/seed_0/model/last.pth").exists())
        os.kill(process, number)
        _, status = os.waitpid(process, 0)
    if number == signal.SIGKILL:
        assert os.waitstatus_to_exitcode(status) == -number
    else:
        assert os.waitstatus_to_exitcode(status) == 128 + number
        assert "stopped by SIGINT: " in Path("log").read_text()
        assert "the same command goes on in lab" in Path("log").read_text()
    result = forked_lab()
    assert result.exit_code == 0, result.output
    assert_part_of(trained, Path("lab"))


def leave_with(result: Result) -> None:
    """Ends a forked process as the command ended."""
    print(result.output)
    raise SystemExit(result.exit_code)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_the_real_command_is_killed_with_its_children_and_goes_on(toy_city, workdir, trained):
    """`catalyst-dl ab` in processes that were started anew; the scores are those of the forked ones."""
    command = [console_command(), *ab_words(toy_city, "--jobs", "2", arms=ARMS[:1], seeds=1)]
    logs = [Path(f"lab/runs/{arm}/seed_0/train.log") for arm in ("base", "control")]
    with open("log", "w") as output:
        parent = subprocess.Popen(command, env=child_environment(), stdout=output, stderr=output)
    try:
        wait_for(lambda: all(log.exists() for log in logs) or parent.poll() is not None, 300)
        wait_for(lambda: len(children_of(parent.pid)) == 2 or parent.poll() is not None)
        children = children_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    assert len(children) == 2, Path("log").read_text()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert not list(Path("lab").rglob("score.json"))
    result = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=600, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "[2/2] " in result.stdout
    assert not list(Path("lab").rglob("*.pth"))
    assert_part_of(trained, Path("lab"))


def children_of(process: int) -> list[int]:
    """Ids of a process's children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == process:
            found.append(int(path.parent.name))
    return found
