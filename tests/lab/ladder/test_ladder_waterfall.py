"""Effects of a ladder's components from made-up scores with planted effects; words, tables, picture, HTML."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from catalyst_cityscapes.lab.ladder.report import ladder_section, print_ladder, short_lines, write_ladder
from catalyst_cityscapes.lab.ladder.verdict import remainder_verdict, span, verdict
from catalyst_cityscapes.lab.ladder.waterfall import Effect, Waterfall, measure
from catalyst_cityscapes.lab.statistics import seed_interval
from semseg_ref.base.errors import InputError
from support.runs.fake_ladder import held_by, results_of, roles_of

NAMES = ("lr", "crop", "blur")
PLANTED = {"lr": -0.03, "crop": -0.01, "blur": 0.005}


def additive(held: frozenset[str], seed: int) -> float:
    """Effects that add up exactly, on runs that scatter with the seed."""
    return 0.7 + 0.01 * np.sin(seed) + sum(PLANTED[name] for name in held)


def interacting(held: frozenset[str], seed: int) -> float:
    """Two components that do more harm together, by 0.02 and a little that depends on the seed."""
    both = {"lr", "crop"} <= held
    return additive(held, seed) - both * (0.02 + 0.001 * np.cos(seed))


def noisy(held: frozenset[str], seed: int) -> float:
    """Additive effects, and noise of each run."""
    key = [seed, *sorted(map(len, held)), len(held), *(ord(name[0]) for name in sorted(held))]
    return additive(held, seed) + 0.004 * float(np.random.default_rng(key).standard_normal())


def measured(score, designs=("added", "removed", "path"), names=NAMES, **more) -> Waterfall:
    return measure(results_of(roles_of(names, designs), score, **more))


def test_additive_effects_are_found_and_leave_no_remainder() -> None:
    found = measured(additive)
    for bar in found.bars:
        for effect in (bar.added, bar.removed, bar.path):
            assert effect.mean == pytest.approx(PLANTED[bar.rung.name], abs=1e-12)
            assert effect.is_shown
    assert found.total.mean == pytest.approx(sum(PLANTED.values()))
    for remainder in (found.remainder_added, found.remainder_removed):
        np.testing.assert_allclose(remainder.differences, 0, atol=1e-12)
    assert found.levels[0] == pytest.approx(found.start)
    assert found.levels[-1] == pytest.approx(found.goal)


def test_an_interaction_is_the_remainder_with_its_own_interval() -> None:
    found = measured(interacting)
    lr, crop, blur = found.bars
    assert lr.added.mean == pytest.approx(-0.03)
    assert crop.added.mean == pytest.approx(-0.01)
    expected = np.array([-(0.02 + 0.001 * np.cos(seed)) for seed in range(6)])
    np.testing.assert_allclose(found.remainder_added.differences, expected, atol=1e-12)
    np.testing.assert_allclose(found.remainder_removed.differences, -expected, atol=1e-12)
    interval = seed_interval(expected)
    assert found.remainder_added.interval.low == pytest.approx(interval.low)
    assert found.remainder_added.interval.high == pytest.approx(interval.high)
    assert found.remainder_added.is_shown
    np.testing.assert_allclose(crop.path.differences, -0.01 + expected, atol=1e-12)
    assert blur.path.mean == pytest.approx(0.005)


@pytest.mark.parametrize("score", [additive, interacting, noisy])
def test_the_path_adds_up_to_the_total_in_every_seed(score) -> None:
    found = measured(score)
    steps = np.sum([bar.path.differences for bar in found.bars], axis=0)
    np.testing.assert_allclose(steps, found.total.differences, atol=1e-12)
    np.testing.assert_allclose(np.diff(found.levels), [bar.path.mean for bar in found.bars], atol=1e-12)


def test_noise_is_paired() -> None:
    # The scatter that the runs of a seed share drops out of every effect.
    shared = measured(lambda held, seed: additive(held, seed) + 0.2 * np.sin(3 * seed))
    for bar, plain in zip(shared.bars, measured(additive).bars, strict=True):
        np.testing.assert_allclose(bar.added.differences, plain.added.differences, atol=1e-12)


def test_unfinished_runs_leave_their_seeds_out_where_they_are_needed() -> None:
    missing = [("with-crop", 1), ("without-blur", 2), ("to", 5)]
    found = measured(additive, missing=missing)
    lr, crop, blur = found.bars
    assert lr.added.seeds == (0, 1, 2, 3, 4, 5)
    assert crop.added.seeds == (0, 2, 3, 4, 5)
    assert found.total.seeds == (0, 1, 2, 3, 4)
    assert found.remainder_added.seeds == (0, 2, 3, 4)
    assert blur.removed.seeds == (0, 1, 3, 4)
    assert {bar.path.seeds for bar in found.bars} == {(0, 1, 3, 4)}
    assert sum(bar.path.mean for bar in found.bars) == pytest.approx(found.levels[-1] - found.levels[0])


def test_nothing_finished_and_one_seed() -> None:
    empty = measured(additive, seeds=(0,), missing=[(arm, 0) for arm in roles_of(NAMES).arms()])
    assert empty.start is None
    assert empty.levels == ()
    assert empty.total.mean is None
    assert span(empty.total) == "no pair finished"
    assert "too few seeds: 0 seeds" in verdict(empty.total)
    one = measured(additive, seeds=(4,))
    assert one.total.interval is None
    assert "too few seeds: 1 seed " in verdict(one.total)
    assert span(one.total) == "-3.50 (1 seed)"


def test_designs_leave_effects_out() -> None:
    found = measured(additive, designs=["added"])
    assert found.levels == ()
    assert found.remainder_removed is None
    assert [bar.removed for bar in found.bars] == [bar.path for bar in found.bars] == [None] * 3
    assert found.remainder_added.mean == pytest.approx(0)


def test_arms_that_are_one_arm_have_no_effect_and_no_test() -> None:
    roles = roles_of(NAMES)
    idle = replace(roles.rungs[1], added="from", removed="to", path=roles.rungs[0].path)
    roles = replace(roles, rungs=(roles.rungs[0], idle, roles.rungs[2]))
    found = measure(results_of(roles, lambda held, seed: noisy(held - {"crop"}, seed)))
    for effect in (found.bars[1].added, found.bars[1].removed, found.bars[1].path):
        assert effect.same
        assert effect.p is None
        assert not np.any(effect.differences)
        assert verdict(effect, 2) == "changes no number here: the same training and test"
    for bar in (found.bars[0], found.bars[2]):
        assert bar.added.p_holm <= min(2 * bar.added.p, 1)


def test_correction_is_over_the_components_of_a_view() -> None:
    found = measured(noisy)
    for view in ("added", "removed", "path"):
        effects = [getattr(bar, view) for bar in found.bars]
        smallest = min(effects, key=lambda effect: effect.p)
        assert smallest.p_holm == pytest.approx(min(3 * smallest.p, 1))


def test_no_lab_but_a_ladder() -> None:
    with pytest.raises(InputError, match="a lab of kind 'ab', not a ladder"):
        measure(replace(results_of(roles_of(NAMES), additive), kind="ab"))


def effect_of(*differences: float, p_holm: float | None = None) -> Effect:
    roles = roles_of(["only"], ["added"])
    scores = dict(enumerate(differences))
    found = measure(
        results_of(roles, lambda held, seed: 0.5 + (scores[seed] if held else 0.0), range(len(differences)))
    )
    effect = found.bars[0].added
    return effect if p_holm is None else replace(effect, p_holm=p_holm)


def test_verdicts_claim_no_more_than_the_interval() -> None:
    clear = effect_of(-0.011, -0.012, -0.013, -0.012, -0.011, -0.013)
    assert verdict(clear).startswith("lowers mIoU by 1.20 points (-1.29 to -1.11): more than the noise of 6 seeds")
    assert verdict(clear, 5).endswith("more than the noise of 6 seeds, also as one of 5 components")
    assert "it may be chance (Holm p 0.200)" in verdict(replace(clear, p_holm=0.2), 5)
    assert verdict(effect_of(0.01, 0.011, 0.012, 0.01, 0.012, 0.011)).startswith("raises mIoU by 1.10 points")
    few = effect_of(-0.011, -0.012, -0.013)
    assert not few.is_shown
    assert verdict(few).startswith("too few seeds for a claim: -1.20 points (")
    nothing = effect_of(0.01, -0.01, 0.02, -0.02, 0.005, -0.004)
    assert verdict(nothing).startswith("no effect shown: +0.02 points, anything from -")
    assert remainder_verdict(nothing).startswith("no interaction shown")
    assert remainder_verdict(clear).startswith("the single effects do not add up: -1.20 points")
    torn = effect_of(0.010, 0.011, 0.012, 0.010, 0.011, -0.0001)
    assert torn.interval.excludes_zero()
    assert verdict(torn).startswith("unclear: ")
    assert "the two tests disagree" in verdict(torn)


def test_files_and_table(tmp_path: Path) -> None:
    found = measured(interacting)
    paths = write_ladder(found, "what it is", tmp_path / "lab")
    assert [path.name for path in paths] == ["ladder.csv", "ladder.json", "ladder.png"]
    rows = list(csv.DictReader(paths[0].open()))
    assert len(rows) == 1 + 2 + 9
    by_key = {(row["component"], row["view"]): row for row in rows}
    assert float(by_key["remainder", "added"]["mean"]) == pytest.approx(found.remainder_added.mean)
    assert float(by_key["lr", "path"]["low"]) == pytest.approx(found.bars[0].path.interval.low)
    assert by_key["crop", "removed"]["arm"] == "without-crop"
    content = json.loads(paths[1].read_text())
    assert content["total"]["differences"] == pytest.approx(list(found.total.differences))
    assert content["components"][2]["name"] == "blur"
    picture = cv2.imread(str(paths[2]))
    assert picture is not None
    assert picture.shape[1] > 1000
    console = Console(width=140, record=True, file=(tmp_path / "out").open("w"))
    print_ladder(found, console)
    text = console.export_text()
    assert f"{100 * found.goal:.2f}" in text
    assert "remainder (interactions)" in text
    assert "the single effects do not add up" in text


@pytest.mark.parametrize(
    ("designs", "seeds"), [(["path"], range(2)), (["removed"], range(3)), (["added"], range(0)), (["path"], range(0))]
)
def test_any_part_of_a_ladder_is_drawn(tmp_path: Path, designs: list[str], seeds: range) -> None:
    paths = write_ladder(measured(noisy, designs=designs, seeds=seeds), "", tmp_path)
    assert cv2.imread(str(paths[2])).std() > 0


def test_silent_components_share_a_line() -> None:
    found = measured(lambda held, seed: noisy(held & {"lr"}, seed))
    lines = short_lines(found)
    assert any(line.startswith("lr, added to FROM: lowers mIoU") for line in lines)
    assert not any(line.startswith("crop, ") for line in lines)
    assert lines[-1] == "no effect shown of: crop, blur (ladder.csv has each verdict)"


def test_the_section_escapes_what_others_wrote(tmp_path: Path) -> None:
    roles = roles_of(NAMES)
    rungs = (replace(roles.rungs[0], note="<script>alert(1)</script>"), *roles.rungs[1:])
    found = measure(results_of(replace(roles, rungs=rungs), additive))
    write_ladder(found, "", tmp_path)
    title, html = ladder_section(found, "<b>notes</b>", tmp_path / "ladder.png")
    assert title == "Ladder"
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;notes" in html
    assert "data:image/png;base64," in html


def test_the_made_up_arms_hold_what_their_names_say() -> None:
    assert held_by("path-crop", NAMES) == {"lr", "crop"}
    assert held_by("without-crop", NAMES) == {"lr", "blur"}
