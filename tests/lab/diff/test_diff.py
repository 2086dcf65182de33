"""`catalyst-dl diff`: each shipped overlay shows its own effect and no other, equal recipes show none."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from catalyst_cityscapes.lab.diff.comparison import DIFFERS, EQUAL, Comparison, compare
from catalyst_cityscapes.lab.diff.operands import operand_recipe, split_operand
from catalyst_cityscapes.lab.diff.subject import Subject, default_counts, default_processes, measure_subject
from catalyst_cityscapes.recipe.loading import CONFIGS
from catalyst_cityscapes.toy_city import build_toy_city
from semseg_ref.base.errors import InputError
from support.command_line import catalyst_dl
from support.runs.toy import SMALL

pytestmark = pytest.mark.usefixtures("one_thread_module")
BASE = "toy/pspnet50"
RATES = {"lr", "lr of the heads / of the backbone"}
CARRY = {"travel of the heads", "travel of the backbone", "decay of the heads", "decay of the backbone"}
HEADS_ONLY = {"travel of the heads", "decay of the heads"}
SIZE = {"scale", "size of objects, test / training"}
SEEN = {"visible share of the input", "visible share of the image", "position across", "position down"}
PIXELS = {
    "ignored pixels", "sharpness of the input", "mean of the input", "std of the input", "class shares",
    "pixel-level contrast kept", "ignored within the image", "height / width of objects",
    "distortion in source pixels",
}  # fmt: skip
BATCH = {
    "batch",
    "highest lr / images of a step",
    "images in one forward pass",
    "images in a batch norm group",
    "steps",
    "images seen",
}
BATCH |= {"images dropped in an epoch"}
NETWORK = {"network", "parameters", "trained parameters", "batch norm layers", "dropout"}
# Overlay -> the family that must be among the farthest, and all families that may differ.
EFFECTS: dict[str, tuple[set[str], set[str]]] = {
    "head_lr": ({"lr"}, RATES | HEADS_ONLY),
    "schedule": ({"lr"}, {"lr"} | CARRY),
    "momentum": ({"momentum"}, {"momentum"} | CARRY),
    "weight_decay": ({"optimiser"}, {"optimiser"} | CARRY),
    "batch": ({"steps"}, BATCH | {"lr"} | CARRY),
    "drop_last": ({"images dropped in an epoch"}, {"steps", "images seen", "images dropped in an epoch", "lr"} | CARRY),
    "sync_bn": ({"images in a batch norm group"}, {"images in a batch norm group"}),
    "precision": ({"precision"}, {"precision"}),
    "fast_step": ({"precision"}, {"precision"}),
    "replayed_draws": ({"draws replayed in every epoch"}, {"draws replayed in every epoch"}),
    "model_selection": ({"checkpoint tested"}, {"checkpoint tested", "validation while training"}),
    "validation_metric": ({"metrics in the log"}, {"metrics in the log", "validation while training"}),
    "augmentation_base_resolution": (SIZE, SIZE | SEEN | PIXELS),
    "augmentation_scale": ({"visible share of the image"}, SIZE | SEEN | PIXELS),
    "augmentation_blur": ({"pixel-level contrast kept"}, PIXELS),
    "augmentation_order": (set(), PIXELS),
    "augmentation_shift": (set(), PIXELS),
    "augmentation_rotate": (set(), set()),
    "augmentation_crop_first": (set(), set()),
    "augmentation_albumentations": (set(), {"height / width of objects", "distortion in source pixels"}),
    "augmentation_catalyst_2020": (SIZE, SIZE | SEEN | PIXELS),
    "stem_torchvision": ({"network"}, NETWORK),
    "model_smp": ({"network"}, NETWORK | {"initial weights"}),
}
OTHERS = {"catalyst_2020"}
NEAR_THE_TOP = 3
MOST_DRAWS = 160
"""Enough for the smallest of these effects; a pair needs both sides, so fewer of the other side are enough for most."""


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy city of 22 training scenes of 64 x 128 pixels."""
    return build_toy_city(tmp_path_factory.mktemp("diff") / "city", train=22, val=2, test=1, height=64, width=128)


def settings(city: Path) -> list[str]:
    return [f"data.root={city}", "data.crop=[33,33]", "protocol.base_size=128", "sampling.workers=0"]


def measured(city: Path, *parts: str, small: bool = True, draws: int = 24) -> Subject:
    layers = [BASE, *(SMALL if small else ()), *parts]
    recipe = operand_recipe(layers, settings(city), ("support",))
    return measure_subject("+".join(layers), recipe, 2, draws, 16)


@pytest.fixture(scope="module")
def bases(city) -> dict[bool, Subject]:
    return {True: measured(city, draws=MOST_DRAWS), False: measured(city, small=False, draws=4)}


def families(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(row.family for row in comparison.having(DIFFERS)))


def row(comparison: Comparison, name: str):
    return {row.name: row for row in comparison.rows}[name]


