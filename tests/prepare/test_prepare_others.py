"""`catalyst-dl prepare` for CamVid, Pascal VOC 2012, ADE20K and BDD100K, on made-up files in their layouts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalyst_cityscapes.prepare import DATASETS, check_folder, prepare
from semseg_ref.base.errors import DataError, InputError
from semseg_ref.base.parallel import silent
from semseg_ref.catalog import load_colors, load_names
from semseg_ref.dataset import SemData, make_dataset, read_label
from support.command_line import dl


def save(path: Path, array: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array.astype(np.uint8))
    if mode == "P":
        image.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    image.save(path)


def photo(path: Path, seed: int = 0) -> None:
    save(path, np.random.default_rng(seed).integers(0, 256, (12, 16, 3)))


def values(*shown: int) -> np.ndarray:
    """A label of 12 x 16 in which exactly these values occur."""
    return np.resize(np.array(shown), (12, 16))


def camvid(root: Path) -> Path:
    for split, names in (("train", ("b", "a")), ("val", ("c",)), ("test", ("d",))):
        for name in names:
            photo(root / f"CamVid/{split}/{name}.png")
            save(root / f"CamVid/{split}annot/{name}.png", values(*range(12)))
    return root


def voc2012(root: Path) -> Path:
    base = root / "VOCdevkit/VOC2012"
    for stem in ("2007_1", "2007_2", "2008_3"):
        photo(base / f"JPEGImages/{stem}.jpg")
    save(base / "SegmentationClass/2007_1.png", values(0, 20, 255), "P")
    save(base / "SegmentationClass/2007_2.png", values(0, 5, 255), "P")
    for stem in ("2007_1", "2007_2", "2008_3"):
        save(base / f"SegmentationClassAug/{stem}.png", values(0, 7))
    (base / "ImageSets/Segmentation").mkdir(parents=True)
    (base / "ImageSets/Segmentation/train.txt").write_text("2007_1\n")
    (base / "ImageSets/Segmentation/val.txt").write_text("2007_2\n")
    return root


def ade20k(root: Path) -> Path:
    base = root / "ADEChallengeData2016"
    for split, name in (("training", "ADE_train_1"), ("validation", "ADE_val_1")):
        photo(base / f"images/{split}/{name}.jpg")
        save(base / f"annotations/{split}/{name}.png", values(0, 1, 150))
    rows = "".join(f"{i} \t0.1\t1\t1\tthing {i}, synonym \n" for i in range(1, 151))
    (base / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n" + rows)
    return root


def bdd100k(root: Path) -> Path:
    base = root / "bdd100k"
    for split in ("train", "val", "test"):
        photo(base / f"images/10k/{split}/{split}-1.jpg")
        if split != "test":
            save(base / f"labels/sem_seg/masks/{split}/{split}-1.png", values(0, 18, 255))
    return root


LAYOUTS = {"camvid": camvid, "voc2012": voc2012, "ade20k": ade20k, "bdd100k": bdd100k}
CLASSES = {"camvid": 11, "voc2012": 21, "ade20k": 150, "bdd100k": 19}
LISTS = {
    "camvid": {"train.txt": [*range(11), 255], "val.txt": [*range(11), 255]},
    "voc2012": {
        "list/train.txt": [0, 20, 255],
        "list/val.txt": [0, 5, 255],
        "list/train_aug.txt": [0, 7],
    },
    "ade20k": {"list/training.txt": [0, 149, 255], "list/validation.txt": [0, 149, 255]},
    "bdd100k": {"list/train.txt": [0, 18, 255], "list/val.txt": [0, 18, 255]},
}


def run(dataset: str, source: Path, to: Path, **options: object):
    return prepare(dataset, [source], to, allow_partial=True, **options)


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_values_lists_and_check(dataset, tmp_path):
    source, to = LAYOUTS[dataset](tmp_path / "source"), tmp_path / "to"
    run(dataset, source, to)
    for name, expected in LISTS[dataset].items():
        pairs = make_dataset("train", str(to), to / name)
        assert pairs == sorted(pairs)
        for _, label in pairs:
            assert np.unique(read_label(label)).tolist() == expected
        item = SemData("train", str(to), to / name, classes=CLASSES[dataset])[0]
        assert item[0].shape == (12, 16, 3)
    manifest, problems = check_folder(to, dataset, 1, silent)
    assert problems == []
    assert manifest.classes == CLASSES[dataset]
    before = {path: path.stat().st_mtime_ns for path in to.rglob("*")}
    assert set(run(dataset, source, to).labels) == {"kept"}
    assert {path: path.stat().st_mtime_ns for path in to.rglob("*")} == before


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_images_are_the_sources(dataset, tmp_path):
    source, to = LAYOUTS[dataset](tmp_path / "source"), tmp_path / "to"
    run(dataset, source, to, workers=2)
    originals = {path.name: path.read_bytes() for path in source.rglob("*") if path.suffix in (".jpg", ".png")}
    images = [path for path in (to / "images").rglob("*") if path.is_file()]
    assert images
    for image in images:
        with Image.open(image) as opened:
            assert opened.mode == "RGB"
        if dataset != "camvid":
            assert image.read_bytes() == originals[image.name]


def test_test_lists_name_images_only(tmp_path):
    for dataset, name in (("camvid", "test.txt"), ("bdd100k", "list/test.txt")):
        to = tmp_path / f"{dataset}_to"
        run(dataset, LAYOUTS[dataset](tmp_path / dataset), to)
        assert len(make_dataset("test", str(to), to / name)) == 1


def test_train_aug_leaves_val_out(tmp_path):
    run("voc2012", voc2012(tmp_path / "source"), tmp_path / "to")
    lines = (tmp_path / "to/list/train_aug.txt").read_text().splitlines()
    assert lines == ["images/2007_1.jpg labels_aug/2007_1.png", "images/2008_3.jpg labels_aug/2008_3.png"]


def test_ade_names_and_colours_come_along(tmp_path):
    run("ade20k", ade20k(tmp_path / "source"), tmp_path / "to")
    assert load_names(tmp_path / "to/ade20k_names.txt", 150)[149] == "thing 150"
    colors = load_colors(tmp_path / "to/ade20k_colors.txt", 150)
    assert len({tuple(color) for color in colors.tolist()}) == 150
    assert colors[:20].tolist() == load_colors("voc2012_colors.txt")[1:].tolist()
    (tmp_path / "source/ADEChallengeData2016/objectInfo150.txt").write_text("1\t0\t0\t0\twall\n")
    with pytest.raises(DataError, match="1 rows of classes, expected 1 to 150"):
        run("ade20k", tmp_path / "source", tmp_path / "again")


@pytest.mark.parametrize(
    ("dataset", "label", "planted", "message"),
    [
        (
            "camvid",
            "CamVid/trainannot/a.png",
            values(0, 12, 30),
            "values 12, 30, expected 0..10, and 11 for unlabelled",
        ),
        ("voc2012", "VOCdevkit/VOC2012/SegmentationClass/2007_1.png", values(21), "values 21, expected 0..20"),
        ("ade20k", "ADEChallengeData2016/annotations/training/ADE_train_1.png", values(151), "values 151, expected 0"),
        ("bdd100k", "bdd100k/labels/sem_seg/masks/train/train-1.png", values(19), "not colormaps"),
    ],
)
def test_values_out_of_range(tmp_path, dataset, label, planted, message):
    source = LAYOUTS[dataset](tmp_path / "source")
    save(source / label, planted)
    with pytest.raises(DataError, match=message) as caught:
        run(dataset, source, tmp_path / "to")
    assert Path(label).name in str(caught.value)
    assert not (tmp_path / "to/prepared.json").exists()


@pytest.mark.parametrize(
    ("dataset", "label"),
    [
        ("camvid", "CamVid/trainannot/a.png"),
        ("voc2012", "VOCdevkit/VOC2012/SegmentationClass/2007_1.png"),
        ("ade20k", "ADEChallengeData2016/annotations/training/ADE_train_1.png"),
        ("bdd100k", "bdd100k/labels/sem_seg/masks/train/train-1.png"),
    ],
)
def test_unusable_and_missing_labels(tmp_path, dataset, label):
    source = LAYOUTS[dataset](tmp_path / "source")
    path = source / label
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 30])
    with pytest.raises(DataError, match="cannot be decoded"):
        run(dataset, source, tmp_path / "to")
    save(path, np.zeros((12, 16, 3)))
    with pytest.raises(DataError, match="pixels of mode RGB, expected one byte"):
        run(dataset, source, tmp_path / "to")
    save(path, np.zeros((11, 16)))
    with pytest.raises(DataError, match=r"11 x 16 pixels, but .* has 12 x 16"):
        run(dataset, source, tmp_path / "to")
    path.unlink()
    with pytest.raises(DataError, match="image without label"):
        run(dataset, source, tmp_path / "to")


def test_label_without_image(tmp_path):
    source = camvid(tmp_path / "source")
    (source / "CamVid/train/a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: label without image \(1 of 2"):
        run("camvid", source, tmp_path / "to")


def test_counts_and_the_command(tmp_path):
    source, to = camvid(tmp_path / "source"), tmp_path / "to"
    command = ["prepare", "camvid", source, "--to", to]
    result = dl(*command)
    assert result.exit_code == 2
    assert "train 2 (expected 367), val 1 (expected 101), test 1 (expected 233)" in result.stderr
    result = dl(*command, "--allow-partial")
    assert result.exit_code == 0, result.output
    assert "4 labels, trainIds 0..10, 255 ignored" in result.stdout
    assert json.loads((to / "prepared.json").read_text())["names"] == "camvid_names.txt"


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_wrong_folder(dataset, tmp_path):
    LAYOUTS[dataset](tmp_path / "outer" / "inner")
    with pytest.raises(DataError, match="too deep; give "):
        run(dataset, tmp_path / "outer", tmp_path / "to")


def test_a_path_with_white_space(tmp_path):
    source = camvid(tmp_path / "source")
    (source / "CamVid/train/a.png").rename(source / "CamVid/train/a 1.png")
    (source / "CamVid/trainannot/a.png").rename(source / "CamVid/trainannot/a 1.png")
    with pytest.raises(DataError, match="white space in a path"):
        run("camvid", source, tmp_path / "to")


def test_one_unpacked_folder(tmp_path):
    (tmp_path / "file.zip").write_bytes(b"")
    with pytest.raises(InputError, match="takes the unpacked folder"):
        run("camvid", tmp_path / "file.zip", tmp_path / "to")
    with pytest.raises(InputError, match="2 sources, expected one"):
        prepare("camvid", [tmp_path, tmp_path], tmp_path / "to")


def test_catalog_has_the_classes():
    assert {*LAYOUTS, "cityscapes"} == set(DATASETS)
    assert load_names("bdd100k_names.txt", 19) == load_names("cityscapes_names.txt", 19)
    assert load_colors("bdd100k_colors.txt").tolist() == load_colors("cityscapes_colors.txt").tolist()
