"""What a lab's scores are made into: comparisons, verdicts, tables, pictures, the page."""

import csv
import html.parser
import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup
from rich.console import Console

from catalyst_cityscapes.lab.analysis.analysis import analyse, write_tables
from catalyst_cityscapes.lab.analysis.page import write_lab_page
from catalyst_cityscapes.lab.analysis.table import print_analysis
from catalyst_cityscapes.lab.results import LabResults, RunScore
from catalyst_cityscapes.lab.statistics import seed_interval, sign_flip_test
from semseg_ref.evaluation import evaluation_from_matrices

NAMES = ("road", "sky", "car", "person", "train")


def run_score(arm: str, seed: int, matrices: np.ndarray) -> RunScore:
    images = tuple(f"frame_{i}.png" for i in range(len(matrices)))
    found = evaluation_from_matrices(matrices, images, NAMES)
    return RunScore(
        arm, seed, found.mIoU, found.mAcc, found.allAcc, found.iou_class, matrices, images, {"hash": "0123456789ab"}
    )


def matrices_of(right: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Confusion matrices [n, K, K] in which shares `right` [n, K] are found, the rest is taken for the next class."""
    found = np.rint(truth * np.clip(right, 0, 1)).astype(np.int64)
    matrices = np.zeros((*truth.shape, truth.shape[1]), np.int64)
    for label in range(truth.shape[1]):
        matrices[:, label, label] = found[:, label]
        matrices[:, label, (label + 1) % truth.shape[1]] += truth[:, label] - found[:, label]
    return matrices


def lab(
    folder: Path,
    effects: dict[str, np.ndarray | float],
    seeds: int = 6,
    images: int = 40,
    noise: float = 0.004,
    absent: tuple[int, ...] = (),
) -> LabResults:
    """A lab of a base and arms whose share of right pixels is moved by an effect (a number, or one for each class)."""
    rng = np.random.default_rng(0)
    truth = rng.integers(500, 5000, (images, len(NAMES)))
    truth[:, list(absent)] = 0
    difficulty = 0.7 + 0.1 * rng.standard_normal((images, len(NAMES)))
    runs = {}
    for seed in range(seeds):
        for arm, effect in {"base": 0.0, **effects}.items():
            scatter = noise * rng.standard_normal(len(NAMES))
            runs[arm, seed] = run_score(arm, seed, matrices_of(difficulty + effect + scatter, truth))
    return LabResults(folder, ("base", *effects), tuple(range(seeds)), NAMES, runs, "ab", {})


def only(analysis):
    assert len(analysis.comparisons) == 1
    return analysis.comparisons[0]


def test_a_planted_effect_is_found_and_its_numbers_are_the_statistics_own(tmp_path: Path) -> None:
    results = lab(tmp_path, {"worse": -0.05, "same": 0.0})
    analysis = analyse(results)
    worse, same = analysis.comparisons
    expected = np.array([results.runs["worse", s].miou - results.runs["base", s].miou for s in range(6)])
    assert worse.differences == tuple(expected)
    assert worse.mean == pytest.approx(expected.mean())
    assert worse.seed_interval == seed_interval(expected)
    assert worse.p_sign_flip == sign_flip_test(expected) == 2 / 64
    assert worse.p_arms == pytest.approx(min(1, 2 * worse.p_t))
    assert worse.image_interval.high < 0
    assert worse.verdict.startswith(f"worse by {-100 * expected.mean():.2f} points (")
    assert same.verdict.startswith("within noise: ")
    assert f"{100 * same.smallest_effect:.2f} in 4 of 5 labs" in same.verdict


def test_an_arm_with_the_base_s_results_is_called_identical(tmp_path: Path) -> None:
    results = lab(tmp_path, {})
    runs = dict(results.runs)
    runs.update({("copy", s): run_score("copy", s, results.runs["base", s].matrices.copy()) for s in range(6)})
    entry = only(analyse(LabResults(tmp_path, ("base", "copy"), tuple(range(6)), NAMES, runs, "ab", {})))
    assert entry.verdict == "identical scores in every seed (6)"
    assert entry.identical == tuple(range(6))
    assert entry.differences == (0.0,) * 6
    assert (entry.image_interval.low, entry.image_interval.high) == (0.0, 0.0)
    assert all(row.p == row.p_holm == 1 for row in entry.classes)
    matrices = results.runs["base", 0].matrices.copy()
    matrices[[0, 1]] = matrices[[1, 0]]
    runs["copy", 0] = run_score("copy", 0, matrices)
    entry = only(analyse(LabResults(tmp_path, ("base", "copy"), tuple(range(6)), NAMES, runs, "ab", {})))
    assert entry.differences == (0.0,) * 6
    assert entry.identical == (1, 2, 3, 4, 5)
    assert not entry.verdict.startswith("identical")


@pytest.mark.parametrize(("seeds", "start"), [(1, "too few seeds: one pair, "), (2, "too few seeds: 2 pairs, ")])
def test_one_or_two_seeds_get_no_interval(tmp_path: Path, seeds: int, start: str) -> None:
    entry = only(analyse(lab(tmp_path, {"worse": -0.2}, seeds=seeds)))
    assert entry.verdict.startswith(start)
    assert entry.seed_interval is entry.p_t is entry.p_sign_flip is entry.smallest_effect is None
    assert entry.image_interval.high < 0
    assert all(row.interval is row.p is row.p_holm is None and row.mean is not None for row in entry.classes)


@pytest.mark.parametrize("seeds", [3, 5])
def test_under_six_seeds_a_clear_difference_is_no_claim_yet(tmp_path: Path, seeds: int) -> None:
    entry = only(analyse(lab(tmp_path, {"worse": -0.2}, seeds=seeds)))
    assert entry.seed_interval.high < 0
    assert entry.p_sign_flip == 2 / 2**seeds
    assert entry.verdict.startswith("too few seeds: worse by ")
    assert f"at least {2 / 2**seeds:.3g} with {seeds} seeds and needs 6" in entry.verdict


def test_a_lab_that_is_not_finished_is_compared_over_the_pairs_there_are(tmp_path: Path) -> None:
    results = lab(tmp_path, {"a": -0.05, "b": 0.0})
    for key in (("a", 1), ("base", 4), ("b", 0), ("b", 1), ("b", 2), ("b", 3), ("b", 5)):
        del results.runs[key]
    analysis = analyse(results)
    a, b = analysis.comparisons
    assert a.seeds == (0, 2, 3, 5)
    assert "4 of 6 seeds are finished in both arms" in a.notes
    assert b.seeds == ()
    assert b.verdict == "no seed is finished in both arms"
    assert b.mean is b.image_interval is None
    assert len(analysis.missing) == 7
    assert [run.seed for run in analysis.scores[0].runs] == [0, 1, 2, 3, 5]
    page = write_lab_page(results, analysis, tmp_path).read_text()
    assert "11 of 18 runs have a score" in page
    json.dumps(analysis.to_json(), allow_nan=False)


def test_classes_are_corrected_and_absent_ones_not_tested(tmp_path: Path) -> None:
    effect = np.array([-0.1, 0, 0, 0, 0])
    entry = only(analyse(lab(tmp_path, {"arm": effect}, absent=(4,))))
    road, *others, train = entry.classes
    assert train.absent
    assert train.p is train.p_holm is None
    assert road.p_holm == pytest.approx(4 * road.p)
    assert road.p_holm <= 0.05
    assert road.interval.high < 0
    # What is missed of the road is taken for sky, whose union grows.
    assert [row.name for row in others if row.p_holm <= 0.05] == ["sky"]


def test_seeds_that_do_not_reach_the_runs_are_noticed(tmp_path: Path) -> None:
    entry = only(analyse(lab(tmp_path, {"arm": -0.05}, noise=0.0)))
    assert entry.sd == 0
    assert entry.seed_interval.low == entry.seed_interval.high == entry.mean
    assert any("do the seeds reach the runs" in note for note in entry.notes)


def test_an_arm_that_scatters_much_more_is_noticed(tmp_path: Path) -> None:
    results = lab(tmp_path, {"arm": 0.0}, noise=0.001)
    wild = lab(tmp_path, {"arm": 0.0}, noise=0.05)
    results.runs.update({key: run for key, run in wild.runs.items() if key[0] == "arm"})
    assert any("the arm scatters" in note for note in only(analyse(results)).notes)


def test_the_tables_hold_every_run_and_class_and_read_back(tmp_path: Path) -> None:
    results = lab(tmp_path, {"a": -0.05, "b": 0.0})
    analysis = analyse(results)
    files = write_tables(analysis, tmp_path / "new" / "folder")
    with files[0].open() as file:
        scores = list(csv.DictReader(file))
    assert len(scores) == 18
    for row in scores:
        run = results.runs[row["arm"], int(row["seed"])]
        assert float(row["mIoU"]) == run.miou
        assert float(row["IoU car"]) == run.iou[2]
    with files[1].open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["score"]) for row in rows[:2]] == [("a", "mIoU"), ("a", "IoU road")]
    assert len(rows) == 2 * (1 + len(NAMES))
    assert float(rows[0]["seed_high"]) == analysis.comparisons[0].seed_interval.high
    assert float(rows[0]["image_low"]) == analysis.comparisons[0].image_interval.low
    content = json.loads(files[2].read_text())
    assert content["comparisons"][0]["verdict"] == analysis.comparisons[0].verdict
    assert content["comparisons"][0]["seed_interval"]["low"] == analysis.comparisons[0].seed_interval.low


def printed(results: LabResults, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_analysis(analyse(results), console)
    return console.file.getvalue()


def test_the_terminal_table_shows_arms_verdicts_and_classes(tmp_path: Path) -> None:
    results = lab(tmp_path, {"[red]odd": np.array([-0.1, 0, 0, 0, 0]), "same": 0.0})
    analysis = analyse(results)
    text = printed(results)
    assert "[red]odd: worse by " in text
    assert f"{100 * analysis.comparisons[0].mean:+.2f}" in text
    assert "same: within noise" in text
    assert "  road -" in text
    assert "after Holm's correction" in text


class Page(html.parser.HTMLParser):
    """Collects the tags, and the sources of pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.sources, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.sources += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(tmp_path: Path) -> None:
    results = lab(tmp_path, {"<script>alert(1)</script>": -0.05, "b": 0.0, "$x_{": 0.0})
    sections = [("Ladder <b>", Markup("<p id='mine'>steps</p>")), ("Plain", "a < b")]
    path = write_lab_page(results, analyse(results), tmp_path, sections)
    text = path.read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert "&lt;script&gt;alert(1)" in text
    assert "<p id='mine'>steps</p>" in text
    assert "Ladder &lt;b&gt;" in text
    assert "a &lt; b" in text
    assert len(page.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} >= {"verdicts", "differences", "extra-0"}


@pytest.mark.parametrize("arms", [0, 1, 6])
def test_pictures_are_drawn_for_any_number_of_arms(tmp_path: Path, arms: int) -> None:
    results = lab(tmp_path, {f"arm_{i}": 0.01 * i for i in range(arms)}, seeds=3)
    write_lab_page(results, analyse(results), tmp_path)
    for name in ("runs", "differences", "classes"):
        data = (tmp_path / f"{name}.png").read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG")
        assert min(width, height) > 100
