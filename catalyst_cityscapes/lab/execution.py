"""Runs a lab: each unfinished (arm, seed) is trained and scored in processes of its own, several at once.

A lab that was ended in any way goes on: what is scored is not repeated, what was begun resumes at its last epoch.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError

from catalyst_cityscapes.lab.plan.cost import (
    SECONDS_FILE,
    duration,
    measured_seconds,
    remaining_seconds,
    write_seconds,
)
from catalyst_cityscapes.lab.plan.plan import (
    Plan,
    differences,
    read_plan,
    recipe_of,
    run_folder,
    shown,
    write_plan,
)
from catalyst_cityscapes.lab.results import SCORE_FILE
from catalyst_cityscapes.launch.children import Child, command_line, end_all, stoppable
from catalyst_cityscapes.launch.folder_lock import locked
from catalyst_cityscapes.recipe.loading import read_yaml
from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.runs.checkpoints import resumable
from catalyst_cityscapes.runs.folder import to_yaml
from semseg_ref.base.errors import InputError, OptionError
from semseg_ref.base.files import create_folder, replace_atomically
from semseg_ref.base.parallel import available_cpus

PLANNED_FILE = "planned.yml"
"""In a run folder: the recipe that it is to train."""
PREDICTIONS = ("gray", "color", "label_ids")
POLL_SECONDS = 0.1
Start = Callable[[Sequence[str], Path, Mapping[str, str], int], Child]


@dataclass(frozen=True)
class Failure:
    """A run that did not get a score.

    Attributes:
        arm, seed: which.
        stage: `train` or `test`.
        code: exit code, 2 for bad input, negative for a signal.
        log: the output of that stage.
        line: its last line.
    """

    arm: str
    seed: int
    stage: str
    code: int
    log: Path
    line: str

    def __str__(self) -> str:
        if self.code < 0:
            number = -self.code
            how = f"killed by {signal.Signals(number).name}{', out of memory?' if number == signal.SIGKILL else ''}"
        else:
            how = f"exit {self.code}"
        return f"{self.arm} seed {self.seed}: {self.stage} failed ({how}): {self.line or 'no output'} [{self.log}]"


@dataclass
class _Run:
    arm: str
    seed: int
    folder: Path
    device: str
    gpu: str | None
    resumed: bool
    stage: str = "train"
    child: Child | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def gpus(plan: Plan) -> list[str]:
    """GPUs for the runs, as `CUDA_VISIBLE_DEVICES` names them; none where every recipe runs on the CPU."""
    if all(arm.recipe.engine.device == "cpu" for arm in plan.arms):
        return []
    count = torch.cuda.device_count()
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return visible[:count] or [str(index) for index in range(count)]


def default_jobs(plan: Plan) -> int:
    """One run for each GPU, else one."""
    return max(len(gpus(plan)), 1)


def threads_for(folder: Path, jobs: int, asked: int | None = None) -> int:
    """CPU threads of each run: as asked, else those of the lab that is there, else a fair share of the cores."""
    if asked is not None:
        return asked
    try:
        return read_plan(folder).threads
    except InputError:
        return max(1, available_cpus() // jobs)


def is_finished(plan: Plan, arm: str, seed: int) -> bool:
    """Whether a run has its score.

    Raises:
        InputError: its folder holds a run of another recipe or seed.
    """
    folder = run_folder(plan, arm, seed)
    path = folder / RECIPE_FILE
    if not path.is_file():
        return False
    planned = recipe_of(plan, arm, seed)
    try:
        found = Recipe.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path}: not the recipe of a run: {error.errors()[0]['msg']}") from error
    changed = [("experiment.seed", found.experiment.seed, seed)] if found.experiment.seed != seed else []
    changed += differences(found, planned)
    if changed:
        key, old, new = changed[0]
        raise InputError(
            f"{path}: {key} is {shown(old)}, planned {shown(new)}: a run of another recipe; remove {folder}, or choose "
            "another lab with --to FOLDER"
        )
    return (folder / SCORE_FILE).is_file()


def unfinished(plan: Plan) -> list[tuple[str, int]]:
    """(arm, seed) of the runs that have no score yet, in the order in which they are run."""
    return [(arm, seed) for arm, seed in plan.runs() if not is_finished(plan, arm, seed)]


def execute(
    plan: Plan,
    jobs: int | None = None,
    keep_checkpoints: bool = False,
    progress: Callable[[str], object] = print,
    start: Start = Child,
) -> tuple[Failure, ...]:
    """Runs what is not finished, and writes the plan.

    Each run has its own process group, `OMP_NUM_THREADS` of the plan and, where there are GPUs, one of them. After
    scoring, checkpoints and predictions are deleted.

    Args:
        plan: the lab.
        jobs: runs at once; None is one for each GPU, else one.
        keep_checkpoints: keep checkpoints and predictions of finished runs.
        progress: gets one line for each finished run.
        start: starts a command; tests replace it.

    Returns:
        The runs that failed; the others are not stopped by them.

    Raises:
        InputError: the folder belongs to another lab or another one is running in it, fewer than one job.
        StoppedError: SIGINT, SIGTERM or SIGHUP; all children have ended then. Only in the main thread.
    """
    if jobs is not None and jobs < 1:
        raise OptionError(f"jobs: {jobs} is not >= 1")
    with locked(plan.folder) as lock:
        todo = unfinished(plan)
        write_plan(plan)
        with stoppable():
            return _Execution(plan, todo, jobs, keep_checkpoints, progress, start, lock).run()


class _Execution:
    def __init__(
        self,
        plan: Plan,
        todo: list[tuple[str, int]],
        jobs: int | None,
        keep_checkpoints: bool,
        progress: Callable[[str], object],
        start: Start,
        lock: int,
    ) -> None:
        self.plan, self.waiting, self.keep_checkpoints, self.progress = plan, list(todo), keep_checkpoints, progress
        self.start, self.lock = start, lock
        self.gpus = gpus(plan)
        self.jobs = jobs or default_jobs(plan)
        self.total, self.done = len(plan.runs()), len(plan.runs()) - len(todo)
        self.active: list[_Run] = []
        self.failures: list[Failure] = []

    def run(self) -> tuple[Failure, ...]:
        if not self.keep_checkpoints:
            for arm, seed in self.plan.runs():
                folder = run_folder(self.plan, arm, seed)
                if (arm, seed) not in self.waiting and not (folder / SECONDS_FILE).exists():
                    remove_bulk(folder)  # the lab was killed between this run's score and its cleaning
        if self.waiting:
            where = f"GPU {', '.join(self.gpus)}" if self.gpus else "CPU"
            at_once = min(self.jobs, len(self.waiting))
            self.progress(
                f"{self.total} runs, {self.done} finished before; {at_once} at once on {where}; CPU threads of each: "
                f"{self.plan.threads}; output: {self.plan.folder}/runs/*/*/train.log"
            )
        try:
            while self.waiting or self.active:
                while self.waiting and len(self.active) < self.jobs:
                    self._begin(*self.waiting.pop(0))
                for run in list(self.active):
                    code = run.child.poll()
                    if code is not None:
                        self._ended(run, code)
                if self.active:
                    time.sleep(POLL_SECONDS)
        finally:
            end_all(run.child for run in self.active if run.child is not None)
        return tuple(self.failures)

    def _begin(self, arm: str, seed: int) -> None:
        folder = create_folder(run_folder(self.plan, arm, seed))
        recipe = recipe_of(self.plan, arm, seed)
        replace_atomically(folder / PLANNED_FILE, lambda file: file.write(to_yaml(recipe).encode()))
        run = _Run(arm, seed, folder, recipe.engine.device, self._free_gpu(), bool(resumable(folder / "model")))
        self.active.append(run)
        self._start(run, "run", "--config", str(folder / PLANNED_FILE), "--resume", "auto")

    def _free_gpu(self) -> str | None:
        used = [run.gpu for run in self.active]
        return min(self.gpus, key=used.count) if self.gpus else None

    def _start(self, run: _Run, *arguments: str) -> None:
        threads = str(self.plan.threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONUNBUFFERED": "1",
            **({"CUDA_VISIBLE_DEVICES": run.gpu} if run.gpu is not None else {}),
        }
        trust = (word for package in self.plan.trusted for word in ("--trust", package))
        run.child = self.start(command_line(*arguments, *trust), self._log(run), environment, self.lock)

    def _log(self, run: _Run) -> Path:
        return run.folder / f"{run.stage}.log"

    def _ended(self, run: _Run, code: int) -> None:
        run.seconds[run.stage] = time.monotonic() - run.child.began
        if code != 0:
            self._close(run)
            failure = Failure(run.arm, run.seed, run.stage, code, self._log(run), last_line(self._log(run)))
            self.failures.append(failure)
            self.progress(f"FAILED {failure}")
        elif run.stage == "train":
            run.stage = "test"
            output = str((run.folder / SCORE_FILE).parent)
            self._start(run, "test", "--run", str(run.folder), "--output", output, "--device", run.device)
        else:
            self._close(run)
            self.done += 1
            if not self.keep_checkpoints:
                remove_bulk(run.folder)
            write_seconds(run.folder, run.seconds["train"], run.seconds["test"], run.resumed)
            self._report(run)

    def _close(self, run: _Run) -> None:
        self.active.remove(run)

    def _report(self, run: _Run) -> None:
        score = json.loads((run.folder / SCORE_FILE).read_text())
        left = [*self.waiting, *((other.arm, other.seed) for other in self.active)]
        remaining = remaining_seconds(left, measured_seconds(self.plan), self.jobs)
        rest = f"; about {duration(remaining)} left" if left and remaining is not None else ""
        self.progress(
            f"[{self.done}/{self.total}] {run.arm} seed {run.seed}: mIoU {score['mIoU']:.4f}, "
            f"{duration(sum(run.seconds.values()))}{' since it was resumed' if run.resumed else ''}{rest}"
        )


def remove_bulk(folder: Path) -> None:
    """Deletes a run's checkpoints and predictions; its score, logs and picture stay."""
    for pattern in ("*.pth", "*.pth.tmp"):
        for path in (folder / "model").glob(pattern):
            path.unlink(missing_ok=True)
    for name in PREDICTIONS:
        shutil.rmtree((folder / SCORE_FILE).parent / name, ignore_errors=True)


def last_line(log: Path) -> str:
    """The last line of a file that is not blank, without control characters; empty where there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    written = [line.strip() for line in lines if line.strip()]
    return "".join(character for character in written[-1] if character.isprintable()) if written else ""
