"""A short run of the fuzzer, and that it notices what it looks for."""

import random
import sys
from pathlib import Path

import pytest

from semseg_ref.base.errors import InputError
from support.faults import fuzz_recipe_loader
from support.faults.fuzz_recipe_loader import fuzz, main
from support.faults.recipe_mutations import RECIPES, mutated, refused_in_one_line


@pytest.mark.parametrize(("target", "loads"), [("recipe", 80), ("ladder", 20)])
def test_a_short_run_finds_nothing(target, loads):
    tally = fuzz(0, lambda tally: tally.loads < loads, patience=60, target=target)
    assert tally.findings == {}
    assert tally.loads == loads
    assert 0 < tally.accepted < loads


def refuse(message: str) -> object:
    def load() -> None:
        raise InputError(message)

    return refused_in_one_line(load)


def hang(content: bytes, folder: Path) -> None:
    while True:
        try:
            folder.exists()
        except Exception:
            return


FAULTS = {
    "KeyError": lambda content, folder: {}["x"],
    "RecursionError": lambda content, folder: FAULTS["RecursionError"](content, folder),
    "BadMessageError": lambda content, folder: refuse(""),
    "HangError": hang,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_kind_of_finding_is_reported_once_with_its_input(fault, monkeypatch, tmp_path):
    monkeypatch.setitem(fuzz_recipe_loader.TARGETS, "recipe", (FAULTS[fault], RECIPES))
    tally = fuzz(7, lambda tally: tally.loads < 3, patience=0.2, keep=tmp_path / "kept")
    assert tally.loads == 3
    (kind,) = tally.findings
    assert kind.startswith(fault)
    seed, text = tally.findings[kind]
    assert seed == 7
    assert fault in text
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name == "recipe_7.yml"
    assert kept.stat().st_size > 0


def test_refusals_as_they_should_be_are_no_findings():
    assert refuse("my.yml: model: expected\nanother") is None


def test_the_same_seed_is_the_same_example():
    assert mutated(random.Random(3)) == mutated(random.Random(3)) != mutated(random.Random(4))


def test_the_program_says_how_much_it_did(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fuzz", "--seconds", "0.5", "--patience", "60"])
    assert main() == 0
    assert "0 findings" in capsys.readouterr().out
    monkeypatch.setitem(fuzz_recipe_loader.TARGETS, "recipe", (FAULTS["KeyError"], RECIPES))
    assert main() == 1
    found = capsys.readouterr().out
    assert "seed 0:" in found
    assert "1 findings" in found
