"""`catalyst-dl ladder`: what a person types and gets."""

import csv
import json
from pathlib import Path

import pytest
import torch

from catalyst_cityscapes.lab import run as lab_run
from catalyst_cityscapes.lab.execution import execute
from catalyst_cityscapes.lab.plan.plan import read_plan, run_folder, write_plan
from catalyst_cityscapes.lab.results import read_results
from support.command_line import dl
from support.runs.labs import ForkedChild, lab_settings, write_made_up_score

pytestmark = pytest.mark.usefixtures("one_thread_module")
forks = pytest.mark.skipif(torch.cuda.is_available(), reason="a process that has used CUDA cannot be forked")
OPTIONS = ("--threads", 1, "--trust", "support")
LADDER = """
from: toy/pspnet50
to: [swap/head_lr, swap/validation_metric, swap/replayed_draws]
components:
  log: swap/validation_metric
  head: {apply: swap/head_lr, note: heads at the rate of the backbone}
  draws: swap/replayed_draws
seeds: 2
notes: a ladder of a test
"""


@pytest.fixture
def planned(toy_city: Path, workdir: Path) -> list[str]:
    """`ladder --plan ...` of a ladder of the tiny network."""
    Path("ladder.yml").write_text(LADDER)
    return [str(word) for word in ("ladder", "--plan", "ladder.yml", *lab_settings(toy_city), *OPTIONS, "--to", "lab")]


@forks
def test_a_ladder_from_plan_to_report(planned: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_run, "execute", lambda *arguments: execute(*arguments, start=ForkedChild))
    result = dl(*planned, "--jobs", 2, "--seeds", 1)
    assert result.exit_code == 0, result.output
    results = read_results("lab")
    assert results.arms == ("from", "to", "with-head", "with-draws")
    assert len(results.runs) == 4
    found = json.loads(Path("lab/ladder.json").read_text())
    scores = {arm: run.miou for (arm, _), run in results.runs.items()}
    log, head, draws = found["components"]
    assert log["arms"] == {"added": "from", "removed": "to", "path": "from"}
    assert log["added"]["same_arm"]
    assert head["added"]["mean"] == pytest.approx(scores["with-head"] - scores["from"])
    assert draws["removed"]["mean"] == pytest.approx(scores["to"] - scores["with-head"])
    assert found["total"]["mean"] == pytest.approx(scores["to"] - scores["from"])
    assert "ladder.png" in {path.name for path in Path("lab").iterdir()}
    page = Path("lab/report.html").read_text()
    assert "a ladder of a test" in page
    assert "heads at the rate of the backbone" in page
    again = dl("ladder", "--report-only", "--to", "lab")
    assert again.exit_code == 0, again.output
    assert "too few seeds" in again.output


def test_dry_run_says_what_is_shared_and_writes_nothing(planned: list[str]) -> None:
    result = dl(*planned, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "3 components, 4 arms x 2 seeds" in result.output
    assert "a ladder of a test" in result.output
    assert "is from" in result.output
    assert "left:    8 of 8 runs" in result.output
    assert not Path("lab").exists()
    added = dl(*planned, "--dry-run", "--design", "added", "--seeds", 3)
    assert "3 components, 4 arms x 3 seeds" in added.output


def test_two_recipes_are_taken_apart(toy_city: Path, workdir: Path) -> None:
    settings = lab_settings(toy_city)
    swaps = "toy/pspnet50,swap/schedule,swap/drop_last"
    result = dl("ladder", "toy/pspnet50", swaps, *settings, *OPTIONS, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "2 components, 4 arms x 3 seeds" in result.output
    assert "exp/pspnet50_to_pspnet50_ladder" in result.output
    for component in ("drop_last", "schedule"):
        assert component in result.output


def test_a_lab_of_planted_scores_is_reported(planned: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_run, "execute", lambda *arguments: planted(*arguments))
    shares = {"from": 0.8, "to": 0.6, "with-head": 0.7, "with-draws": 0.75}

    def planted(plan, *others) -> tuple:
        for arm, seed in write_plan(plan).runs():
            write_made_up_score(run_folder(plan, arm, seed) / "score" / "score.json", shares[arm] + 0.01 * (seed % 3))
        return ()

    result = dl(*planned, "--seeds", 6)
    assert result.exit_code == 0, result.output
    assert read_plan("lab").kind == "ladder"
    lines = Path("lab/ladder.csv").read_text().splitlines()
    rows = {(row["component"], row["view"]): row for row in csv.DictReader(lines)}
    results = read_results("lab")

    def mean(arm: str) -> float:
        return sum(results.runs[arm, seed].miou for seed in range(6)) / 6

    assert float(rows["all together", "total"]["mean"]) == pytest.approx(mean("to") - mean("from"))
    expected = mean("to") - mean("with-head") - mean("with-draws") + mean("from")
    assert float(rows["remainder", "added"]["mean"]) == pytest.approx(expected)
    assert "all components together: lowers mIoU by" in result.output
    assert "ladder: lab/ladder.csv, lab/ladder.json, lab/ladder.png" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 recipes: expected FROM and TO"),
        (["toy/pspnet50"], "1 recipes: expected FROM and TO"),
        (["toy/pspnet50", "toy/pspnet50"], "no component differs"),
        (["toy/pspnet50", "toy/pspnet5"], "no such config"),
        (["--plan", "ladders/semseg-catalist"], "did you mean 'ladders/semseg-catalyst.yml'"),
        (["toy/pspnet50", "--plan", "ladders/semseg-catalyst"], "--plan names FROM and its components"),
        (["toy/pspnet50", "toy/pspnet50,swap/head_lr", "--design", "pth"], "--design pth: expected some of"),
        (["--report-only"], "--report-only: which lab?"),
        (["toy/pspnet50", "toy/pspnet50,protocol.name=semseg-ms", "data.root=."], "all arms are tested alike"),
        (["toy/pspnet50", "toy/pspnet50,experiment.epoch=1"], "experiment.epoch: unknown key"),
    ],
)
def test_bad_arguments(workdir: Path, arguments: list[str], message: str) -> None:
    result = dl("ladder", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.splitlines()[-1].startswith("catalyst-dl: error: ")
    assert not Path("exp").exists()
