"""`catalyst-dl ab`: what a person types, reads and finds on disk."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest

from catalyst_cityscapes.lab import execution
from catalyst_cityscapes.lab import run as lab_run
from catalyst_cityscapes.lab.execution import execute
from catalyst_cityscapes.lab.plan.plan import run_folder, write_plan
from support.command_line import dl
from support.runs.labs import BASE, MadeUpChild, ab_words, lab_plan, write_run


@pytest.fixture
def made_up(workdir, monkeypatch):
    """Runs of `ab` are made up, not trained."""
    monkeypatch.setattr(execution, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(MadeUpChild, "started", [])
    monkeypatch.setattr(MadeUpChild, "exit_codes", {})
    monkeypatch.setattr(lab_run, "execute", lambda *arguments: execute(*arguments, start=MadeUpChild))


def test_help_says_what_it_does():
    result = dl("ab", "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    for part in (
        " ab [OPTIONS] BASE [KEY=VALUE]...",
        "Which overlay changes the score? Trains BASE and each arm with the same seeds, and compares them.",
        "catalyst-dl ab toy/pspnet50 --arm head_lr=swap/head_lr --arm both=swap/head_lr,optimizer.lr=0.005 --seeds 6",
    ):
        assert part in text
    for option in ("--arm", "--overlay", "--set", "--trust", "--seeds", "--first-seed", "--to", "--jobs", "--threads"):
        assert f" {option} " in text
    for option in ("--dry-run", "--keep-checkpoints", "--report-only"):
        assert f" {option} " in text
    assert "  ab " in dl("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "no BASE: which recipe? e.g. catalyst-dl ab toy/pspnet50 --arm head_lr=swap/head_lr --seeds 3"),
        ((BASE,), "no arm: give --arm NAME=OVERLAY, e.g. --arm head_lr=swap/head_lr"),
        (("toy/pspnet5", "--arm", "a="), "toy/pspnet5: no such config"),
        (
            (BASE, "swap/head_lr"),
            "swap/head_lr: one BASE only; overlays follow --arm NAME= or, for every arm, --overlay",
        ),
        ((BASE, "--arm", "a=swap/batc"), "--arm a: swap/batc: no such config"),
        ((BASE, "--arm", "a=", "--overlay", "no.yml"), "--overlay: no.yml: no such config"),
        ((BASE, "--arm", "a=", "--set", "optimizer.lr"), "--set optimizer.lr: expected key.path=value"),
        ((BASE, "--arm", "a=", "--seeds", "0"), "Invalid value for '--seeds': 0 is not in the range x>=1."),
        ((BASE, "--arm", "a=", "--first-seed", "-1"), "Invalid value for '--first-seed': -1 is not in the range"),
        ((BASE, "--arm", "a=", "--jobs", "0"), "Invalid value for '--jobs': 0 is not in the range x>=1."),
        ((BASE, "--arm", "a=", "--threads", "0"), "Invalid value for '--threads': 0 is not in the range x>=1."),
        ((BASE, "--arm", "a=", "experiment.seed=null"), "arm base: experiment.seed: null is a run without seeds"),
        ((BASE, "--arm", "a=", "data.root=nowhere"), "arm base: nowhere/list/fine_train.txt: no such list file"),
        (("--report-only",), "--report-only: which lab? catalyst-dl ab --report-only --to FOLDER"),
        (("--report-only", "--to", "no"), "no: no lab (no such folder); catalyst-dl ab makes one"),
        ((BASE, "--report-only"), "exp/toy_pspnet50_lab: no lab (no such folder)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_arguments_are_one_line_and_leave_nothing(arguments, expected, workdir):
    result = dl("ab", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"catalyst-dl: error: {expected}")
    assert len(result.stderr.splitlines()) == 1
    assert list(workdir.iterdir()) == []


def test_dry_run_writes_nothing(toy_city, made_up, workdir):
    result = dl(*ab_words(toy_city, "--dry-run", "--jobs", "2", "--first-seed", "5"))
    assert result.exit_code == 0, result.output
    assert list(workdir.iterdir()) == []
    assert MadeUpChild.started == []
    for part in (
        "identical recipe: a control of the pairing",
        "optimizer.groups.head_multiplier: 10 -> 1",
        "left:    6 of 6 runs, 24 optimiser steps, 48 training images",
        "time:    unknown until a first run of this lab is measured",
        "threads: 1 for each run; seeds 5, 6, the same in every arm",
    ):
        assert part in result.stdout


def test_a_lab_ends_with_a_report(toy_city, made_up):
    result = dl(*ab_words(toy_city, "--jobs", "1"))
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "[6/6] head seed 1: mIoU 0.3333" in result.stdout
    assert "report: lab/report.html" in result.stdout
    for name in ("plan.json", "scores.csv", "differences.csv", "analysis.json", "report.html"):
        assert Path("lab", name).is_file()
    assert json.loads(Path("lab/analysis.json").read_text())["base"] == "base"
    again = dl(*ab_words(toy_city, "--jobs", "1"))
    assert again.exit_code == 0
    assert "time:    nothing is left to run" in again.stdout
    assert len(MadeUpChild.started) == 12


def test_seeds_are_added_with_the_lab_s_own_threads(toy_city, made_up):
    assert dl(*ab_words(toy_city)).exit_code == 0
    MadeUpChild.started.clear()
    arguments = [word for word in ab_words(toy_city, seeds=3) if word not in ("--threads", "1")]
    result = dl(*arguments, "--jobs", "3")
    assert result.exit_code == 0, result.output
    assert {child.folder.name for child in MadeUpChild.started} == {"seed_2"}
    assert {child.environment["OMP_NUM_THREADS"] for child in MadeUpChild.started} == {"1"}
    result = dl(*ab_words(toy_city, "--threads", "2"))
    assert result.exit_code == 2
    assert "lab/plan.json: this lab runs with 1 threads, now 2: sums of floats depend on their number" in result.stderr


def test_report_only_trains_nothing(toy_city, made_up):
    plan = write_plan(lab_plan(Path("lab"), toy_city))
    for index, (arm, seed) in enumerate(plan.runs()[:4]):
        write_run(plan, arm, seed, 0.5 + index / 50)
    result = dl("ab", "--report-only", "--to", "lab")
    assert result.exit_code == 0, result.output
    assert "2 of 6 runs are not finished; the others:" in result.stdout
    assert Path("lab/report.html").is_file()
    assert MadeUpChild.started == []
    assert not run_folder(plan, "head", 1).exists()


def test_a_ladder_s_report_is_not_made_by_ab(toy_city, made_up):
    plan = lab_plan(Path("lab"), toy_city)
    write_plan(dataclasses.replace(plan, kind="ladder"))
    write_run(plan, "base", 0)
    result = dl("ab", "--report-only", "--to", "lab")
    assert result.exit_code == 2
    assert result.stderr == (
        "catalyst-dl: error: lab: a lab of kind ladder; its report: catalyst-dl ladder --report-only --to lab\n"
    )


@pytest.mark.parametrize(("codes", "expected"), [((2, 2), 2), ((2, 1), 1), ((-9, 2), 1)])
def test_exit_code_after_failures(toy_city, made_up, codes, expected):
    MadeUpChild.exit_codes.update({("head", f"seed_{seed}", "train"): code for seed, code in enumerate(codes)})
    result = dl(*ab_words(toy_city))
    assert result.exit_code == expected
    lines = result.stderr.splitlines()
    assert [line.split(": train failed")[0] for line in lines[:2]] == [
        "catalyst-dl: error: head seed 0",
        "catalyst-dl: error: head seed 1",
    ]
    assert lines[0].endswith("train of seed_0 [lab/runs/head/seed_0/train.log]")
    assert lines[2] == "2 of 6 runs have no score and are missing above; the same command tries them again"
    assert Path("lab/report.html").is_file()


def test_a_lab_whose_runs_all_fail_has_no_report(toy_city, made_up):
    MadeUpChild.exit_codes.update(
        {(arm, f"seed_{seed}", "train"): 2 for arm in ("base", "control", "head") for seed in (0, 1)}
    )
    result = dl(*ab_words(toy_city))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 7
    assert not Path("lab/report.html").exists()


def test_a_signal_is_told_with_how_to_go_on(toy_city, made_up, monkeypatch):
    monkeypatch.setattr(MadeUpChild, "polls", None)

    def poll(child: MadeUpChild) -> int | None:
        if len(MadeUpChild.started) == 1 and child.code is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return child.code

    monkeypatch.setattr(MadeUpChild, "poll", poll)
    result = dl(*ab_words(toy_city))
    assert result.exit_code == 128 + signal.SIGTERM
    assert result.stderr == (
        "stopped by SIGTERM: 0 of 6 runs are finished, their processes have ended; the same command goes on in lab\n"
    )
