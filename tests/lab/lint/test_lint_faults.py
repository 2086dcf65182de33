"""The catalogue of planted faults: what `lint` finds of it."""

import shutil
from pathlib import Path

import pytest

from catalyst_cityscapes.lab.lint.report import Report, lint
from catalyst_cityscapes.lab.lint.table import RULES, THEMES
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.toy_city import build_toy_city
from support.faults.planted import FAULTS, GEOMETRY_FAULTS, LABEL_AND_VALUE_FAULTS, TRUSTED, Fault

IMAGES = 32
DRAWS, FEW_DRAWS, SAMPLES = 24, 2, 2
SMALL = (
    "data.crop=[33,33]",
    "protocol.base_size=128",
    "sampling.batch_size=16",
    "experiment.epochs=40",
)
FOUND = 0.95


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lint") / "city"
    return build_toy_city(folder, train=IMAGES, val=4, test=1, height=64, width=128)


def lint_fault(fault: Fault, city: Path) -> Report:
    network = () if fault.network is None else (f"model={{_target_: {fault.network}, classes: 19}}",)
    settings = [text.replace("{city}", str(city)) for text in fault.settings]
    recipe = load_recipe(["toy/pspnet50", *fault.overlays], [f"data.root={city}", *SMALL, *network, *settings], TRUSTED)
    drawn = fault in (*GEOMETRY_FAULTS, *LABEL_AND_VALUE_FAULTS)
    return lint(recipe, fault.processes, DRAWS if drawn else FEW_DRAWS, SAMPLES)


def test_the_recipe_that_faults_are_planted_in_is_clean(city):
    report = lint_fault(Fault("none", ""), city)
    assert [finding.rule for finding in report.findings if finding.severity != "note"] == []


@pytest.mark.slow
def test_95_percent_of_the_planted_faults_are_found(city, tmp_path, one_thread):
    missed = {}
    for number, fault in enumerate(FAULTS):
        folder = city
        if fault.plant is not None:
            folder = tmp_path / str(number)
            shutil.copytree(city, folder)
            fault.plant(folder)
        found = {finding.rule for finding in lint_fault(fault, folder).findings}
        if fault.rule not in found:
            missed[fault.name] = f"expected {fault.rule}, found {sorted(found)}"
        if folder != city:
            shutil.rmtree(folder)
    assert len(FAULTS) >= 40
    assert 1 - len(missed) / len(FAULTS) >= FOUND, missed
    assert not missed


def test_the_catalogue_plants_faults_for_nearly_every_rule():
    # Those that need a published recipe beside them are planted in test_lint_against.py.
    compared = {rule.id for rule in THEMES["the published recipe"]} - {"rule-without-parameters"}
    unplanted = set(RULES) - {fault.rule for fault in FAULTS} - compared
    # Facts of the machine or of rare data, each with a test of its own below or in test_lint.py.
    assert unplanted == {
        "no-data", "image-sizes", "unseen-classes", "channel-lost", "input-statistics", "opencv-bits",
        "head-rate-changes", "images-seen", "nondeterministic-operations",
    }  # fmt: skip
    assert {fault.rule for fault in FAULTS} <= set(RULES)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
