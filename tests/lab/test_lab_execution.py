"""Running a lab: order, environment, failures, signals, and what stays on disk."""

import json
import os
import signal
from pathlib import Path

import pytest

from catalyst_cityscapes.lab import execution
from catalyst_cityscapes.lab.execution import execute, gpus, is_finished, last_line, threads_for, unfinished
from catalyst_cityscapes.lab.plan.plan import read_plan, recipe_of, run_folder, write_plan
from catalyst_cityscapes.lab.results import read_results
from catalyst_cityscapes.launch.children import StoppedError, stoppable
from catalyst_cityscapes.launch.folder_lock import locked
from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.errors import InputError
from semseg_ref.base.parallel import available_cpus
from support.runs.labs import MadeUpChild, lab_plan, write_run


@pytest.fixture
def plan(toy_city, workdir):
    """A lab of three arms and two seeds in the working directory."""
    return lab_plan(Path("lab"), toy_city)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(execution, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(MadeUpChild, "started", [])
    monkeypatch.setattr(MadeUpChild, "exit_codes", {})


def run(plan, jobs: int | None = 1, **more: object) -> tuple[tuple[execution.Failure, ...], list[str]]:
    """Failures and lines of an execution with made-up processes."""
    lines: list[str] = []
    return execute(plan, jobs, progress=lines.append, start=MadeUpChild, **more), lines


# -- one lab -------------------------------------------------------------------------------------------------------
def test_all_runs_are_trained_and_scored_in_the_order_of_the_seeds(plan):
    failures, lines = run(plan)
    assert failures == ()
    assert [child.key for child in MadeUpChild.started] == [
        (arm, f"seed_{seed}", stage)
        for seed in (0, 1)
        for arm in ("base", "control", "head")
        for stage in ("train", "test")
    ]
    assert all(not child.running_beside for child in MadeUpChild.started)
    assert unfinished(plan) == []
    assert read_plan("lab") == plan
    assert len(read_results("lab").runs) == 6
    assert lines[0].startswith("6 runs, 0 finished before; 1 at once on CPU; CPU threads of each: 1; output: lab/runs/")
    assert lines[1].startswith("[1/6] base seed 0: mIoU 0.3333, 0 s; about 0 s left")
    assert lines[6].startswith("[6/6] head seed 1: mIoU 0.3333, 0 s")
    assert len(lines) == 7


def test_commands_and_environment_of_a_run(plan, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run(plan)
    train, test = MadeUpChild.started[4:6]
    folder = "lab/runs/head/seed_0"
    trust = ["--trust", "support"]
    assert train.arguments == ["run", "--config", f"{folder}/planned.yml", "--resume", "auto", *trust]
    assert test.arguments == ["test", "--run", folder, "--output", f"{folder}/score", "--device", "cpu", *trust]
    for child in (train, test):
        assert child.environment["OMP_NUM_THREADS"] == child.environment["MKL_NUM_THREADS"] == "1"
        assert child.environment["PATH"] == os.environ["PATH"]
    assert (train.log, test.log) == (Path(folder, "train.log"), Path(folder, "test.log"))
    planned = load_recipe([f"{folder}/planned.yml"], trusted=["support"])
    assert planned == recipe_of(plan, "head", 0)


def test_finished_runs_are_not_repeated(plan):
    write_run(plan, "control", 0)
    failures, lines = run(plan)
    assert failures == ()
    assert ("control", "seed_0") not in [child.key[:2] for child in MadeUpChild.started]
    assert "6 runs, 1 finished before" in lines[0]
    MadeUpChild.started.clear()
    assert run(plan) == ((), [])
    assert MadeUpChild.started == []


def test_a_trained_run_without_a_score_is_scored(plan):
    run(plan)
    Path("lab/runs/head/seed_1/score/score.json").unlink()
    MadeUpChild.started.clear()
    run(plan)
    assert [child.key for child in MadeUpChild.started] == [("head", "seed_1", "train"), ("head", "seed_1", "test")]


def test_jobs_run_at_once(plan, monkeypatch):
    monkeypatch.setattr(MadeUpChild, "polls", 3)
    run(plan, jobs=4)
    assert max(len(child.running_beside) for child in MadeUpChild.started) == 3
    assert unfinished(plan) == []
    with pytest.raises(InputError, match="jobs: 0 is not >= 1"):
        run(plan, jobs=0)


def test_each_gpu_gets_a_run(toy_city, workdir, monkeypatch):
    plan = lab_plan(Path("lab"), toy_city, ("a=",), (0, 1), "engine.device=auto")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus(plan) == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-5f,6")
    assert gpus(plan) == ["4", "GPU-5f", "6"]
    assert gpus(lab_plan(Path("lab"), toy_city, ("a=",))) == []
    monkeypatch.setattr(MadeUpChild, "polls", 3)
    _, lines = run(plan, jobs=None)
    trainings = [child for child in MadeUpChild.started if child.stage == "train"]
    assert [child.environment["CUDA_VISIBLE_DEVICES"] for child in trainings[:3]] == ["4", "GPU-5f", "6"]
    for child in MadeUpChild.started:
        assert child.environment["CUDA_VISIBLE_DEVICES"] not in [
            other.environment["CUDA_VISIBLE_DEVICES"] for other in child.running_beside if other.folder != child.folder
        ]
    assert "3 at once on GPU 4, GPU-5f, 6" in lines[0]


def test_more_jobs_than_gpus_share_them(toy_city, workdir, monkeypatch):
    plan = lab_plan(Path("lab"), toy_city, ("a=",), (0, 1), "engine.device=auto")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(MadeUpChild, "polls", 3)
    run(plan, jobs=4)
    trainings = [child.environment["CUDA_VISIBLE_DEVICES"] for child in MadeUpChild.started if child.stage == "train"]
    assert trainings == ["0", "1", "0", "1"]


def test_threads_are_a_share_of_the_cores_or_those_of_the_lab(plan, monkeypatch):
    monkeypatch.setattr(execution, "available_cpus", lambda: 8)
    assert [threads_for(Path("lab"), jobs) for jobs in (1, 3, 9)] == [8, 2, 1]
    assert threads_for(Path("lab"), 3, asked=5) == 5
    write_plan(plan)
    assert threads_for(Path("lab"), 4) == 1
    monkeypatch.undo()
    assert 1 <= available_cpus() <= os.cpu_count()


def test_checkpoints_and_predictions_go_after_scoring(plan):
    run(plan)
    assert not list(Path("lab").rglob("*.pth"))
    assert sorted(path.name for path in Path("lab/runs/base/seed_0/score").iterdir()) == ["score.json", "score.npz"]
    assert Path("lab/runs/base/seed_0/train.log").is_file()


def test_checkpoints_and_predictions_stay_where_asked(plan):
    run(plan, keep_checkpoints=True)
    assert len(list(Path("lab").rglob("*.pth"))) == 6
    assert len(list(Path("lab").rglob("*.png"))) == 12
    run(plan)
    assert len(list(Path("lab").rglob("*.pth"))) == 6, "what was kept once is not deleted later"


def test_a_lab_that_was_killed_before_it_cleaned_up_does_so(plan):
    run(plan, keep_checkpoints=True)
    Path("lab/runs/head/seed_1/seconds.json").unlink()
    run(plan)
    assert len(list(Path("lab").rglob("*.pth"))) == 5
    assert not list(Path("lab/runs/head/seed_1").rglob("*.pth"))


def test_seconds_are_recorded(plan):
    folder = run_folder(plan, "base", 0) / "model"
    folder.mkdir(parents=True)
    (folder / "last.pth").write_bytes(b"weights of epoch 1")
    _, lines = run(plan)
    assert json.loads((folder.parent / "seconds.json").read_text())["resumed"] is True
    assert json.loads(Path("lab/runs/head/seed_0/seconds.json").read_text())["resumed"] is False
    assert "since it was resumed" in lines[1]
    assert " left" not in lines[1], "nothing was measured in one piece yet"
    assert "about 0 s left" in lines[2]


# -- failures ------------------------------------------------------------------------------------------------------
def test_a_failed_run_does_not_stop_the_others(plan):
    MadeUpChild.exit_codes.update(
        {("base", "seed_0", "train"): 2, ("head", "seed_0", "test"): 1, ("head", "seed_1", "train"): -9}
    )
    failures, lines = run(plan)
    assert [(failure.arm, failure.seed, failure.stage, failure.code) for failure in failures] == [
        ("base", 0, "train", 2),
        ("head", 0, "test", 1),
        ("head", 1, "train", -9),
    ]
    assert str(failures[0]) == ("base seed 0: train failed (exit 2): train of seed_0 [lab/runs/base/seed_0/train.log]")
    assert "killed by SIGKILL, out of memory?" in str(failures[2])
    assert f"FAILED {failures[0]}" in lines
    assert set(read_results("lab").runs) == {("control", 0), ("base", 1), ("control", 1)}
    MadeUpChild.exit_codes.clear()
    MadeUpChild.started.clear()
    assert run(plan)[0] == ()
    assert {child.key[:2] for child in MadeUpChild.started} == {
        ("base", "seed_0"),
        ("head", "seed_0"),
        ("head", "seed_1"),
    }


def test_last_line_of_a_log(tmp_path):
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_bytes(b"one\n\x1b[31mtwo\xff\x07\n \n")
    assert last_line(log) == "[31mtwo�"
    log.write_text("\n")
    assert last_line(log) == ""


def test_a_folder_with_a_run_of_another_recipe_is_refused(plan, toy_city):
    path = write_run(lab_plan(Path("lab"), toy_city, ("head=optimizer.lr=0.5",)), "head", 0)
    with pytest.raises(InputError, match=r"lab/runs/head/seed_0/recipe.yml: optimizer.lr is 0.5, planned 0.001"):
        run(plan)
    assert MadeUpChild.started == []
    recipe = path.parent.parent / "recipe.yml"
    recipe.write_text(recipe.read_text().replace("seed: 0", "seed: 3").replace("lr: 0.5", "lr: 0.001"))
    with pytest.raises(InputError, match=r"experiment.seed is 3, planned 0"):
        is_finished(plan, "head", 0)
    recipe.write_text("experiment: {}\n")
    with pytest.raises(InputError, match=r"recipe.yml: not the recipe of a run"):
        is_finished(plan, "head", 0)


def test_a_lab_that_was_moved_is_still_finished(plan, toy_city):
    run(plan)
    Path("lab").rename("moved")
    assert unfinished(lab_plan(Path("moved"), toy_city)) == []


def test_an_error_ends_all_children(plan, monkeypatch):
    monkeypatch.setattr(MadeUpChild, "polls", None)

    def broken(_line: str) -> None:
        raise RuntimeError("broken pipe")

    MadeUpChild.exit_codes[("base", "seed_0", "train")] = 1
    original = MadeUpChild.poll

    def poll(child: MadeUpChild) -> int | None:
        if child.key[0] == "base":
            child.left = 0
        return original(child)

    monkeypatch.setattr(MadeUpChild, "poll", poll)
    lines = iter(("plan", "failed"))
    with pytest.raises(RuntimeError, match="broken pipe"):
        execute(plan, 3, progress=lambda line: broken(line) if next(lines) == "failed" else None, start=MadeUpChild)
    assert [child.signals for child in MadeUpChild.started[1:]] == [[signal.SIGTERM, signal.SIGKILL]] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_children(plan, monkeypatch, number):
    monkeypatch.setattr(MadeUpChild, "polls", None)
    before = [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    polls = []

    def poll(child: MadeUpChild) -> int | None:
        polls.append(child)
        if len(polls) == 5:
            os.kill(os.getpid(), number)
        return child.code

    monkeypatch.setattr(MadeUpChild, "poll", poll)
    with pytest.raises(StoppedError) as caught:
        run(plan, jobs=2)
    assert caught.value.number == number
    assert str(caught.value) == number.name
    assert [child.signals for child in MadeUpChild.started] == [[signal.SIGTERM, signal.SIGKILL]] * 2
    assert [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    monkeypatch.undo()
    assert len(unfinished(plan)) == 6


def test_a_second_signal_does_not_disturb_the_ending():
    ended = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            ended.append(True)

    with pytest.raises(StoppedError, match="SIGTERM"), stoppable():
        work()
    assert ended == [True]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_two_labs_in_one_folder_are_refused(plan):
    with locked(Path("lab")), pytest.raises(InputError, match=f"lab: another lab is running .*{os.getpid()}"):
        run(plan)
    assert MadeUpChild.started == []
    assert not Path("lab/plan.json").exists()
    run(plan)
