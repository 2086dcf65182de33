"""The scores of a lab, read back from its run folders."""

import json
from pathlib import Path

import numpy as np
import pytest

from catalyst_cityscapes.lab.plan.plan import write_plan
from catalyst_cityscapes.lab.results import read_results, read_score
from semseg_ref.base.errors import InputError
from support.runs.labs import NAMES, lab_plan, write_made_up_score, write_run


@pytest.fixture
def plan(toy_city, workdir):
    """A lab of three arms and two seeds in the working directory."""
    return lab_plan(Path("lab"), toy_city)


def test_scores_are_read_back(plan):
    write_plan(plan)
    for index, (arm, seed) in enumerate(plan.runs()[:-1]):
        write_run(plan, arm, seed, share=0.5 + index / 20)
    results = read_results("lab")
    assert results.arms == ("base", "control", "head")
    assert results.seeds == (0, 1)
    assert results.names == NAMES
    assert set(results.runs) == set(plan.runs()[:-1])
    assert (results.kind, results.extra) == ("ab", {})
    score = results.runs["head", 0]
    content = json.loads(Path("lab/runs/head/seed_0/score/score.json").read_text())
    assert (score.miou, score.macc, score.allacc) == (content["mIoU"], content["mAcc"], content["allAcc"])
    assert score.iou.tolist() == [entry["iou"] for entry in content["classes"]]
    assert score.matrices.shape == (2, 3, 3)
    assert score.matrices.dtype == np.int64
    assert score.images == ("a.png", "b.png")
    assert score.protocol["hash"] == content["protocol"]["hash"]
    assert read_score(Path("lab/runs/head/seed_0/score/score.json"), "head", 0).miou == score.miou


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"base_size": 128}, "different protocols ("),
        ({"list_sha256": "2" * 64}, "different lists of images; they cannot be compared"),
        ({"images": ("a.png", "c.png")}, "different images;"),
        ({"names": ("road", "sky", "bus")}, "different classes;"),
    ],
)
def test_scores_that_cannot_be_compared_are_told(plan, more, part):
    write_plan(plan)
    write_run(plan, "base", 0)
    write_run(plan, "head", 1, **more)
    with pytest.raises(InputError) as caught:
        read_results("lab")
    for expected in ("lab/runs/base/seed_0/score/score.json", "lab/runs/head/seed_1/score/score.json", part):
        assert expected in str(caught.value)


def cut_matrices(path: Path) -> None:
    path.with_suffix(".npz").write_bytes(path.with_suffix(".npz").read_bytes()[:100])


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda path: path.write_text("{"), "no usable score (JSONDecodeError"),
        (lambda path: path.write_text("[]"), "no usable score (TypeError"),
        (lambda path: edit(path, matrices="../x.npz"), "no usable score (ValueError"),
        (lambda path: edit(path, protocol=None), "protocol: not recorded"),
        (lambda path: edit(path, mIoU=0.9), "mIoU 0.900000, but its matrices give 0.333333: not of one test"),
        (lambda path: path.with_suffix(".npz").unlink(), "score.npz is unusable ([Errno 2]"),
        (cut_matrices, "no usable score ("),
        (lambda path: path.with_suffix(".npz").write_bytes(b""), "no usable score ("),
        (
            lambda path: np.savez(
                path.with_suffix(".npz"), matrices=np.zeros((1, 3, 3), int), images=["a.png", "b.png"], names=NAMES
            ),
            "matrices (1, 3, 3), expected (2, 3, 3)",
        ),
        (
            lambda path: np.savez(path.with_suffix(".npz"), matrices=np.array([{}], dtype=object)),
            "score.npz is unusable (matrices: python objects, which are not read)",
        ),
        (
            lambda path: np.savez(path.with_suffix(".npz"), matrices=np.full((2, 3, 3), -1), images=["a"], names=NAMES),
            "matrices: expected counts of pixels",
        ),
        (lambda path: edit(path, mIoU=float("nan")), "mIoU nan, but its matrices give"),
        (lambda path: edit(path, protocol={"hash": "[/red]"}), "protocol: not recorded"),
        (lambda path: path.write_text("[" * 100_000), "no usable score (RecursionError"),
    ],
)
def test_a_damaged_score_is_told(plan, damage, part):
    write_plan(plan)
    damage(write_run(plan, "base", 0))
    with pytest.raises(InputError) as caught:
        read_results("lab")
    assert "lab/runs/base/seed_0/score/score.json: " in str(caught.value)
    assert part in str(caught.value)


def test_a_lab_without_a_finished_run_is_told(plan):
    write_plan(plan)
    with pytest.raises(InputError, match="lab: none of the 6 runs of this lab is finished yet"):
        read_results("lab")


def test_the_score_is_the_references_under_the_official_scorer_too(plan):
    write_plan(plan)
    path = write_run(plan, "base", 0)
    own = json.loads(path.read_text())["mIoU"]
    edit(path, mIoU=own + 0.1, official={"own": {"mIoU": own}})
    assert read_results("lab").runs["base", 0].miou == pytest.approx(own, abs=1e-12)


def test_made_up_scores_have_the_share_they_say(workdir):
    path = write_made_up_score(Path("score.json"), share=0.8)
    assert json.loads(path.read_text())["allAcc"] == pytest.approx(0.8, abs=1e-3)
