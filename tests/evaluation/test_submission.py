"""The test server's zip file: what is written, and everything that is refused."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from catalyst_cityscapes.evaluation.label_ids import label_table, to_label_ids
from catalyst_cityscapes.evaluation.submission import TEST_IMAGES, expected_submission
from catalyst_cityscapes.toy_city import build_toy_city
from support.cities.scoring import SIZE, image_name, labels_of, write
from support.command_line import catalyst_dl

IMAGES = 3


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return build_toy_city(tmp_path_factory.mktemp("city") / "city", 1, 1, IMAGES, *SIZE)


@pytest.fixture
def predicted(city, tmp_path):
    """Random train ids for the test images in `tmp_path/p/gray`; the labels of this split are all ignored."""
    rng = np.random.default_rng(0)
    for path in labels_of(city, "test"):
        write(tmp_path / "p" / "gray" / image_name(path), rng.integers(0, 19, SIZE).astype(np.uint8))
    return tmp_path / "p"


@pytest.fixture
def submit(city, tmp_path, capsys):
    """Runs `submit` on the city's list; returns its exit code and what it printed."""

    def run(*arguments):
        place = "--list", city / "list" / "fine_test.txt", "--root", city, "--output", tmp_path / "s.zip"
        code = catalyst_dl("submit", *place, *arguments)
        output = capsys.readouterr()
        return code, output.out + output.err

    return run


def label_id_folder(predicted, folder):
    for path in sorted((predicted / "gray").glob("*.png")):
        write(folder / path.name, to_label_ids(np.array(Image.open(path))))
    return folder


