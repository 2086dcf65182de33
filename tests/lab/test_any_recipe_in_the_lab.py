"""Lint, diff, ab and ladder on recipes that are not the reference's: measured, or said by name what does not apply."""

import json

import pytest

from support.command_line import dl
from support.runs.any_recipe import CASES, write_recipe

PLACES = {"label-misaligned", "extra-shift", "elastic-warp", "aspect-distorted", "channel-order", "component-refused"}
NORMALISED = {"normalisation-range", "normalisation-unlike-test", "input-statistics"}
NOT_OF_ADAMW = ("base-rate", "rate-per-image", "warm-up", "schedule-unlike-poly", "weight-decay-exceptions")


def answered(*arguments, codes=(0,)):
    result = dl(*arguments, "--trust", "mine")
    assert result.exit_code in codes, result.output
    return result.stdout


@pytest.mark.parametrize("name", CASES)
def test_lint_and_diff_measure_any_recipe(name, toy_city, workdir):
    path = write_recipe(name, toy_city)
    report = json.loads(answered("lint", "-C", path, "--json", "--draws", 12, "--samples", 2, codes=(0, 1, 3)))
    found = {finding["rule"] for finding in report["findings"]}
    assert not found & (PLACES | NORMALISED)
    assert "other-network" in found
    said = " ".join(report["skipped"])
    assert "aux-weight" in said
    assert "is another" in said
    is_adamw = "AdamW" in name
    for rule in NOT_OF_ADAMW:
        assert (rule in said) is is_adamw
        assert not is_adamw or rule not in found
    counted = ("--draws", 12, "--samples", 2, "--json", "-", "--set", f"data.root={toy_city}")
    effects = json.loads(answered("diff", "toy/pspnet18", path, *counted))
    assert "network" in json.dumps(effects)


def test_ab_and_ladder_plan_foreign_recipes(toy_city, workdir):
    other = write_recipe("AdamW with groups by rule, warm-up and poly", toy_city).rename("other.yml")
    mine = write_recipe("iterations and mmsegmentation's order", toy_city)
    plan = answered("ab", mine, "--arm", "colour=swap/augmentation/mmseg", "--seeds", 2, "--dry-run")
    assert "4 of 4 runs" in plan
    plan = answered("ladder", mine, other, "--dry-run", "--seeds", 1)
    assert "2 components" in plan
    assert not [path for path in workdir.iterdir() if path.is_dir()]
