"""Images and archives that claim to be huge, paths that would leave their folder, text that a terminal would obey."""

import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from catalyst_cityscapes.evaluation.submission import expected_submission, verify_submission
from catalyst_cityscapes.prepare import prepare
from semseg_ref.base.errors import DataError, InputError, one_line, printable
from semseg_ref.base.image_format import read_format
from semseg_ref.base.safe.image_header import MAX_PIXELS, declared_size
from semseg_ref.dataset import check_list, make_dataset, read_image, read_label
from semseg_ref.evaluation import output_name
from support.command_line import catalyst_dl
from support.faults.hostile_files import HUGE, bmp, jpeg, npz_header, png, write_zip
from support.runs.finished import toy_recipe, write_logs, write_test

ESCAPES = ("\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\r", "\b", "\u202e", "\x00", "\x7f")
NAME = "berlin_000000_000019_leftImg8bit.png"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run."""
    root = tmp_path_factory.mktemp("finished")
    recipe = toy_recipe(root)
    write_logs(root / "run", recipe, steps=30)
    write_test(root / "run", recipe)
    return root / "run"


# -- images ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "size"),
    [
        (png(), f"{HUGE} x {HUGE}"),
        (png(1, MAX_PIXELS + 1), f"1 x {MAX_PIXELS + 1}"),
        (png(0, 5), "0 x 5"),
        (jpeg(), "60000 x 60000"),
        (jpeg(before=b"\xff\xe0\x00\x04ab" + b"\xff\xff"), "60000 x 60000"),
        # A marker without a length: whoever took the next bytes for one would skip to the small size in the comment.
        (jpeg(before=b"\xff\xd0\xff\xfe\x00\x0f" + b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00"), "60000 x"),
        (jpeg(before=b"\xff\x01"), "60000 x 60000"),
        (bmp(), "pixels"),
        (bmp(15_000, 10_000), "15000 x 10000"),
    ],
)
def test_an_image_is_refused_by_its_header(content, size, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x\.png: claims .*refused undecoded") as error:
        declared_size(content, path)
    assert size in str(error.value)
    with pytest.raises(DataError, match=r"x\.png: claims .*refused undecoded"):
        read_format(path)
    for read in (read_image, read_label):
        with pytest.raises(DataError, match=r"x\.png: "):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP"])
def test_the_size_of_a_real_image_is_read(kind, tmp_path):
    path = tmp_path / "x"
    Image.fromarray(np.zeros((7, 9, 3), np.uint8)).save(path, format=kind)
    assert declared_size(path.read_bytes(), path) == (7, 9)
    assert read_image(path).shape == (7, 9, 3)


def test_bombs_for_the_test_server(tmp_path):
    Path(tmp_path / NAME).write_bytes(png())
    with pytest.raises(DataError, match=f"{NAME}: claims"):
        expected_submission([(str(tmp_path / NAME), "")])
    expected = expected_submission([(NAME, "")])
    for content, message in (
        (png(), "claims 100000 x 100000 pixels"),
        (bytes(2**27), "claims 134217728 bytes unpacked"),
    ):
        path = write_zip(tmp_path / "z.zip", {NAME: content})
        assert path.stat().st_size < 2**18
        with pytest.raises(DataError, match=f"{NAME}: .*{message}"):
            verify_submission(path, expected)


def test_matrices_that_claim_to_be_huge_become_a_note(finished, tmp_path, monkeypatch, capsys):
    matrices = next(finished.rglob("score.npz"))
    whole = matrices.read_bytes()
    write_zip(matrices, {"matrices.npy": npz_header((10**7, 19, 19)), "images.npy": npz_header((1,), "<U2")})
    assert catalyst_dl("report", finished, "--output", tmp_path / "r.html") == 0
    assert "note: No confusions and frames: " in capsys.readouterr().out
    matrices.write_bytes(whole)


# -- paths ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("image", "name"),
    [("../../x.png", "x.png"), ("/etc/passwd", "passwd.png"), ("a/../b.c.png", "b.png"), ("a/b\\..\\c.png", "b\\.png")],
)
def test_a_prediction_stays_in_its_folder(image, name):
    assert output_name(image) == name
    assert Path("folder", output_name(image)).parent == Path("folder")


@pytest.mark.parametrize("image", ["a/.png", "..", "a/..", "a/", ".hidden.png"])
def test_names_without_a_name(image):
    with pytest.raises(DataError, match="no name for its prediction"):
        output_name(image)


def test_a_list_does_not_leave_its_folder(tmp_path):
    """Reading one follows the reference, which takes any path; the check before every run does not."""
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "label.png").write_bytes(b"x")
    (root / "in.png").write_bytes(b"x")
    (root / "link.png").symlink_to(tmp_path / "label.png")
    path = tmp_path / "list.txt"
    for line, outside in (
        ("/etc/passwd in.png", "/etc/passwd"),
        ("in.png ../label.png", f"{root}/../label.png"),
        (f"in.png {root}x/a.png", f"{root}x/a.png"),
        ("/dev/zero /dev/null", "/dev/zero"),
    ):
        path.write_text(f"in.png in.png\n{line}\n")
        pairs = make_dataset("val", str(root), path)
        with pytest.raises(DataError, match=r"list\.txt, line 2: .* leaves the data root") as error:
            check_list(pairs, path, root)
        assert f"line 2: {outside} leaves" in str(error.value)
    path.write_text(f"in.png {root}/in.png\nlink.png a/../in.png\n")
    check_list(make_dataset("val", str(root), path), path, root)
    path.write_text(f"{root}/in.png {tmp_path}/label.png\n")
    check_list(make_dataset("val", "/", path), path, "/")
    with pytest.raises(DataError, match="/etc/passwd: damaged, or in no image format"):
        read_image("/etc/passwd")


@pytest.mark.parametrize("stem", ["../../../gone", "/tmp/gone", "a/../../../../gone"])
def test_a_data_set_cannot_write_outside_of_the_prepared_folder(stem, tmp_path):
    base = tmp_path / "a" / "b" / "VOC2012"
    for split in ("train", "val"):
        (base / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (base / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{stem}\n")
    for folder, ending in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (base / folder / "a").mkdir(parents=True)
        source = base / folder / f"{stem}.{ending}"
        if not stem.startswith("/"):
            source.parent.resolve().mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(source)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError):
        prepare("voc2012", [base], tmp_path / "c" / "root", allow_partial=True)
    new = {path for path in tmp_path.rglob("*") if path not in before}
    assert new <= {tmp_path / "c", tmp_path / "c" / "root"}


# -- the terminal and the page --------------------------------------------------------------------------------------
def test_no_message_has_a_control_character():
    for escape in ESCAPES:
        assert one_line(InputError(f"a{escape}b\nc")).isprintable()
        assert printable(escape).startswith("?")
    assert one_line(InputError("Größe  1\n2")) == "Größe 1 2"


def test_no_command_hands_escape_sequences_to_the_terminal(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    nasty = "".join(ESCAPES[:3]) + "[bold red]x[/] [/nothing]"
    score = json.loads(next(finished.rglob("score.json")).read_text())
    score |= {"experiment": nasty, "list": nasty}
    score["protocol"] |= {"name": nasty}
    score["classes"][0]["name"] = nasty
    other = {**score, "images": 3, "list": nasty * 2, "protocol": {**score["protocol"], "hash": nasty}}
    for name, content in (("a", score), ("b", other)):
        Path(name).mkdir()
        Path(name, "score.json").write_text(json.dumps(content))
    save_file({"a": torch.zeros(1)}, "x.safetensors", {"note": nasty, nasty: "1"})
    commands = [
        (0, ("scores", "a", "b")),
        (0, ("weights", "inspect", "x.safetensors")),
        (0, ("report", finished, "--score", "a/score.json", "--output", "r.html")),
        (2, ("scores", nasty.replace("/", ""))),
        (2, ("run", "--config", "toy/pspnet50", "--set", f"data.{nasty}=1")),
        (2, ("weights", "inspect", f"{nasty.replace('/', '')}.pth")),
        (2, ("run", f"--{nasty}")),
        (2, ("prepare", nasty, "x")),
    ]
    for code, words in commands:
        assert catalyst_dl(*words) == code, words
        found = capsys.readouterr()
        text = found.out + found.err
        assert text
        assert not [c for c in text if not (c.isprintable() or c == "\n")], words
    assert "[bold red]x[/]" in printable(nasty)


def test_the_report_escapes_names_of_classes_files_and_runs(finished, tmp_path, monkeypatch):
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&{{7*7}}"
    path = next(finished.rglob("score.json"))
    content = json.loads(path.read_text())
    for key in ("experiment", "list"):
        content[key] = attack
    content["protocol"]["name"] = attack
    content["checkpoint"] = {"path": attack, "sha256": attack}
    for entry in content["classes"]:
        entry["name"] = attack
    other = path.with_name("other.json")
    other.write_text(json.dumps(content))
    assert catalyst_dl("report", finished, "--score", other, "--output", tmp_path / "r.html") == 0
    page = (tmp_path / "r.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert "{{7*7}}" in page
    assert "script-src" not in page
    assert "default-src 'none'" in page
    other.unlink()


def test_an_archive_member_is_read_up_to_a_limit(tmp_path):
    """The size is the archive's claim; one that lies about it fails its checksum."""
    path = write_zip(tmp_path / "z.zip", {NAME: bytes(1000)})
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02")
    content[start + 24 : start + 28] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    assert zipfile.ZipFile(path).getinfo(NAME).file_size == 10
    with pytest.raises(DataError, match=r"damaged|cannot be read"):
        verify_submission(path, expected_submission([(NAME, "")]))
