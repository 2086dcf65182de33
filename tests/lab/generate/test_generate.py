"""`generate`: tables of trainings, the recipe files made from them, and what is refused."""

import re
from pathlib import Path

import pytest
import yaml

from catalyst_cityscapes.lab.generate.files import recipe_text
from catalyst_cityscapes.lab.generate.recipes import generate
from catalyst_cityscapes.lab.generate.table import Job, jobs_of, read_table
from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.errors import InputError
from support.command_line import dl

TOY = "toy/pspnet50"
PUBLISHED = "mmseg/pspnet_r50_769"


def test_a_row_is_every_combination_in_order():
    jobs = jobs_of({"model": [TOY, PUBLISHED], "crop": ["published", "33x65"], "processes": [1, 4], "images": 2}, "t")
    assert [(job.model, job.crop, job.processes) for job in jobs] == [
        (model, crop, n) for model in (TOY, PUBLISHED) for crop in (None, (33, 65)) for n in (1, 4)
    ]
    assert {job.images for job in jobs} == {2}


@pytest.mark.parametrize(
    ("given", "length"),
    [(40000, ("iterations", 40000)), ("200 epochs", ("epochs", 200)), ("5 iterations", ("iterations", 5))],
)
def test_a_length_is_in_steps_unless_it_says_epochs(given, length):
    assert jobs_of({"model": TOY, "length": given}, "t") == [Job("t", TOY, length=length)]


def test_rows_take_what_stands_above_them(tmp_path):
    table = {"model": TOY, "processes": 1, "images": 2, "rows": [{"crop": "33x33"}, {"images": [1, 4], "name": None}]}
    (tmp_path / "t.yml").write_text(yaml.safe_dump(table))
    jobs = read_table(str(tmp_path / "t.yml"))
    assert [(job.crop, job.images) for job in jobs] == [((33, 33), 2), (None, 1), (None, 4)]
    assert jobs[1].place.endswith("t.yml: rows[1]")


def test_the_ten_trainings_of_the_replication():
    jobs = read_table("tables/mmseg-replication")
    assert len(jobs) == 10
    assert len({job.model for job in jobs}) == 6
    assert [job.crop for job in jobs] == [(512, 512)] * 6 + [None] * 4
    assert {job.processes for job in jobs} == {1}
    assert sorted(job.images for job in jobs) == [1] + 8 * [2] + [4]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"model": "mmseg/pspnet_r50_796"}, "model: mmseg/pspnet_r50_796: no such config"),
        ({"model": TOY, "crop": "512"}, "crop: '512': expected HEIGHTxWIDTH, e.g. 512x1024, or published"),
        ({"model": TOY, "crop": "0x12"}, "crop: '0x12': expected HEIGHTxWIDTH"),
        ({"model": TOY, "crops": "33x33"}, "crops: unknown key; did you mean 'crop'?"),
        ({"model": TOY, "length": "4e4"}, "length: '4e4': expected optimiser steps"),
        ({"model": TOY, "processes": 0}, "processes: 0: expected a whole number >= 1"),
        ({"model": TOY, "images": 2}, "images: 2: of how many processes?"),
        ({"crop": "33x33"}, "model: missing"),
        ({"model": TOY, "overlay": "swap/head_rl"}, "overlay: swap/head_rl: no such config"),
        ({"model": TOY, "name": "../x"}, "name: '../x': expected letters"),
        ({"model": TOY, "name": "x", "processes": [1, 2]}, "name: x: names one job, this row makes 2"),
        ({"model": TOY, "crop": [["33", "33"]]}, "crop: ['33', '33']: expected a word or a number"),
        ({"model": TOY, "processes": list(range(1, 40)), "images": list(range(1, 40))}, "more than 1000 jobs"),
    ],
)
def test_a_row_that_is_none_is_refused(row, message):
    with pytest.raises(InputError, match=re.escape(message)):
        jobs_of(row, "t.yml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,crop\n", "no job"),
        ("model,crop\ntoy/pspnet50\n", "line 2: 1 cells under 2 keys"),
        ("# note\nmodel,size\n\ntoy/pspnet50,3\n", "line 4: size: unknown key"),
        ("model,model\ntoy/pspnet50,toy/pspnet18\n", "line 1: model: there twice; expected each key once"),
        ("# note\nmodel,set,crop,set\ntoy/pspnet50,,,\n", "line 2: set: there twice"),
    ],
)
def test_a_csv_that_is_no_table_is_refused(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_table(str(path))


def test_two_jobs_of_one_name_are_refused_and_overlays_tell_them_apart():
    """Files named by model and size alone once made 576 trainings write into 288 folders."""
    plain, other = (
        Job("t: line 2", TOY, crop=(33, 33)),
        Job("t: line 3", TOY, crop=(33, 33), overlays=("swap/head_lr",)),
    )
    with pytest.raises(InputError, match=re.escape("t: line 3: toy_pspnet50_crop_33x33: the name of another job, t:")):
        generate([plain, Job("t: line 3", TOY, crop=(33, 33))])
    assert [made.name for made in generate([plain, other])] == [
        "toy_pspnet50_crop_33x33",
        "toy_pspnet50_crop_33x33_head_lr",
    ]
    with pytest.raises(InputError, match="t: line 4: again is the same training as toy_pspnet50_crop_33x33"):
        generate([plain, Job("t: line 4", TOY, crop=(33, 33), name="again")])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"model": TOY, "crop": ["33x33", "33x33"]}, "toy_pspnet50_crop_33x33: the same combination is given twice"),
        ({"model": TOY, "length": [200, "200 iterations"]}, "toy_pspnet50_200i: the same combination is given twice"),
        ({"model": [TOY, f"{TOY}.yml"]}, "toy_pspnet50: the name of two combinations; give each a row of a table"),
    ],
)
def test_a_row_whose_combinations_share_a_name_says_which(row, message):
    with pytest.raises(InputError, match=re.escape(f"options: {message}")):
        generate(jobs_of(row, "options"))


