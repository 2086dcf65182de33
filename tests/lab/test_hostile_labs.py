"""A lab's folder, a ladder plan or a data set from a stranger: what report, lint and ladder do with them."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from catalyst_cityscapes.lab import execution
from catalyst_cityscapes.lab.analysis.analysis import analyse
from catalyst_cityscapes.lab.execution import execute
from catalyst_cityscapes.lab.ladder.waterfall import measure
from catalyst_cityscapes.lab.plan.plan import read_plan, write_plan
from catalyst_cityscapes.lab.results import read_results
from semseg_ref.evaluation import evaluation_from_matrices, write_score
from semseg_ref.protocol import Protocol
from support.command_line import dl
from support.faults.hostile_files import png
from support.faults.recipe_mutations import KEYS, VALUES, places, refused_in_one_line
from support.malformed.labs import LADDER, entries, furnish_labs
from support.malformed.place import files_of, tree
from support.runs.labs import ARMS, BASE, MadeUpChild, lab_plan, lab_settings

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&{{7*7}}$\\frac$[/red]\x1b[31m\u202e"


@pytest.fixture
def labs(toy_city, workdir):
    """The labs of the corpus, in a working directory with a data set."""
    Path("city").symlink_to(toy_city)
    furnish_labs()


def assert_harmless(page: str) -> None:
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert "{{7*7}}" in page
    assert "default-src 'none'" in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def name_classes(lab: str) -> None:
    """Gives every run of a lab class names that are attacks."""
    for path in Path(lab).rglob("score.json"):
        matrices = np.load(path.with_suffix(".npz"))["matrices"]
        evaluation = evaluation_from_matrices(matrices, ["a.png", "b.png"], [f"{index}{ATTACK}" for index in range(3)])
        write_score(path, evaluation, Protocol(crop=(33, 33), base_size=96), extra={"list_sha256": "1" * 64})


@pytest.mark.parametrize(("command", "lab"), [("ab", "lab"), ("ladder", "ladder")])
def test_the_page_of_a_lab_escapes_classes_recipes_and_notes(labs, command, lab):
    name_classes(lab)

    def change(plan: dict) -> None:
        plan["arms"][1]["recipe"]["callbacks"]["poly_lr"]["power"] = ATTACK
        for rung in plan["extra"].get("rungs", ()):
            rung["note"] = ATTACK
        if plan["extra"]:
            plan["extra"]["notes"] = ATTACK

    entries(f"{lab}/plan.json", change)()
    result = dl(command, "--report-only", "--to", lab)
    assert result.exit_code == 0, result.output
    assert_harmless(Path(lab, "report.html").read_text())
    assert not [c for c in result.output if not (c.isprintable() or c == "\n")]


def test_a_plan_of_others_lends_no_trust_and_builds_nothing(labs, monkeypatch):
    """What a plan's file trusts is not trusted; a target in it is neither imported nor built to report the lab."""
    target = {"_target_": "os.mkdir", "path": "ran"}

    def change(plan: dict) -> None:
        plan["trusted"] = ["os", "subprocess"]
        plan["arms"].append({**plan["arms"][1], "name": "mine"})
        plan["arms"][-1]["recipe"] = {**plan["arms"][1]["recipe"], "callbacks": {"x": target}, "model": target}

    entries("lab/plan.json", change)()
    assert dl("ab", "--report-only", "--to", "lab").exit_code == 0
    monkeypatch.setattr(execution, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(MadeUpChild, "started", [])
    plan = lab_plan(Path("lab"), Path("city"), seeds=(0, 1, 2))
    execute(plan, start=MadeUpChild, progress=lambda line: None)
    assert len(MadeUpChild.started) == 6
    for child in MadeUpChild.started:
        trusted = [
            word for before, word in zip(child.arguments, child.arguments[1:], strict=False) if before == "--trust"
        ]
        assert trusted == ["support"]
        assert child.folder.parent.name in ("base", "control", "head")
    assert not Path("ran").exists()


def test_any_change_of_a_labs_files_is_reported_or_refused_in_one_line(labs):
    refused = 0
    for seed in range(150):
        rng = random.Random(seed)
        lab = rng.choice(("lab", "ladder"))
        path = rng.choice([Path(lab, "plan.json"), *sorted(Path(lab).rglob("score.json"))])
        before = path.read_bytes()
        content = json.loads(before)
        container, key = rng.choice(places(content))
        if rng.random() < 0.3 and isinstance(container, dict):
            container[str(rng.choice(KEYS))] = container.pop(key)
        else:
            container[key] = rng.choice(VALUES)
        path.write_text(json.dumps(content))

        def report(lab: str = lab) -> object:
            results = read_results(lab)
            return analyse(results), measure(results) if lab == "ladder" else None

        refused += refused_in_one_line(report) is None
        path.write_bytes(before)
    assert 10 < refused < 140


def test_damaged_times_are_no_times(labs):
    for content in ("", "[]", "5", '{"train": "x", "test": 1, "resumed": false}', '{"train": NaN}', "[" * 100_000):
        Path("lab/runs/head/seed_0/seconds.json").write_text(content)
        words = ("ab", BASE, *lab_settings(Path("city")), *(w for arm in ARMS for w in ("--arm", arm)))
        result = dl(*words, "--trust", "support", "--to", "lab", "--threads", 1, "--seeds", 2, "--dry-run")
        assert result.exit_code == 0, result.output


def test_a_lab_writes_into_its_own_folder_only(labs):
    """Whatever an arm's recipe says of its folder and name."""
    plan = lab_plan(Path("new"), Path("city"), ("x=experiment.logdir=../../out,experiment.name=other",))
    before = set(tree(Path()))
    write_plan(plan)
    execute(plan, start=MadeUpChild, progress=lambda line: None)
    new = {Path(name).parts[0] for name in set(tree(Path())) - before}
    assert new == {"new"}
    assert not Path("../out").exists()
    assert read_plan("new").runs() == plan.runs()


def test_notes_of_a_ladder_plan_reach_no_terminal_as_commands(labs):
    note = "a\\e[31mb\\e]0;title\\a[bold red]c[/] [/nothing]"
    Path("my.yml").write_text(
        f"{LADDER.replace('head: swap/head_lr', f'head: {{apply: swap/head_lr, note: {chr(34)}{note}{chr(34)}}}')}"
        f'notes: "{note}"\n'
    )
    words = ("ladder", "--plan", "my.yml", *lab_settings(Path("city")), "--trust", "support", "--to", "new")
    result = dl(*words, "--threads", 1, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "a?[31mb?]0;title?[bold red]c[/] [/nothing]" in result.output.replace("\n", " ").replace("  ", " ")
    assert not [c for c in result.output if not (c.isprintable() or c == "\n")]


def test_lint_says_what_it_could_not_read_without_obeying_it(toy_city, workdir):
    shutil.copytree(toy_city, "city")
    for pair in files_of("train"):
        pair[0].write_bytes(png())
    Path("city/list/fine_val.txt").write_bytes(b"\x1b[31mred[bold] x\n")
    result = dl("lint", BASE, *lab_settings(Path("city")), "--trust", "support")
    assert result.exit_code in (1, 3), result.output
    assert "claims 100000 x 100000 pixels" in result.output
    assert "?[31mred[bold]" in result.output.replace("\n", "")
    assert not [c for c in result.output if not (c.isprintable() or c == "\n")]