def test_a_recipe_does_not_differ_from_itself(city, bases):
    comparison = compare(bases[True], measured(city, draws=MOST_DRAWS))
    assert {row.verdict for row in comparison.rows} == {EQUAL}
    assert [row.gap.distance for row in comparison.rows] == [0.0] * len(comparison.rows)
    assert comparison.keys == comparison.keyless == ()
    assert comparison.summary.startswith(f"0 of {len(comparison.rows)} effects differ")


def test_every_shipped_overlay_is_tried():
    shipped = {path.stem for path in (CONFIGS / "swap").glob("*.yml")}
    assert shipped == set(EFFECTS) | OTHERS


@pytest.mark.parametrize("overlay", EFFECTS)
def test_an_overlay_shows_its_own_effect_and_no_other(overlay, city, bases):
    small = not EFFECTS[overlay][0] & {"network"}
    base = bases[small]
    draws = len(base.profile.draws) if overlay.startswith("augmentation") else 4
    comparison = compare(base, measured(city, f"swap/{overlay}", small=small, draws=draws))
    expected, allowed = EFFECTS[overlay]
    assert expected <= set(families(comparison)[:NEAR_THE_TOP])
    assert set(families(comparison)) <= allowed
    assert comparison.keyless == ()
    assert comparison.keys
    if not families(comparison):
        assert comparison.idle_keys == comparison.keys


def test_the_earlier_attempt_shows_all_that_it_did(city, bases):
    comparison = compare(bases[True], measured(city, "swap/catalyst_2020", draws=100))
    assert row(comparison, "lr of the heads / of the backbone").a == "10"
    assert row(comparison, "lr of the heads / of the backbone").b == "1"
    assert row(comparison, "momentum: backbone").b.startswith("0 ")
    assert row(comparison, "decay of the heads: biases").b.startswith("0 ")
    assert row(comparison, "decay of the heads: weights").gap.distance > 0
    assert row(comparison, "optimiser").b == "DecoupledSGD"
    assert row(comparison, "batch").b == "20"
    assert row(comparison, "draws replayed in every epoch").b == "yes"
    assert row(comparison, "checkpoint tested").b == "lowest main_loss of valid"
    assert {"scale", "position down", "metrics in the log"} <= set(families(comparison))
    heights = np.array(row(comparison, "position down").detail[1])
    scales = 10 ** np.array(row(comparison, "scale").detail[1])
    native = 33 / 64
    unscaled = np.isclose(scales, native, rtol=0.01)
    assert 0.25 < unscaled.mean() < 0.75
    assert scales.min() > 0.5 * native * 0.98
    assert scales.max() < 2 * native * 1.02
    # A crop of the full height has no freedom up or down.
    assert np.abs(heights[unscaled] - 0.5).max() < 0.02
    assert np.ptp(row(comparison, "position down").detail[0]) > 0.2


def test_a_setting_that_the_schedule_overwrites_is_named_as_idle(city):
    attempt = measured(city, "swap/catalyst_2020", draws=2)
    other = measured(city, "swap/catalyst_2020", "optimizer.lr=0.5", "optimizer.momentum=0.3", draws=2)
    comparison = compare(attempt, other)
    assert families(comparison) == []
    assert {key.name for key in comparison.idle_keys} == {"optimizer.lr", "optimizer.momentum"}


def test_one_idle_key_beside_a_working_one(city):
    attempt = measured(city, "swap/catalyst_2020", draws=2)
    changed = ("optimizer.lr=0.5", "callbacks.one_cycle.rates=[0.01,0.1,0.001]")
    comparison = compare(attempt, measured(city, "swap/catalyst_2020", *changed, draws=2))
    assert [key.name for key in comparison.idle_keys] == ["optimizer.lr"]
    assert "lr" in families(comparison)


def test_another_seed_changes_no_effect_but_itself(city, bases):
    comparison = compare(bases[True], measured(city, "experiment.seed=7"))
    assert families(comparison) == ["seed"]


@pytest.mark.parametrize(
    ("setting", "family"),
    [
        ("criterion.label_smoothing=0.1", "gradient of the loss for fixed logits"),
        ("callbacks.aux_loss.weight=0.1", "weight of the auxiliary loss"),
        ("callbacks.gradient_step.clip_norm=1.0", "gradient clipping"),
        ("model.dropout=0.5", "dropout"),
        ("protocol.flip=false", "test protocol"),
        ("protocol.base_size=64", "test size of objects / native"),
        ("sampling.shuffle=false", "order of the images"),
        ("augmentation.steps.normalize.mean=[0.485,0.456,0.406]", "normalisation"),
        ("augmentation.steps.crop.ignore_label=0", "padding that has a class"),
        ("augmentation.steps.flip.p=0.001", "mirrored"),
        ("augmentation.steps.rotate.p=0.001", "rotation in degrees"),
    ],
)
def test_a_single_setting_is_found(setting, family, city, bases):
    layers = [BASE, *SMALL, setting]
    base_settings = [s for s in settings(city) if s.partition("=")[0] != setting.partition("=")[0]]
    recipe = operand_recipe(layers, base_settings, ("support",))
    comparison = compare(bases[True], measure_subject("b", recipe, 2, 48, 16))
    assert family in families(comparison)
    assert comparison.idle_keys == ()


