"""Labs for tests: small ones that are trained, and run folders that look as if they had been."""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from catalyst_cityscapes.evaluation import score_run as _scoring  # noqa: F401 - likewise
from catalyst_cityscapes.lab.plan.arms import build_arms
from catalyst_cityscapes.lab.plan.plan import Plan, recipe_of, run_folder
from catalyst_cityscapes.runs.folder import to_yaml
from catalyst_cityscapes.train import (
    runner as _runner,  # noqa: F401 - else each forked process would take seconds for it
)
from semseg_ref.evaluation import evaluation_from_matrices, write_score
from semseg_ref.protocol import Protocol
from support.command_line import catalyst_dl
from support.runs.tiny import settings_of
from support.runs.toy import CONFIG, SMALL_PACKAGE

torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first optimiser imports torch's compiler: seconds again

BASE = CONFIG
TRUSTED = (SMALL_PACKAGE,)
ARMS = ("control=", "head=swap/head_lr")
NAMES = ("road", "sky", "car")


def lab_settings(city: Path, *settings: str) -> list[str]:
    """`--set` values of trainings of two epochs, two steps each, in one thread on the CPU."""
    return settings_of(city, "experiment.epochs=2", "validation.every=0", "protocol.base_size=96", *settings)


def lab_plan(folder: Path, city: Path, arms: Sequence[str] = ARMS, seeds: Sequence[int] = (0, 1), *more: str) -> Plan:
    """A lab of the tiny network."""
    made = build_arms(BASE, arms, settings=lab_settings(city, *more), trusted=TRUSTED)
    return Plan(folder, made, tuple(seeds), TRUSTED, threads=1)


def ab_words(city: Path, *more: object, arms: tuple[str, ...] = ARMS, seeds: int = 2) -> list[str]:
    """`ab BASE ...` of the lab that `lab_plan` gives."""
    chosen = (word for arm in arms for word in ("--arm", arm))
    settings = lab_settings(city)
    options = ["--to", "lab", "--seeds", seeds, "--threads", 1, "--trust", *TRUSTED]
    return [str(word) for word in ("ab", BASE, *settings, *chosen, *options, *more)]


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Returns when a condition holds; fails after a long time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write_run(plan: Plan, arm: str, seed: int, share: float = 0.5, **more: object) -> Path:
    """The recipe and a made-up score of a finished run; `share` of the pixels are right. Returns the score file."""
    folder = run_folder(plan, arm, seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yml").write_text(to_yaml(recipe_of(plan, arm, seed)))
    return write_made_up_score(folder / "score" / "score.json", share, **more)


def write_made_up_score(
    path: Path,
    share: float = 0.5,
    images: Sequence[str] = ("a.png", "b.png"),
    names: Sequence[str] = NAMES,
    base_size: int = 96,
    list_sha256: str = "1" * 64,
) -> Path:
    """A score file and its matrices."""
    classes = len(names)
    right = round(1000 * share)
    matrix = np.full((classes, classes), (1000 - right) // (classes - 1), np.int64)
    np.fill_diagonal(matrix, right)
    matrices = np.stack([matrix * (index + 1) for index in range(len(images))])
    evaluation = evaluation_from_matrices(matrices, images, names)
    protocol = Protocol(crop=(33, 33), base_size=base_size)
    write_score(path, evaluation, protocol, extra={"list_sha256": list_sha256, "experiment": "x", "epoch": 1})
    return path


class MadeUpChild:
    """Stands for a process of a lab: does at once what its command would leave behind, and ends when it is time.

    Attributes:
        started: all that were started, in order; a test empties it.
        exit_codes: (arm/seed folder name pair, stage) -> exit code other than 0.
        polls: how often it is asked before it has ended; None runs until a signal.
    """

    started: "list[MadeUpChild]" = []  # noqa: RUF012 - the record of all of them
    exit_codes: dict[tuple[str, str, str], int] = {}  # noqa: RUF012
    polls: int | None = 1

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], held: int) -> None:
        self.began = time.monotonic()
        self.arguments = list(command[2:])
        self.environment, self.log, self.signals, self.code = dict(environment), log, [], None
        self.folder = log.parent
        self.stage = "train" if self.arguments[0] == "run" else "test"
        self.left = self.polls
        self.running_beside = [child for child in self.started if child.code is None]
        self.started.append(self)
        log.write_text(f"first line\n{self.stage} of {self.folder.name}\n\n")

    @property
    def key(self) -> tuple[str, str, str]:
        """Arm, seed folder, stage."""
        return self.folder.parent.name, self.folder.name, self.stage

    def poll(self) -> int | None:
        """As a `Child`."""
        if self.code is None and self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.code = self.exit_codes.get(self.key, 0)
                if self.code == 0:
                    self._leave()
        return self.code

    def wait(self, seconds: float | None = None) -> bool:
        """As a `Child`."""
        return self.code is not None

    def signal(self, number: int) -> None:
        """As a `Child`."""
        self.signals.append(number)
        if self.code is None:
            self.code = -number

    def _leave(self) -> None:
        if self.stage == "train":
            (self.folder / "recipe.yml").write_bytes((self.folder / "planned.yml").read_bytes())
            (self.folder / "model").mkdir(exist_ok=True)
            (self.folder / "model" / "last.pth").write_bytes(b"weights")
        else:
            for name in ("gray", "color"):
                (self.folder / "score" / name).mkdir(parents=True, exist_ok=True)
                (self.folder / "score" / name / "a.png").write_bytes(b"picture")
            write_made_up_score(self.folder / "score" / "score.json")


def fork(work: Callable[[], object], log: Path, with_parent: bool = False) -> int:
    """Runs `work` in a forked process, without the seconds that importing torch takes; returns its process id.

    Args:
        work: its exit code is 0, 1 after an exception, or that of its SystemExit.
        log: its output is appended to this file.
        with_parent: it ends when this process does.
    """
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        if with_parent:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        work()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class ForkedChild:
    """A real process of a lab, forked instead of started anew; see `Child`."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], held: int) -> None:
        self.began, self.code = time.monotonic(), None

        def work() -> None:
            os.environ.clear()
            os.environ.update(environment)
            raise SystemExit(catalyst_dl(*command[2:]))

        self.process = fork(work, log, with_parent=True)

    def poll(self) -> int | None:
        """As a `Child`."""
        if self.code is None:
            ended, status = os.waitpid(self.process, os.WNOHANG)
            if ended:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float | None = None) -> bool:
        """As a `Child`."""
        deadline = time.monotonic() + (60 if seconds is None else seconds)
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.code is not None

    def signal(self, number: int) -> None:
        """As a `Child`."""
        try:
            os.killpg(self.process, number)
        except ProcessLookupError:
            return