def change_zip(source, target, name=None, content=None, drop=False):
    """A copy of a zip file with one file changed or dropped, or one added under `name`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        names = old.namelist()
        chosen = name or names[0]
        for entry in dict.fromkeys([*names, chosen]):
            if entry != chosen:
                new.writestr(entry, old.read(entry))
            elif not drop:
                new.writestr(entry, content)
    return target


def png(values, mode=None):
    buffer = io.BytesIO()
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(buffer, format="PNG")
    return buffer.getvalue()


def test_zip_holds_the_label_ids_under_the_images_names(city, predicted, submit, tmp_path):
    code, output = submit("--predictions", predicted)
    assert code == 0, output
    assert f"{IMAGES} images" in output
    assert f"the Cityscapes test set has {TEST_IMAGES} images" in output
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.namelist() == [image_name(path) for path in labels_of(city, "test")]
        for name in archive.namelist():
            found = np.array(Image.open(io.BytesIO(archive.read(name))))
            expected = to_label_ids(np.array(Image.open(predicted / "gray" / name)))
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, expected)
            assert set(np.unique(found)) <= set(label_table().ids.tolist())
    first = (tmp_path / "s.zip").read_bytes()
    assert submit("--predictions", predicted)[0] == 0
    assert (tmp_path / "s.zip").read_bytes() == first
    assert submit("--verify", tmp_path / "s.zip")[0] == 0
    assert submit("--label-ids", label_id_folder(predicted, tmp_path / "ids"))[0] == 0
    assert (tmp_path / "s.zip").read_bytes() == first


def test_train_ids_are_no_label_ids(predicted, submit, tmp_path):
    code, output = submit("--label-ids", predicted / "gray")
    assert code == 2
    assert "expected label ids (7, 8, 11," in output
    assert "train ids? --predictions FOLDER converts them" in output
    assert not (tmp_path / "s.zip").exists()


def test_label_ids_are_no_train_ids(predicted, submit, tmp_path):
    code, output = submit("--predictions", label_id_folder(predicted, tmp_path / "ids"))
    assert code == 2
    assert "these are label ids already" in output


def test_pixels_without_prediction(predicted, submit, tmp_path):
    path = sorted((predicted / "gray").glob("*.png"))[0]
    values = np.array(Image.open(path))
    values[:16] = 255
    write(path, values)
    code, output = submit("--predictions", predicted)
    assert code == 2
    assert "25.00% of the pixels have no prediction (255)" in output
    assert submit("--predictions", predicted, "--allow-void")[0] == 0
    assert "--allow-void accepts" in submit("--verify", tmp_path / "s.zip")[1]
    assert submit("--verify", tmp_path / "s.zip", "--allow-void")[0] == 0


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (lambda gray, first: first.unlink(), f"1 of {IMAGES} images are missing (first: dunkelsee_000000_000019"),
        (
            lambda gray, first: write(gray / "x.png", np.zeros(SIZE, np.uint8)),
            "belong to no image of the list (first: x",
        ),
        (lambda gray, first: write(first, np.zeros((32, 64), np.uint8)), "size 32 x 64, expected 64 x 128"),
        (lambda gray, first: first.write_bytes(b"\x89PNG\r\n\x1a\n"), "the file ends early"),
    ],
)
def test_folders_that_are_refused(predicted, submit, tmp_path, plant, message):
    (tmp_path / "s.zip").write_bytes(b"an earlier one")
    gray = predicted / "gray"
    plant(gray, sorted(gray.glob("*.png"))[0])
    code, output = submit("--predictions", predicted)
    assert code == 2
    assert message in output
    assert (tmp_path / "s.zip").read_bytes() == b"an earlier one"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": True}, f"1 of {IMAGES} images are missing"),
        ({"name": "extra.png", "content": png(np.full(SIZE, 7, np.uint8))}, "1 files belong to no image"),
        ({"content": png(np.full((32, 64), 7, np.uint8))}, "size 32 x 64"),
        ({"content": png(np.full(SIZE, 7, np.uint8), "RGB")}, "PNG of mode RGB, expected an 8-bit grey PNG"),
        ({"content": png(np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % 19)}, "train ids?"),
        ({"content": png(np.full(SIZE, 29, np.uint8))}, "values 29, expected label ids"),
        ({"content": b"no image"}, "cannot be read as a zip file of images"),
    ],
)
def test_zip_files_that_are_refused(predicted, submit, tmp_path, change, message):
    assert submit("--predictions", predicted)[0] == 0
    code, output = submit("--verify", change_zip(tmp_path / "s.zip", tmp_path / "changed.zip", **change))
    assert code == 2
    assert message in output


def test_verify_needs_a_zip_file(submit, tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    for name in ("text.zip", "gone.zip"):
        code, output = submit("--verify", tmp_path / name)
        assert code == 2
        assert name in output


def test_what_is_missing_is_named(city, predicted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def error(*arguments):
        assert catalyst_dl("submit", *arguments) == 2
        return capsys.readouterr().err

    assert "no run with a checkpoint below it" in error()
    assert "--list FILE and --root FOLDER are missing" in error("--predictions", predicted)
    assert "give one of them" in error("--predictions", predicted, "--label-ids", predicted)
    assert "no such run" in error("--run", "exp/gone")
    data = {"root": str(city), "train_list": "t", "val_list": "v", "classes": 19, "crop": [33, 33]}
    data |= {"names": "n", "colors": "c"}
    (tmp_path / "recipe.yml").write_text(json.dumps({"data": data}))
    assert "data.test_list: not set" in error("--predictions", predicted)
    (tmp_path / "recipe.yml").write_text(json.dumps({"data": {**data, "classes": 11}}))
    assert "data.classes: 11" in error("--predictions", predicted)
    (tmp_path / "recipe.yml").write_text(json.dumps({"data": {**data, "test_list": f"{city}/list/fine_test.txt"}}))
    assert "no predictions of split test in this run; make them first" in error("--run", tmp_path)
    assert catalyst_dl("submit", "--predictions", predicted) == 0
    assert (predicted / "submission.zip").is_file()


def test_names_and_sizes_that_are_expected(tmp_path):
    write(tmp_path / "bonn_000001_000019_leftImg8bit.png", np.zeros((5, 7, 3), np.uint8))
    real = [(f"bonn_{i:06d}_000019_leftImg8bit.png", "") for i in range(2, TEST_IMAGES + 1)]
    found = expected_submission([(str(tmp_path / "bonn_000001_000019_leftImg8bit.png"), ""), *real])
    assert found.is_real
    assert found.sizes["bonn_000001_000019_leftImg8bit.png"] == (5, 7)
    assert found.sizes["bonn_000002_000019_leftImg8bit.png"] == (1024, 2048)
    with pytest.raises(Exception, match="CITY_123456_123456"):
        expected_submission([("img/a.png", "")])