def test_layers_of_a_side(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_operand("a.yml+swap/b+optimizer.lr=1e+2+c.d=x") == ["a.yml", "swap/b", "optimizer.lr=1e+2", "c.d=x"]
    assert split_operand("+swap/b", "a.yml+c.yml") == ["a.yml", "c.yml", "swap/b"]
    Path("a+b.yml").write_text("x: 1\n")
    assert split_operand("a+b.yml") == ["a+b.yml"]
    with pytest.raises(InputError, match="empty layer"):
        split_operand("a.yml++b.yml")
    with pytest.raises(InputError, match="empty layer"):
        split_operand("+swap/b")


def test_a_run_folder_is_its_recipe(city, workdir):
    (workdir / "run").mkdir()
    (workdir / "run/recipe.yml").write_text((CONFIGS / "toy/pspnet50.yml").read_text())
    assert operand_recipe(["run"]) == operand_recipe([BASE])


def test_defaults():
    assert default_counts(1024 * 2048, 1024 * 2048) == (80, 16)
    assert default_counts(64 * 128, 1024 * 2048) == (80, 16)
    assert default_counts(64 * 128, 64 * 128) == (300, 64)
    official, toy, attempt = (operand_recipe([name]) for name in ("cityscapes/pspnet50", BASE, "cityscapes/pspnet50"))
    assert default_processes(official, attempt) == 8
    assert default_processes(official, toy) == 1


def command(city: Path, *words: str) -> list[str]:
    small = ["--trust", "support", "--draws", "12", "--samples", "6"]
    return ["diff", *small, *words, "--set", *settings(city), *SMALL]


def test_the_command_line(city, workdir, capsys):
    files = ("--json", "found/diff.json", "--picture", "found/diff.png")
    assert catalyst_dl(*command(city, BASE, "+swap/head_lr", *files)) == 0
    printed = capsys.readouterr().out
    assert "lr of the heads / of the backbone" in printed
    assert "farthest apart: lr 1.00" in printed
    found = json.loads(Path("found/diff.json").read_text())
    ratio = next(e for e in found["effects"] if e["effect"] == "lr of the heads / of the backbone")
    assert ratio["distance"] == pytest.approx(1)
    assert ratio["verdict"] == "differs"
    assert found["keys"] == [{"key": "optimizer.groups.head_multiplier", "a": 10, "b": 1}]
    assert cv2.imread("found/diff.png").shape[0] > 800


def test_without_data(workdir, capsys):
    words = ("--json", "-", "--picture", "diff.png", "--draws", "3", "--trust", "support")
    assert catalyst_dl("diff", BASE, "+swap/replayed_draws", *words, "--set", *SMALL, "data.root=nowhere") == 0
    captured = capsys.readouterr()
    assert "nowhere/list/fine_train.txt" in captured.err
    assert "left out" in captured.err
    found = json.loads(captured.out)
    assert found["data"] == "assumed"
    assert found["samples"] == 0
    assert found["image_size"] == [[128, 256]] * 2
    replayed = next(e for e in found["effects"] if e["effect"] == "draws replayed in every epoch")
    assert (replayed["basis"], replayed["verdict"]) == ("read", "differs")
    assert Path("diff.png").is_file()


def test_no_data_is_obeyed(city, workdir, capsys):
    assert catalyst_dl(*command(city, BASE, BASE, "--no-data", "--all")) == 0
    printed = capsys.readouterr().out
    assert "ignored pixels" not in printed
    assert "0 of " in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("toy/pspnet5", BASE), "did you mean 'toy/pspnet50.yml'"),
        ((BASE, "+swap/head_lrr"), "did you mean 'swap/head_lr.yml'"),
        ((BASE, "+optimizer.groups.head_multiplyer=1"), "did you mean 'head_multiplier'"),
        ((BASE, BASE, "swap/head_lr"), f"{BASE}+swap/head_lr"),
        ((BASE, BASE, "--picture", "x.jpg"), "--picture x.jpg: expected the name of a .png file"),
        ((BASE, BASE, "--json", "x.txt"), "--json x.txt: expected the name of a .json file"),
        ((BASE, BASE, "--processes", "9"), "less than one per process"),
        ((BASE, BASE, "--draws", "0"), "--draws"),
        ((BASE,), "a setting where the second recipe should be"),
    ],
)
def test_bad_input_is_one_line(words, message, city, workdir, capsys):
    assert catalyst_dl(*command(city, *words)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("measuring")]
    assert len(lines) == 1
    assert message in lines[0]
