"""`lint` on the shipped recipes and overlays, its rules' table, and its command line."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from catalyst_cityscapes.lab.lint import facts, table
from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import SEVERITIES, Finding
from catalyst_cityscapes.lab.lint.reference import official, processes_of
from catalyst_cityscapes.lab.lint.report import Report, lint
from catalyst_cityscapes.lab.lint.rules.decay import left_by_decay
from catalyst_cityscapes.lab.measure.arithmetic import warp_rounding
from catalyst_cityscapes.recipe.loading import CONFIGS, load_recipe
from catalyst_cityscapes.toy_city import build_toy_city
from support.command_line import dl
from support.faults.planted import TRUSTED
from support.places import PROJECT

DOCS = PROJECT / "docs"
SMALL = (
    "model={_target_: support.networks.small.SmallLogits, classes: 19}",
    "data.crop=[33,33]",
    "protocol.base_size=128",
)
SIXTEEN = (*SMALL, "sampling.batch_size=16", "experiment.epochs=40")
SHIPPED = sorted(
    str(p.relative_to(CONFIGS)) for p in CONFIGS.glob("*/*.yml") if p.parent.name in ("cityscapes", "camvid")
)
DEVIATIONS = {
    "augmentation_albumentations": {"augmentation-steps"},
    "augmentation_base_resolution": {"train-test-resolution"},
    "augmentation_blur": {"blur-unlike-official"},
    "augmentation_crop_first": set(),
    "augmentation_catalyst_2020": {"crop-full-side", "train-test-resolution", "scale-jitter-seldom"},
    "augmentation_order": {"augmentation-steps"},
    "augmentation_rotate": {"augmentation-steps"},
    "augmentation_scale": {"scale-jitter-seldom", "scale-on-fixed-canvas"},
    "augmentation_shift": {"extra-shift"},
    "batch": {"batch-unlike-official"},
    "drop_last": {"last-batch"},
    "catalyst_2020": {
        "crop-full-side", "train-test-resolution", "scale-jitter-seldom", "blur-unlike-official", "draws-replayed",
        "group-rates-overwritten", "head-rate", "warm-up", "schedule-unlike-poly", "momentum-unlike-official",
        "weight-decay-exceptions", "weight-decay-by-part", "weight-decay-decoupled", "batch-unlike-official",
        "last-batch", "selection-not-by-miou", "metric-averaged-over-batches", "validation-unlike-test",
    },
    "fast_step": {"precision-unlike-official"},
    "head_lr": {"head-rate"},
    "model_selection": {"selection-not-by-miou", "validation-unlike-test"},
    "model_smp": {"other-network"},
    "momentum": {"momentum-unlike-official"},
    "precision": {"precision-unlike-official"},
    "replayed_draws": {"draws-replayed"},
    "schedule": {"warm-up", "schedule-unlike-poly"},
    "stem_torchvision": {"other-network"},
    "sync_bn": {"small-batch-norm-group"},
    "validation_metric": {"metric-averaged-over-batches"},
    "weight_decay": {"weight-decay-exceptions", "weight-decay-by-part", "weight-decay-decoupled"},
}  # fmt: skip


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    return build_toy_city(tmp_path_factory.mktemp("lint") / "city", train=32, val=4, test=1, height=64, width=128)


def rules_of(report: Report, severity: str | None = None) -> set[str]:
    return {finding.rule for finding in report.findings if severity in (None, finding.severity)}


# -- shipped recipes and overlays ----------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("config", SHIPPED)
def test_shipped_recipes_have_no_error(config, workdir, one_thread):
    draws = 12 if config == "cityscapes/pspnet50.yml" else 4
    report = lint(load_recipe([config], ["experiment.epochs=2"]), draws=draws, use_data=False)
    assert rules_of(report, "error") == set()
    machine = {"initial-weights-missing"}
    shorter = {"images-seen", "fewer-steps", "random-initial-weights", "batch-unlike-official", "rate-per-image"}
    assert rules_of(report, "warning") <= machine | shorter


def test_the_toy_recipe_has_no_error(city, one_thread):
    report = lint(load_recipe(["toy/pspnet50"], [f"data.root={city}", "protocol.base_size=128"]), draws=12, samples=4)
    assert rules_of(report, "error") == set()
    assert "random-initial-weights" in rules_of(report, "warning")


def test_every_overlay_has_an_expectation():
    assert set(DEVIATIONS) == {path.stem for path in (CONFIGS / "swap").glob("*.yml")}


@pytest.mark.parametrize("name", sorted(DEVIATIONS))
def test_each_deviation_of_the_earlier_attempt_is_found(name, city, one_thread):
    settings = [f"data.root={city}", *SIXTEEN]
    if name in ("model_smp", "stem_torchvision"):
        settings.remove(SMALL[0])
    if name == "model_smp":
        settings += ["model.encoder=resnet18", "model.encoder_depth=3"]
    if name in ("batch", "catalyst_2020"):
        settings.remove("sampling.batch_size=16")
    if name == "drop_last":
        settings.append("sampling.batch_size=12")
    processes = {"batch": 2, "drop_last": 1, "catalyst_2020": 2}.get(name)
    recipe = load_recipe(["toy/pspnet50", f"swap/{name}"], settings, TRUSTED)
    assert DEVIATIONS[name] <= rules_of(lint(recipe, processes, draws=24, samples=2))


def test_the_same_augmentation_computed_otherwise_is_no_finding(city, one_thread):
    """`swap/augmentation_crop_first` keeps the bits, so nothing is to be said of it."""
    recipes = [load_recipe(["toy/pspnet50", *swap], [f"data.root={city}", *SIXTEEN], TRUSTED)
               for swap in ([], ["swap/augmentation_crop_first"])]  # fmt: skip
    plain, crop_first = (rules_of(lint(recipe, draws=24, samples=2)) for recipe in recipes)
    assert crop_first == plain


# -- single rules --------------------------------------------------------------------------------------------------
def hits(rule: str, recipe, **known):
    return list(table.RULES[rule].check(Facts(recipe, 8, **known)))


def test_opencv_that_does_not_round_positions_is_found(monkeypatch):
    recipe = load_recipe(["toy/pspnet50"])
    assert warp_rounding() == 0
    assert hits("opencv-bits", recipe, warp_rounding=0.0) == []
    assert [hit.severity for hit in hits("opencv-bits", recipe, warp_rounding=0.32)] == ["warning"]
    monkeypatch.setattr(cv2, "__version__", "5.0.0")
    assert "5.0.0" in hits("opencv-bits", recipe, warp_rounding=0.0)[0].evidence


@pytest.mark.parametrize(("momentum", "times"), [(0.9, 10.0), (0.0, 1.0)])
def test_decay_through_the_momentum_counts_ten_times(momentum, times):
    lr, steps = np.full(5000, 0.001), 5000
    coupled = left_by_decay(lr, np.full(steps, momentum), 1e-4, False)
    apart = left_by_decay(lr, np.full(steps, momentum), 1e-4, True)
    assert coupled / apart == pytest.approx(times, rel=0.01)


def test_a_recipe_without_data_says_what_was_not_asked(one_thread, workdir):
    recipe = load_recipe(["toy/pspnet50"], [*SMALL, "data.root=nowhere", "experiment.epochs=1"], TRUSTED)
    report = lint(recipe, draws=4)
    assert "no-data" in rules_of(report, "note")
    assert not rules_of(report, "error")
    assert "none of the images" in report.skipped[0]


def test_other_parts_are_measured_when_one_is_refused(city, one_thread):
    settings = [f"data.root={city}", *SIXTEEN, "augmentation.steps.scale.scale=[2,1]", "callbacks.aux_loss.weight=1"]
    found = rules_of(lint(load_recipe(["toy/pspnet50"], settings, TRUSTED), draws=4, samples=2))
    assert {"component-refused", "aux-weight"} <= found


def test_the_official_values_are_those_of_the_shipped_recipe():
    values = official()
    assert (values.steps, values.seen, values.batch) == (37200, 595200, 16)
    assert (values.lr, values.head_multiplier, values.momentum, values.weight_decay) == (0.01, 10, 0.9, 0.0001)


@pytest.mark.parametrize(
    ("settings", "processes"),
    [((), 2), (("sampling.batch_size=16",), 8), (("sampling.batch_size=1",), 1), (("engine.device=cpu",), 1)],
)
def test_default_processes_leave_each_two_images(settings, processes):
    assert processes_of(load_recipe(["toy/pspnet50"], settings)) == processes


# -- exit codes ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("severities", "code", "strict"),
    [((), 0, 0), (("note",), 0, 1), (("note", "warning"), 1, 3), (("warning", "error"), 3, 3)],
)
def test_the_exit_code_is_that_of_the_worst_finding(severities, code, strict):
    found = tuple(Finding("unseeded", severity, "data", "", "", {}) for severity in severities)
    report = Report("r", 1, found, (), (), ())
    assert (report.exit_code(), report.exit_code(strict=True)) == (code, strict)


# -- command line --------------------------------------------------------------------------------------------------
@pytest.fixture
def few(monkeypatch):
    """A network without weights to wait for, few draws."""
    monkeypatch.setattr(facts, "STEP_DRAWS", 3)
    return ["--trust", "support", "--draws", "2", "--samples", "1"]


def arguments(city: Path, *settings: str) -> list[str]:
    return ["toy/pspnet50", *(f"--set={setting}" for setting in (f"data.root={city}", *SIXTEEN, *settings))]


def test_the_report_names_rule_evidence_and_fix(city, few, one_thread):
    result = dl("lint", *arguments(city, "engine.precision=fp16"), *few)
    assert result.exit_code == 1
    assert re.search(r"^precision-unlike-official .*official recipe", result.output, re.MULTILINE)
    assert "engine.precision is fp16, official fp32" in result.output
    assert "fix   engine.precision: fp32" in result.output


def test_json_holds_the_measured_numbers(city, few, one_thread):
    result = dl("lint", *arguments(city), "swap/head_lr", *few, "--json")
    content = json.loads(result.output)
    finding = next(f for f in content["findings"] if f["rule"] == "head-rate")
    assert finding["measured"]["ratio"] == pytest.approx(1)
    assert finding["against"] == "official recipe"
    assert content["exit_code"] == result.exit_code == 1
    assert content["counts"]["warning"] == sum(f["severity"] == "warning" for f in content["findings"])


def test_allowed_rules_do_not_count(city, few, one_thread):
    result = dl("lint", "--config", *arguments(city), "swap/head_lr", *few, "--json", "--allow", "head-rate")
    content = json.loads(result.output)
    assert [f["rule"] for f in content["allowed"]] == ["head-rate"]
    assert "head-rate" not in {f["rule"] for f in content["findings"]}
    assert result.exit_code == 0


def test_strict_makes_warnings_errors(city, few, one_thread):
    assert dl("lint", *arguments(city, "engine.precision=fp16"), *few, "--strict").exit_code == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toy/pspnet50", "--allow", "head-rat"], "--allow head-rat: no such rule; did you mean 'head-rate'?"),
        ([], "no recipe: give one, e.g. catalyst-dl lint toy/pspnet50"),
        (["toy/pspnet5"], "toy/pspnet5: no such config"),
        (["toy/pspnet50", "optimizer.lrr=1"], "optimizer.lrr: unknown argument; did you mean 'lr'?"),
        (["toy/pspnet50", "--draws", "0"], "--draws"),
    ],
)
def test_bad_input_is_one_line(words, message):
    result = dl("lint", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_list_rules_names_all():
    output = dl("lint", "--list-rules").output
    assert all(rule in output for rule in table.RULES)


# -- the table -----------------------------------------------------------------------------------------------------
def test_the_documentation_holds_the_table():
    text = (DOCS / "lint.md").read_text()
    assert table.markdown() in text
    assert all(severity in text for severity in SEVERITIES)


def test_rules_are_well_formed():
    rules = [rule for rules in table.THEMES.values() for rule in rules]
    assert len(rules) == len(table.RULES) >= 60
    for rule in rules:
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)+|unseeded", rule.id), rule.id
        assert rule.severities == tuple(s for s in SEVERITIES if s in rule.severities), rule.id
        assert "|" not in rule.measured + rule.fix, rule.id
        assert all(re.fullmatch(r"https://github\.com/[^/]+/[^/]+/(issues|pull)/\d+", url) for url in rule.issues)


def test_findings_keep_to_their_rules_severities(city, one_thread):
    settings = [f"data.root={city}", *SIXTEEN]
    report = lint(load_recipe(["toy/pspnet50", "swap/catalyst_2020"], settings, TRUSTED), 2, samples=2)
    for finding in report.findings:
        assert finding.severity in table.RULES[finding.rule].severities
        assert finding.evidence
        assert "\n" not in finding.evidence
    assert json.loads(json.dumps(report.to_json()))["counts"]["error"] == report.count("error")
    assert replace(report, findings=()).exit_code() == 0
