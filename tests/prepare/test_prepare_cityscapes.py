"""`catalyst-dl prepare cityscapes`: equal to the official script, resumable, and each trap with its message."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalyst_cityscapes.prepare import files, prepare
from catalyst_cityscapes.prepare.label_image import encode_png
from semseg_ref.base.errors import DataError, InputError
from semseg_ref.dataset import SemData, make_dataset
from support.cities.prepared import COUNTS, build_unprepared, contents, snapshot
from support.command_line import dl


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return build_unprepared(tmp_path_factory.mktemp("toy") / "city")


@pytest.fixture
def city(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "city"))


@pytest.fixture
def prepared(city):
    prepare("cityscapes", [city], city, allow_partial=True)
    return city


def first(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def labels_of(root: Path) -> dict[str, np.ndarray]:
    return {str(p.relative_to(root)): np.array(Image.open(p)) for p in root.rglob("*_labelTrainIds.png")}


def refused(*arguments: object) -> str:
    """The one line that the command ends with."""
    result = dl("prepare", *arguments)
    assert result.exit_code == 2, result.output
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("catalyst-dl: error: ")
    return line


def test_pixels_equal_the_official_script(prepared, template, tmp_path, monkeypatch, capsys):
    from cityscapesscripts.preparation import createTrainIdLabelImgs

    official = Path(shutil.copytree(template, tmp_path / "official"))
    monkeypatch.setenv("CITYSCAPES_DATASET", str(official))
    createTrainIdLabelImgs.main()
    ours, theirs = labels_of(prepared), labels_of(official)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 8
    for name, label in ours.items():
        assert label.dtype == np.uint8
        assert label.tobytes() == theirs[name].tobytes(), name
    assert len(np.unique(np.concatenate([label.ravel() for label in ours.values()]))) > 12


def test_lists_are_the_references_and_load(prepared):
    for split, fields in (("train", 2), ("val", 2), ("test", 1)):
        lines = (prepared / "list" / f"fine_{split}.txt").read_text().splitlines()
        assert len(lines) == COUNTS[f"fine_{split}"]
        assert lines == sorted(lines)
        assert all(len(line.split(" ")) == fields for line in lines)
    dataset = SemData("train", str(prepared), prepared / "list/fine_train.txt", classes=19)
    image, label = dataset[0]
    assert image.shape == (64, 96, 3)
    assert label.shape == (64, 96)


def test_manifest_says_what_there_is(prepared):
    manifest = json.loads((prepared / "prepared.json").read_text())
    assert (manifest["dataset"], manifest["id_space"], manifest["classes"]) == ("cityscapes", "trainIds", 19)
    assert manifest["counts"] == COUNTS
    assert manifest["complete"] is False
    checksums = contents(prepared)
    assert len(manifest["labels"]) == len(manifest["images"]) == 8
    for name, record in manifest["labels"].items():
        assert record["sha256"] == checksums[name]
        assert record["bytes"] == (prepared / name).stat().st_size


def test_a_second_run_touches_nothing(prepared):
    before = snapshot(prepared)
    outcome = prepare("cityscapes", [prepared], prepared, allow_partial=True)
    assert dict(outcome.labels) == {"kept": 8}
    assert snapshot(prepared) == before


def test_workers_give_the_same_bytes(prepared, template, tmp_path):
    other = Path(shutil.copytree(template, tmp_path / "other"))
    prepare("cityscapes", [other], other, workers=2, allow_partial=True)
    assert contents(other) == contents(prepared)


def test_into_another_folder(city, prepared, tmp_path):
    shutil.copytree(city, tmp_path / "source")
    for path in (tmp_path / "source").rglob("*_labelTrainIds.png"):
        path.unlink()
    before = snapshot(tmp_path / "source/gtFine")
    prepare("cityscapes", [tmp_path / "source"], tmp_path / "to", allow_partial=True)
    assert snapshot(tmp_path / "source/gtFine") == before
    assert contents(tmp_path / "to") == contents(prepared)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on(city, prepared, template, tmp_path, workers):
    """A named pipe in the place of a polygon file stops the run at that file, as long as nobody writes to it."""
    broken = Path(shutil.copytree(template, tmp_path / "broken"))
    pipe = first(broken, "gtFine/val/*/*_polygons.json")
    content = pipe.read_bytes()
    pipe.unlink()
    os.mkfifo(pipe)
    command = [sys.executable, "-c", "from catalyst_cityscapes.cli import main; main()", "prepare", "cityscapes"]
    command += [str(broken), "--allow-partial", "--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        finished = 6 if workers == 1 else 7
        wait_until(lambda: len(list(broken.rglob("*_labelTrainIds.png"))) == finished)
        wait_until(lambda: (broken / "prepared.unfinished.jsonl").read_text().count("[") == finished)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(lambda: not has_reader(pipe))
    assert not (broken / "prepared.json").exists()
    pipe.unlink()
    before = snapshot(broken / "gtFine")
    half = pipe.with_name(f".{pipe.name}.1.prepare-draft")
    half.write_bytes(b"\x89PNG")
    pipe.write_bytes(content)
    outcome = prepare("cityscapes", [broken], broken, allow_partial=True)
    assert dict(outcome.labels) == {"kept": finished, "made": 8 - finished}
    after = snapshot(broken / "gtFine")
    assert {name: after[name] for name in before} == before
    assert contents(broken) == contents(prepared)


def wait_until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def has_reader(pipe: Path) -> bool:
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno != errno.ENXIO
    return True


def test_a_half_written_label_is_made_anew(prepared):
    whole = contents(prepared)
    label = first(prepared, "gtFine/train/*/*_labelTrainIds.png")
    label.write_bytes(label.read_bytes()[:100])
    (prepared / "prepared.json").unlink()
    result = dl("prepare", "cityscapes", prepared, "--allow-partial")
    assert result.exit_code == 0, result.output
    assert f"note: {label.relative_to(prepared)} was damaged, made anew" in result.stdout
    assert "labels: 7 kept, 1 repaired" in result.stdout
    assert contents(prepared) == whole


def test_label_ids_under_the_name_of_train_ids_are_replaced(city):
    label_ids = first(city, "gtFine/train/*/*_labelIds.png")
    planted = label_ids.with_name(label_ids.name.replace("labelIds", "labelTrainIds"))
    shutil.copy(label_ids, planted)
    outcome = prepare("cityscapes", [city], city, allow_partial=True)
    assert outcome.notes == [f"{planted.relative_to(city)} held other values than its source, made anew"]
    assert set(np.unique(np.array(Image.open(planted)))) <= {*range(19), 255}


def test_the_official_scripts_own_labels_are_kept(city, prepared, tmp_path):
    label = first(prepared, "gtFine/train/*/*_labelTrainIds.png")
    Image.open(label).copy().save(label)
    (prepared / "prepared.json").unlink()
    before = snapshot(prepared / "gtFine")
    assert dict(prepare("cityscapes", [prepared], prepared, allow_partial=True).labels) == {"kept": 8}
    assert snapshot(prepared / "gtFine") == before


def test_a_list_of_the_users_is_kept_beside(city):
    (city / "list").mkdir()
    (city / "list/fine_val.txt").write_text("mine\n")
    outcome = prepare("cityscapes", [city], city, allow_partial=True)
    assert outcome.notes == ["fine_val.txt had other lines or another order; the old one is now fine_val.txt.old"]
    assert (city / "list/fine_val.txt.old").read_text() == "mine\n"


def test_other_counts_than_published(city):
    line = refused("cityscapes", city)
    assert "fine_train 5 (expected 2975), fine_val 2 (expected 500), fine_test 1 (expected 1525)" in line
    assert "--allow-partial" in line
    assert not (city / "prepared.json").exists()


def test_polygons_missing(city):
    polygons = first(city, "gtFine/train/*/*_polygons.json")
    polygons.unlink()
    line = refused("cityscapes", city, "--allow-partial")
    assert f"{polygons}: polygons missing (1 of 5 images of train)" in line
    assert "gtFine_trainvaltest.zip" in line


def test_image_without_label(city):
    image = first(city, "leftImg8bit/val/*/*.png")
    shutil.copy(image, image.with_name("ulm_000000_000019_leftImg8bit.png"))
    assert "ulm_000000_000019_leftImg8bit.png: image without label (1 of 3 images of val)" in refused(
        "cityscapes", city, "--allow-partial"
    )


def test_annotation_without_image(city):
    first(city, "leftImg8bit/val/*/*.png").unlink()
    assert "annotation without image (1 in val)" in refused("cityscapes", city, "--allow-partial")


def test_wrong_folder(city, tmp_path):
    (tmp_path / "outer").mkdir()
    shutil.move(city, tmp_path / "outer/gtFine_trainvaltest")
    deep = tmp_path / "outer/gtFine_trainvaltest"
    assert f"unpacked 1 level too deep; give {deep}" in refused("cityscapes", tmp_path / "outer")
    assert f"give the folder that holds it: {deep}" in refused("cityscapes", deep / "gtFine" / "train")
    (tmp_path / "empty").mkdir()
    assert "it holds nothing" in refused("cityscapes", tmp_path / "empty")
    assert "no such file" in refused("cityscapes", tmp_path / "nowhere")
    shutil.rmtree(deep / "leftImg8bit")
    assert "no leftImg8bit/ in it; it holds gtFine" in refused("cityscapes", deep)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"imgHeight": 64, "imgWi', "damaged polygon file, 24 bytes"),
        (b'{"imgHeight": 64, "imgWidth": 96}', "damaged polygon file"),
        (b'{"imgHeight": 32, "imgWidth": 96, "objects": []}', "32 x 96 pixels, but"),
        (b'{"imgHeight": 99999, "imgWidth": 99999, "objects": []}', "claims 99999 x 99999 pixels"),
        (
            b'{"imgHeight": 64, "imgWidth": 96, "objects": [{"label": "buildng", "polygon": [[0, 0], [1, 1]]}]}',
            "unknown label 'buildng'; did you mean 'building'",
        ),
        (
            b'{"imgHeight": 64, "imgWidth": 96, "objects": [{"label": "road", "polygon": [[0, 0]]}]}',
            "an outline cannot be drawn",
        ),
    ],
)
def test_polygon_files_that_cannot_be_used(city, content, message):
    polygons = first(city, "gtFine/train/*/*_polygons.json")
    polygons.write_bytes(content)
    line = refused("cityscapes", city, "--allow-partial", "--workers", 2)
    assert str(polygons) in line
    assert message in line


def test_truncated_image(city):
    image = first(city, "leftImg8bit/train/*/*.png")
    image.write_bytes(image.read_bytes()[:-200])
    assert f"{image}: the file ends early" in refused("cityscapes", city, "--allow-partial")


# -- checking and loading --------------------------------------------------------------------------------------------


def test_check_is_content_and_writes_nothing(prepared):
    before = snapshot(prepared)
    result = dl("prepare", "cityscapes", prepared, "--check")
    assert result.exit_code == 0, result.output
    assert "everything as in" in result.stdout
    assert snapshot(prepared) == before


def test_check_names_what_is_wrong(prepared):
    train = sorted(prepared.glob("gtFine/train/*/*_labelTrainIds.png"))
    names = [str(path.relative_to(prepared)) for path in train]
    train[0].unlink()
    train[1].write_bytes(encode_png(np.zeros((64, 96), np.uint8)))
    shutil.copy(str(train[2]).replace("labelTrainIds", "labelIds"), train[2])
    train[3].write_bytes(train[3].read_bytes()[:50])
    train[4].write_bytes(encode_png(np.full((64, 96), 77, np.uint8)))
    image = first(prepared, "leftImg8bit/val/*/*.png")
    image.write_bytes(image.read_bytes() + b"\0")
    before = snapshot(prepared)
    result = dl("prepare", "cityscapes", prepared, "--check", "--workers", 1)
    assert result.exit_code == 2
    assert "6 problems" in result.stderr
    for wanted in (
        f"{image.relative_to(prepared)}: changed, ",
        f"{names[0]}: missing",
        f"{names[1]}: changed since the preparation (checksum)",
        f"{names[3]}: cannot be decoded (truncated",
        f"{names[4]}: values 77, expected 0..18 or 255",
    ):
        assert wanted in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith(names[2]))
    assert line.endswith("expected 0..18 or 255; labelIds instead of trainIds?")
    assert snapshot(prepared) == before


def list_label_ids(root: Path) -> None:
    path = root / "list/fine_train.txt"
    path.write_text(path.read_text().replace("labelTrainIds", "labelIds"))


def test_label_ids_listed_as_labels(prepared):
    list_label_ids(prepared)
    line = refused("cityscapes", prepared, "--check")
    assert "list/fine_train.txt, line 1: names gtFine/train/" in line
    assert "_labelIds.png, which is no image of train ids" in line
    with pytest.raises(DataError, match=r"fine_train\.txt, line 1: .*_labelIds\.png is no image of train ids"):
        make_dataset("train", str(prepared), prepared / "list/fine_train.txt")


def test_label_ids_listed_without_a_manifest(prepared):
    list_label_ids(prepared)
    (prepared / "prepared.json").unlink()
    with pytest.raises(DataError, match="labelIds instead of trainIds"):
        SemData("train", str(prepared), prepared / "list/fine_train.txt", classes=19)[0]


def change_manifest(root: Path, **values: object) -> None:
    path = root / "prepared.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("arm", [[], ["--control"]])
def test_another_id_space_stops_training(prepared, tmp_path, arm):
    change_manifest(prepared, id_space="labelIds")
    settings = {
        "data.root": prepared,
        "experiment.logdir": tmp_path / "run",
        "experiment.epochs": 1,
        "sampling.workers": 0,
        "engine.device": "cpu",
    }
    command = ["run", "--config", "toy/pspnet50", *arm]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    result = dl(*command)
    assert result.exit_code == 2, result.output
    assert "prepared.json: the labels are 'labelIds', training and scoring expect 'trainIds'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_another_id_space_fails_the_check(prepared):
    change_manifest(prepared, id_space="labelIds")
    assert "the labels are 'labelIds', expected 'trainIds'" in refused("cityscapes", prepared, "--check")


def test_another_number_of_classes_stops_the_loader(prepared):
    train = prepared / "list/fine_train.txt"
    with pytest.raises(DataError, match=r"classes is 19 in the prepared data set, 11 in the recipe"):
        SemData("train", str(prepared), train, classes=11)
    with pytest.raises(DataError, match=r"ignore_index is 255 in the prepared data set, 0 in the recipe"):
        SemData("train", str(prepared), train, classes=19, ignore_label=0)


def test_damaged_and_foreign_manifests(prepared):
    train = prepared / "list/fine_train.txt"
    change_manifest(prepared, dataset="camvid")
    assert "this is camvid, not cityscapes" in refused("cityscapes", prepared, "--check")
    assert "holds camvid; give another folder with --to" in refused("cityscapes", prepared, "--allow-partial")
    change_manifest(prepared, dataset="cityscapes", format=2)
    assert "format 2, expected 1" in refused("cityscapes", prepared, "--check")
    (prepared / "prepared.json").write_text("{")
    with pytest.raises(DataError, match="damaged manifest"):
        make_dataset("train", str(prepared), train)
    (prepared / "prepared.json").unlink()
    assert "no prepared.json to check against" in refused("cityscapes", prepared, "--check")


def test_wrong_words():
    assert "did you mean 'cityscapes'" in refused("cityscape")
    assert "give the two zip files or the unpacked folder" in refused("cityscapes")
    assert "takes one prepared folder" in refused("cityscapes", "a", "b", "--check")


def test_one_preparation_at_a_time(city, monkeypatch):
    monkeypatch.setattr(files, "LOCK_PATIENCE", 0.1)
    with files.exclusive(city), pytest.raises(InputError, match="another catalyst-dl prepare is at work"):
        prepare("cityscapes", [city], city, allow_partial=True)
