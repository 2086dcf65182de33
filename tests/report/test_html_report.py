"""The report: complete, escaped, honest about what is missing."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from markupsafe import Markup

from catalyst_cityscapes.report.charts import Series, binned, heat_map, line_chart, short
from catalyst_cityscapes.report.frames import ranked_frames
from catalyst_cityscapes.report.page import heat_picture, largest_confusions
from catalyst_cityscapes.report.run_record import epoch_series, read_run
from semseg_ref.catalog import load_colors
from support.command_line import dl
from support.runs.finished import toy_recipe, write_logs, write_test

ATTACK = "<script>document.title='pwned'</script><img src=x onerror=alert(1)>"
VOID = ("meta", "link", "img", "br", "hr", "input")


class Outline(HTMLParser):
    """Elements by name, ids, text, addresses, and whether every element is closed in order."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.ids, self.addresses, self.handlers, self.open, self.text = [], [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action"):
                self.addresses.append(value)
            if name.startswith("on"):
                self.handlers.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    expected = ("expected.mIoU=0.5", "expected.tolerance=0.01", "expected.source=a paper")
    recipe = toy_recipe(root, val=6, settings=expected)
    write_logs(root / "run", recipe)
    write_test(root / "run", recipe)
    return root / "run"


@pytest.fixture
def run_folder(finished, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(finished, tmp_path / "run")


def report(folder, *more):
    result = dl("report", folder, *more)
    assert result.exit_code == 0, result.output
    return (folder / "report.html").read_text(encoding="utf-8") if not more else result.output


def score_path(folder):
    return next(folder.rglob("score.json"))


def change_score(folder, **entries):
    path = score_path(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_complete(finished):
    html = report(finished)
    page = Outline(html)
    score = json.loads(score_path(finished).read_text())
    assert page.ids == ["score", "curves", "classes", "confusions", "key", "worst", "best", "recipe", "environment"]
    text = " ".join(page.text)
    for number in (score["mIoU"], score["mAcc"], score["allAcc"], *(row["iou"] for row in score["classes"])):
        assert f"{number:.4f}" in text
    assert score["protocol"]["hash"] in text
    assert "published 0.5000" in text
    assert "a paper" in text
    for title in ("Training loss", "Learning rate", "mIoU while training", "Loss of the epochs"):
        assert title in text
    assert "weight_decay: 0.0001" in text
    assert "versions.torch" in text
    assert page.elements.count("img") == 4 * score["images"]
    names = np.load(score_path(finished).with_suffix(".npz"))["images"]
    assert all(name in text for name in names)
    assert "What is missing" not in text


def test_needs_nothing_else(finished):
    html = report(finished)
    page = Outline(html)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"url\(|@import|https?:", re.sub(r"<pre>.*?</pre>|<td.*?</td>", "", html, flags=re.S))
    assert "default-src 'none'" in html
    assert {"script", "iframe", "object", "embed", "form", "base"}.isdisjoint(page.elements)


def test_hostile_names_are_text(run_folder):
    """Wherever a run folder holds text of others, markup in it must come out as text."""
    recipe = yaml.safe_load((run_folder / "recipe.yml").read_text())
    recipe["experiment"]["name"] = ATTACK
    recipe["expected"]["source"] = ATTACK
    (run_folder / "recipe.yml").write_text(yaml.safe_dump(recipe))
    (run_folder / "environment.json").write_text(json.dumps({ATTACK: {ATTACK: ATTACK, "list": [ATTACK]}}))
    with open(run_folder / "metrics.csv", "a") as file:
        file.write(f'3,"{ATTACK}","mIoU",0.5\n3,train,"{ATTACK}",0.5\n')
    path = score_path(run_folder)
    score = json.loads(path.read_text())
    for row in score["classes"]:
        row["name"] = f"{ATTACK}{row['name']}"
    score.update(experiment=ATTACK, list=ATTACK, checkpoint={"path": ATTACK, "sha256": ATTACK})
    score["protocol"].update(name=ATTACK, hash=ATTACK)
    path.write_text(json.dumps(score))
    with np.load(path.with_suffix(".npz")) as archive:
        arrays = dict(archive)
    arrays["images"] = np.array([f"{ATTACK}{name}" for name in arrays["images"]])
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    shutil.copytree(path.parent, run_folder / "result" / ATTACK.replace("/", ""))
    (run_folder / "result" / "broken").mkdir()
    (run_folder / "result" / "broken" / "score.json").write_text(ATTACK)

    clean = Outline(report(run_folder))
    assert "script" not in clean.elements
    assert clean.elements.count("img") == 0  # pictures need a readable recipe, and no planted image may appear
    assert clean.handlers == []
    shown = "".join(clean.text)
    assert shown.count(ATTACK) > 50
    assert "does not fit this version" in shown


def test_hostile_recipe_that_fits_the_schema(run_folder):
    recipe = yaml.safe_load((run_folder / "recipe.yml").read_text())
    recipe["expected"]["source"] = ATTACK
    (run_folder / "recipe.yml").write_text(yaml.safe_dump(recipe))
    page = Outline(report(run_folder))
    assert "script" not in page.elements
    assert "".join(page.text).count(ATTACK) == 2  # verdict and recipe.yml


def test_hostile_file_names(tmp_path):
    recipe = toy_recipe(tmp_path, val=2)
    listed = tmp_path / "city" / "list" / "fine_val.txt"
    lines = listed.read_text().splitlines()
    image, label = lines[0].split(" ")
    planted = "leftImg8bit/val/<svg onload=alert(1)>"
    (tmp_path / "city" / image).rename(tmp_path / "city" / f"{planted}.png")
    listed.write_text(f"{planted.replace(' ', '%20')}.png {label}\n{lines[1]}\n")
    (tmp_path / "city" / f"{planted}.png").rename(tmp_path / "city" / f"{planted.replace(' ', '%20')}.png")
    write_logs(tmp_path / "run", recipe)
    write_test(tmp_path / "run", recipe)
    html = report(tmp_path / "run")
    page = Outline(html)
    assert "<svg onload" not in html
    assert "<svg%20onload" not in html
    assert "<svg%20onload=alert(1)>.png" in "".join(page.text)
    assert page.elements.count("img") == 8


def test_a_file_name_that_is_no_text(run_folder):
    """An undecodable byte in a path must not stop the report from being written."""
    folder = run_folder.rename(run_folder.with_name("run\udcff"))
    html = report(folder)
    assert "run?" in html


def test_without_a_test(run_folder):
    shutil.rmtree(run_folder / "result")
    page = Outline(report(run_folder))
    assert page.ids == ["score", "curves", "recipe", "environment"]
    assert "No test score yet" in " ".join(page.text)
    assert "no test score yet" in report(run_folder, "--output", run_folder / "again.html")


def test_bare_run_folder(run_folder):
    for path in run_folder.iterdir():
        if path.name != "recipe.yml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = Outline(report(run_folder))
    assert page.ids == ["notes", "score", "recipe", "environment"]
    text = " ".join(page.text)
    for name in ("iterations.csv", "metrics.csv", "environment.json"):
        assert name in text


def test_damaged_files_become_notes(run_folder):
    (run_folder / "iterations.csv").write_text("iteration,epoch,lr_backbone\nx,y,z\n")
    (run_folder / "metrics.csv").write_text("epoch,loader,metric,value\n1,train,mIoU,0.5\n1,train\nx,y,z,w\n")
    (run_folder / "environment.json").write_text("{")
    score_path(run_folder).with_suffix(".npz").write_bytes(b"PK nothing")
    page = Outline(report(run_folder))
    assert page.ids == ["notes", "score", "curves", "classes", "recipe", "environment"]
    text = " ".join(page.text)
    assert "iterations.csv is damaged" in text
    assert "2 unreadable rows" in text
    assert "No confusions and frames" in text


def test_matrices_with_code_in_them_are_not_run(run_folder):
    path = score_path(run_folder).with_suffix(".npz")
    np.savez(path, matrices=np.array([{"a": 1}], dtype=object), images=np.array(["a.png"]))
    assert "No confusions and frames" in report(run_folder)


def test_limited_scores_are_not_compared(run_folder):
    change_score(run_folder, limit=2)
    text = " ".join(Outline(report(run_folder)).text)
    assert "Only the first 2 images" in text
    assert "published 0.5000" not in text


def test_scores_of_other_protocols_are_told_apart(run_folder):
    first = score_path(run_folder).parent
    second = shutil.copytree(first, first.parent / "whole")
    score = json.loads((second / "score.json").read_text())
    score["protocol"].update(name="whole", hash="ba5eba11cafe")
    score["mIoU"] = 0.1234
    (second / "score.json").write_text(json.dumps(score))
    text = " ".join(Outline(report(run_folder)).text)
    assert "2 different protocols" in text
    assert "mIoU 0.1234" in report(run_folder, "--score", second / "score.json", "--output", run_folder / "b.html")
    assert "ba5eba11cafe" in " ".join(Outline((run_folder / "b.html").read_text()).text)


def test_official_score(run_folder):
    official = score_path(run_folder).parent / "official" / "official.json"
    official.parent.mkdir()
    means = {"IoU class": 0.4242, "iIoU class": None, ATTACK: 0.1}
    content = {
        "means": means,
        "cityscapesscripts": "2.3.0",
        "largest_difference": 1.5e-16,
        "images": 6,
        "partial": True,
    }
    official.write_text(json.dumps(content))
    page = Outline(report(run_folder))
    text = " ".join(page.text)
    assert "Official score (cityscapesScripts 2.3.0, 6 images)" in text
    assert "0.4242" in text
    assert "1.5e-16" in text
    assert "not the official number" in text
    assert ATTACK in text
    official.write_text("[]")
    assert "No official score" in " ".join(Outline(report(run_folder)).text)


def test_scores_that_do_not_exist(run_folder):
    rows = json.loads(score_path(run_folder).read_text())["classes"]
    rows[0].update(iou=None, accuracy=None)
    change_score(run_folder, classes=rows)
    assert "—" in " ".join(Outline(report(run_folder)).text)


def test_frames_without_their_images(run_folder):
    recipe = yaml.safe_load((run_folder / "recipe.yml").read_text())
    recipe["data"]["root"] = "/nowhere"
    (run_folder / "recipe.yml").write_text(yaml.safe_dump(recipe))
    page = Outline(report(run_folder))
    assert page.elements.count("img") == 0
    assert "No pictures: /nowhere/leftImg8bit" in "".join(page.text)


def test_a_loss_that_broke(run_folder):
    lines = (run_folder / "iterations.csv").read_text().splitlines()
    lines[5] = re.sub(r"[^,]+$", "nan", lines[5])
    (run_folder / "iterations.csv").write_text("\n".join(lines) + "\n")
    html = report(run_folder)
    assert "1 of 900 steps have no finite loss" in html
    assert "nan" not in "".join(re.findall(r'd="[^"]*"', html))


def test_worst_and_best_frames(finished):
    record = read_run(finished)
    worst, best = ranked_frames(record.scores[0], record.recipe.data, load_colors("cityscapes_colors.txt"))
    assert len(worst) == len(best) == 3
    names = [frame.name for frame in (*worst, *best)]
    assert sorted(names) == sorted(record.scores[0].images)
    mious = [frame.miou for frame in (*worst, *reversed(best))]
    assert mious == sorted(mious)
    assert [name for name, _ in worst[0].pictures] == ["image", "truth", "prediction", "error"]


def test_epochs_that_were_run_twice(run_folder):
    with open(run_folder / "metrics.csv", "a") as file:
        file.write("3,train,mIoU,0.9\n4,train,mIoU,nan\n")
    assert epoch_series(read_run(run_folder), "mIoU")["train"] == ([1, 2, 3], [0.2, 0.4, 0.9])


def tick_texts(chart):
    """Texts below the horizontal axis, its label "x" left out, and left of the vertical one."""
    found = re.findall(r"text-anchor: (middle|end)[^>]*>([^<]*)<", chart)
    return [[text for anchor, text in found if anchor == side and text != "x"] for side in ("middle", "end")]


def dots(chart):
    """How many filled curves are moved to a place."""
    return len(re.findall(r'<path d="[^"]*C[^"]*" style="fill: var[^"]*" transform="translate', chart))


def test_charts():
    unit = Series("y", np.array([0.0, 1.0]), np.array([0.0, 1 / 1.04]))  # the axis ends 4 % above
    assert tick_texts(line_chart([unit], "x"))[1] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert "3" in tick_texts(line_chart([Series("y", np.array([3.0]), np.array([3.0]))], "x"))[0]
    assert [short(v) for v in (37200, 0.01, 0.0001, 0, 5)] == ["37.2k", "0.01", "1e-4", "0", "5"]
    line = binned("loss", range(37200), np.linspace(4, 1, 37200))
    assert len(line.x) == 300
    assert np.isclose(line.y.mean(), 2.5)
    assert (line.band[0] <= line.y).all()
    assert (line.y <= line.band[1]).all()
    assert line_chart([Series("none", np.array([]), np.array([]))], "step") == Markup("")
    assert dots(line_chart([Series("one", np.array([1.0]), np.array([0.5]))], "epoch")) == 2  # and one in its legend
    assert dots(line_chart([Series("two", np.array([1.0, 2.0]), np.array([0.5, 0.6]))], "epoch")) == 0
    assert "&lt;b&gt;" in line_chart([Series("<b>", np.array([1.0, 2.0]), np.array([0.0, 0.0]))], "epoch")


def test_confusions():
    matrix = np.array([[90, 10, 0], [30, 70, 0], [0, 0, 0]])
    found = largest_confusions(matrix, ["a", "b", "c"])
    assert [(c.truth, c.prediction, c.pixels, c.share, c.of_errors) for c in found] == [
        ("b", "a", 30, 0.3, 0.75),
        ("a", "b", 10, 0.1, 0.25),
    ]
    drawn = heat_map(matrix, ["a", "b", "c"])
    assert re.findall(r"<text[^>]*>(\d+)<", drawn) == ["90", "10", "30", "70"]
    assert heat_picture(np.eye(150, dtype=np.int64)).startswith('<img class="heat" src="data:image/png')


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}x"], "no such run folder; did you mean '{run}'?"),
        (["{run}/result"], "no recipe.yml in it, so this is no run folder"),
        (["{run}", "--output", "{run}/report.txt"], "expected a name that ends in .html"),
        (["{run}", "--score", "{run}/recipe.yml"], "recipe.yml: no readable score file"),
        (["{run}", "--score", "{run}/environment.json"], "no readable score file (mIoU: Field required)"),
    ],
)
def test_bad_input_is_one_line(finished, words, message):
    result = dl("report", *(word.format(run=finished) for word in words))
    assert result.exit_code == 2
    assert message.format(run=finished) in result.stderr
    assert len(result.stderr.splitlines()) == 1
