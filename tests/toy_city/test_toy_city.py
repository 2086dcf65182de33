"""Toy city: the Cityscapes layout on disk, its labels, and that equal parameters give equal bytes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from catalyst_cityscapes.toy_city import MANIFEST, build_toy_city, render_scene, writer
from catalyst_cityscapes.toy_city.annotation import Annotated, paint_labels
from catalyst_cityscapes.toy_city.camera import Camera
from catalyst_cityscapes.toy_city.labels import LABELS, find_label
from catalyst_cityscapes.toy_city.light import Light
from catalyst_cityscapes.toy_city.objects.people import cyclist, pedestrian
from catalyst_cityscapes.toy_city.shapes import trace
from semseg_ref.base.errors import InputError

TRAIN, VAL, TEST = 40, 3, 2
SMALL = {"train": 5, "val": 1, "test": 1, "height": 64, "width": 96}


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return build_toy_city(tmp_path_factory.mktemp("toy") / "city", train=TRAIN, val=VAL, test=TEST, seed=3)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def listed(root: Path, split: str) -> list[list[str]]:
    return [line.split(" ") for line in (root / "list" / f"fine_{split}.txt").read_text().splitlines()]


def annotation(root: Path, image: str, kind: str) -> Path:
    return root / image.replace("leftImg8bit/", "gtFine/", 1).replace("leftImg8bit.png", f"gtFine_{kind}")


def redrawn(document: dict, value_of) -> np.ndarray:
    """What drawing each polygon in turn gives, the official way, on a background of unlabeled."""
    picture = Image.new("L", (document["imgWidth"], document["imgHeight"]), value_of(LABELS[0]))
    draw = ImageDraw.Draw(picture)
    for thing in document["objects"]:
        draw.polygon([tuple(corner) for corner in thing["polygon"]], fill=value_of(find_label(thing["label"])[0]))
    return np.asarray(picture)


def test_lists_name_files_of_the_right_kind_and_size(city):
    for split, count in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        rows = listed(city, split)
        assert len(rows) == count
        for row in rows:
            assert len(row) == (1 if split == "test" else 2)
            with Image.open(city / row[0]) as image:
                assert (image.mode, image.size) == ("RGB", (256, 128))
            if split != "test":
                assert city / row[1] == annotation(city, row[0], "labelTrainIds.png")
                with Image.open(city / row[1]) as label:
                    assert (label.mode, label.size) == ("L", (256, 128))
    assert len({row[0] for row in listed(city, "train")}) == TRAIN


def test_every_scene_has_all_five_annotation_files(city):
    for split in ("train", "val", "test"):
        for image, *_ in listed(city, split):
            kinds = ("polygons.json", "labelIds.png", "labelTrainIds.png", "instanceIds.png", "color.png")
            assert all(annotation(city, image, kind).is_file() for kind in kinds)


def test_splits_share_no_city(city):
    names = {split: {p.name for p in (city / "leftImg8bit" / split).iterdir()} for split in ("train", "val", "test")}
    assert len(names["train"]) > 1
    assert len(names["train"] | names["val"] | names["test"]) == sum(map(len, names.values()))


def test_labels_are_the_polygons_redrawn(city):
    for split in ("train", "val", "test"):
        for image, *_ in listed(city, split):
            document = json.loads(annotation(city, image, "polygons.json").read_text())
            assert set(document) == {"imgHeight", "imgWidth", "objects"}
            for kind, value_of in (("labelIds.png", lambda x: x.id), ("labelTrainIds.png", lambda x: x.train_id)):
                stored = np.asarray(Image.open(annotation(city, image, kind)))
                np.testing.assert_array_equal(stored, redrawn(document, value_of))


def test_label_files_equal_what_pillow_saves(city, tmp_path):
    image = listed(city, "train")[0][0]
    document = json.loads(annotation(city, image, "polygons.json").read_text())
    Image.fromarray(redrawn(document, lambda x: x.id)).save(tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == annotation(city, image, "labelIds.png").read_bytes()


def test_polygons_have_three_corners_inside_the_picture(city):
    for image, _ in listed(city, "train"):
        for thing in json.loads(annotation(city, image, "polygons.json").read_text())["objects"]:
            corners = np.array(thing["polygon"])
            assert len(corners) >= 3
            assert corners.min() >= 0
            assert (corners < (256, 128)).all()


def test_ids_colors_and_instances_follow_the_table(city):
    table = {label.id: label for label in LABELS}
    for image, train_label in listed(city, "train")[:12]:
        ids = np.asarray(Image.open(annotation(city, image, "labelIds.png")))
        train_ids = np.asarray(Image.open(city / train_label))
        color = np.asarray(Image.open(annotation(city, image, "color.png")).convert("RGB"))
        instances = np.asarray(Image.open(annotation(city, image, "instanceIds.png")))
        assert instances.dtype == np.uint16
        single = instances >= 1000
        np.testing.assert_array_equal(np.where(single, instances // 1000, instances), ids)
        assert all(table[i].has_instances for i in np.unique(ids[single]))
        for i in np.unique(ids):
            assert set(np.unique(train_ids[ids == i])) == {table[i].train_id}
            assert {tuple(c) for c in color[ids == i]} == {table[i].color}


def test_table_gives_each_train_class_one_label():
    assert [label.id for label in LABELS] == list(range(34))
    assert sorted(label.train_id for label in LABELS if label.train_id != 255) == list(range(19))


def test_all_classes_occur_and_the_big_ones_are_big(city):
    pixels = np.zeros(256, np.int64)
    for _, label in listed(city, "train"):
        pixels += np.bincount(np.asarray(Image.open(city / label)).ravel(), minlength=256)
    assert (pixels[:19] > 0).all()
    assert pixels[255] > 0
    share = pixels[:19] / pixels[:19].sum()
    road, building, vegetation, sky, car = share[[0, 2, 8, 10, 13]]
    assert min(road, building, vegetation, sky, car) > 0.03
    assert max(share[[5, 6, 7, 11, 12, 16, 17, 18]]) < min(road, building, vegetation)


def test_left_and_right_differ(city):
    """The sidewalk on our side is nearer than the one across the oncoming lanes, so a mirrored label shows."""
    left = right = 0
    for _, label in listed(city, "train"):
        sidewalk = np.asarray(Image.open(city / label)) == 1
        left, right = left + sidewalk[:, :128].sum(), right + sidewalk[:, 128:].sum()
    assert right > 1.3 * left


def test_test_split_hides_its_annotation(city):
    for (image,) in listed(city, "test"):
        assert set(np.unique(np.asarray(Image.open(annotation(city, image, "labelIds.png"))))) <= {0, 1, 2, 3}
        assert set(np.unique(np.asarray(Image.open(annotation(city, image, "labelTrainIds.png"))))) == {255}


def test_equal_parameters_give_equal_bytes_whatever_the_workers(tmp_path):
    one = digests(build_toy_city(tmp_path / "one", **SMALL, seed=5))
    two = digests(build_toy_city(tmp_path / "two", **SMALL, seed=5, workers=2))
    other = digests(build_toy_city(tmp_path / "other", **SMALL, seed=6))
    assert one == two
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one if name.endswith(("leftImg8bit.png", "train_polygons.json")))


def test_scenes_of_the_splits_differ():
    train, val = (render_scene((0, split, 0), 0, 64, 128).image for split in (0, 1))
    assert not np.array_equal(train, val)


def test_second_call_leaves_the_files_alone(tmp_path):
    root = build_toy_city(tmp_path, **SMALL)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert build_toy_city(tmp_path, **SMALL) == root
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_other_parameters_are_refused_naming_both(tmp_path):
    build_toy_city(tmp_path, **SMALL, seed=1)
    with pytest.raises(InputError, match=r"seed=1.*seed=2"):
        build_toy_city(tmp_path, **SMALL, seed=2)


def test_killed_build_goes_on(tmp_path, monkeypatch):
    whole = digests(build_toy_city(tmp_path / "whole", **SMALL))
    write_scene, written = writer._write_scene, []

    def dies_at_the_third(task):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(task)
        write_scene(task)

    monkeypatch.setattr(writer, "_write_scene", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build_toy_city(tmp_path / "cut", **SMALL)
    monkeypatch.undo()
    assert not (tmp_path / "cut" / MANIFEST).exists()
    with pytest.raises(InputError, match=r"seed=0.*seed=9"):
        build_toy_city(tmp_path / "cut", **SMALL, seed=9)
    early = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.png")}
    assert len(early) == 10
    lost = next(path for path in early if path.name.endswith("color.png"))
    lost.unlink()
    build_toy_city(tmp_path / "cut", **SMALL)
    assert all(path.stat().st_mtime_ns == time for path, time in early.items() if path != lost)
    assert digests(tmp_path / "cut") == whole


def test_folder_of_another_data_set_is_left_alone(tmp_path):
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(InputError, match="another data set"):
        build_toy_city(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["leftImg8bit"]


def test_damaged_manifest_is_named(tmp_path):
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(InputError, match=MANIFEST):
        build_toy_city(tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [("height", 63), ("width", 32), ("height", 1025), ("width", 4096), ("train", -1), ("seed", -1), ("workers", 0),
     ("val", 1.5), ("test", True)],
)  # fmt: skip
def test_parameters_out_of_range_are_named(tmp_path, name, value):
    with pytest.raises(InputError, match=name):
        build_toy_city(tmp_path, **{**SMALL, name: value})
    assert not any(tmp_path.iterdir())


def test_unwritable_place_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        build_toy_city(tmp_path / "file" / "city", **SMALL)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 400), (300, 64), (97, 131)])
def test_odd_sizes(height, width):
    scene = render_scene((1, 0, 2), 2, height, width)
    assert scene.image.shape == (height, width, 3)
    assert paint_labels(scene.objects, height, width).label_ids.shape == (height, width)


def test_groups_are_no_instances():
    corners = [(1, 1), (6, 1), (6, 6), (1, 6)]
    shifted = [(x + 10, y) for x, y in corners]
    labels = paint_labels([Annotated("bicyclegroup", corners), Annotated("bicycle", shifted)], 10, 20)
    assert labels.instance_ids[3, 3] == 33
    assert labels.instance_ids[3, 13] == 33000
    assert labels.train_ids[3, 3] == labels.train_ids[3, 13] == 18


def test_traced_outline_paints_what_was_traced():
    triangle = np.array([(5.0, 5.0), (40.0, 8.0), (12.0, 30.0)])
    outline = trace([triangle, np.add(triangle, (30, 0))], 40, 60)
    painted = paint_labels([Annotated("car", outline)], 40, 60).label_ids == 26
    # Two triangles of 437.5 square pixels each; the second loses its tip to the rim, and they overlap a little.
    assert 600 < painted.sum() < 950
    assert painted[15, 12]
    assert painted[12, 55]
    assert not painted[28, 40]
    assert trace([np.add(triangle, (500, 0))], 40, 60) is None


@pytest.mark.parametrize("ride", ["bicycle", "motorcycle"])
@pytest.mark.parametrize("sideways", [True, False])
def test_outlines_of_riders_leave_no_limb_out(ride, sideways):
    rng = np.random.default_rng(0)
    camera, light = Camera.draw(rng, 512, 1024), Light.draw(rng)
    riding = cyclist(camera, light, rng, 0.0, 7.0, ride, sideways, 1)
    walking = pedestrian(camera, light, rng, 1.0, 7.0)
    for piece in (*riding.pieces, *walking.pieces):
        if piece.label in ("rider", "person", ride):
            outline = trace([shape.points for shape in piece.shapes], 512, 1024)
            highest = min(shape.points[:, 1].min() for shape in piece.shapes)
            lowest = max(shape.points[:, 1].max() for shape in piece.shapes)
            assert min(y for _, y in outline) == pytest.approx(highest, abs=2)
            assert max(y for _, y in outline) == pytest.approx(lowest, abs=2)


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "catalyst_cityscapes.toy_city", str(tmp_path / "city")]
    sizes = ["--train", "1", "--val", "1", "--test", "0", "--height", "64", "--width", "64"]
    subprocess.run([*command, *sizes, "--seed", "4"], check=True, capture_output=True)
    assert json.loads((tmp_path / "city" / MANIFEST).read_text())["scenes"] == 2
    refused = subprocess.run([*command, *sizes, "--seed", "5"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "seed=4" in refused.stderr


def test_the_former_module_name_still_builds_it(tmp_path, capfd):
    command = [sys.executable, "-m", "catalyst_cityscapes.data.toy_city", str(tmp_path / "city")]
    subprocess.run(
        [*command, "--train", "1", "--val", "0", "--test", "0", "--height", "64", "--width", "64"], check=True
    )
    assert f"{tmp_path / 'city'}: 1 train, 0 val, 0 test scenes" in capfd.readouterr().out