def test_windows_stay_those_of_the_crop():
    (made,) = generate([Job("t", "mmseg/toy/pspnet_r18", crop=(65, 65), processes=1, images=2)])
    assert made.recipe.data.crop == made.recipe.protocol.crop == (65, 65)
    assert made.recipe.protocol.stride == (44, 44)  # 65 of 97
    assert made.recipe.sampling.batch_size == 2


def test_the_published_number_stays_only_where_nothing_changes(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(f"base: {TOY}\nexpected: {{recipe: {PUBLISHED}, mIoU: 0.5, tolerance: 0.1, source: a paper}}\n")
    published, small = generate([Job("t", str(path)), Job("t", str(path), processes=1, images=2)])
    assert published.is_published
    assert published.recipe.expected == published.start.expected
    assert "# Published: 0.5000." in recipe_text(published, tmp_path)
    assert not small.is_published
    assert (small.recipe.expected.miou, small.recipe.expected.recipe) == (None, PUBLISHED)
    text = recipe_text(small, tmp_path)
    assert "\n  - mine.yml\n" in text
    assert "# 0.5000 is published for" in text


def test_files_are_the_recipes_and_are_not_written_over(tmp_path):
    words = ["generate", f"--model={TOY}", "--crop=33x33", "--length=2 epochs", "--length=published"]
    words += ["--processes=1", "--images=4", "--overlay=swap/head_lr", "--set=optimizer.lr=0.02", f"--to={tmp_path}"]
    result = dl(*words)
    assert result.exit_code == 0, result.output
    assert "2 recipes" in result.output
    name = "toy_pspnet50_crop_33x33_2e_1x4"
    text = (tmp_path / f"{name}.yml").read_text()
    assert re.search(r"^#   data.crop: \[\d+, \d+\] -> \[33, 33\]$", text, re.MULTILINE)
    assert re.search(r"^  lr: 0.02 +# 0.01$", text, re.MULTILINE)
    wanted = load_recipe(
        [TOY, "swap/head_lr"],
        [
            f"experiment.name={name}",
            "experiment.epochs=2",
            "data.crop=[33,33]",
            "sampling.batch_size=4",
            "optimizer.lr=0.02",
        ],
    )
    found = load_recipe([tmp_path / f"{name}.yml"])
    assert found.plain() | {"protocol": wanted.plain()["protocol"]} == wanted.plain()
    again = dl(*words)
    assert again.exit_code == 2
    assert "is there already and 1 more; --overwrite writes over it" in again.output
    assert dl(*words, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no table and no --model"),
        (("tables/mmseg-replicatoin",), "no such table; did you mean 'tables/mmseg-replication.csv'?"),
        (("tables/mmseg-replication", "--crop", "33x33"), "--crop: tables/mmseg-replication says it all"),
        (("--model", TOY, "--overwrite"), "--overwrite: nothing is written without --to FOLDER"),
        (("--model", TOY, "--crop", "32x32"), "options: "),
        (("--model", PUBLISHED, "--length", "10 epochs"), ": sampling.order: endless has no epochs; set experiment.it"),
        (("--model", TOY, "--processes", "3"), "cannot be dealt out evenly"),
        (
            ("--model", "mmseg/toy/segformer_b0", "--crop", "16x64"),
            "options: data.crop: 16 is too small for",
        ),
        (("--model", "mmseg/toy/pspnet_r18", "--overlay", "swap/mmseg/segnext_head_256"), "pspnet_r18 has none"),
        (("--model", "mmseg/toy/hrnet_w18s", "--set", "model.drop_path=0.1"), "drop_path: 0.1: hrnet_w18s has none"),
    ],
)
def test_bad_input_is_one_line(words, message):
    result = dl("generate", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not list(Path().glob("*.yml"))
