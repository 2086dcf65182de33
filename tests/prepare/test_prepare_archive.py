"""Unpacking the official zip files: what must not be unpacked, and what must not be done twice."""

import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from catalyst_cityscapes.prepare import archive, prepare
from semseg_ref.base.errors import DataError
from support.cities.prepared import build_unprepared, contents, snapshot, write_zips


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return build_unprepared(tmp_path_factory.mktemp("toy") / "city")


@pytest.fixture
def zips(city, tmp_path):
    return write_zips(city, tmp_path)


def add(path: Path, name: str, content: bytes, mode: int = 0) -> None:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(entry, content)


@pytest.mark.parametrize("workers", [1, 2])
def test_zips_give_what_the_unpacked_folder_gives(city, zips, tmp_path, workers):
    unpacked = Path(shutil.copytree(city, tmp_path / "unpacked"))
    prepare("cityscapes", [unpacked], unpacked, allow_partial=True)
    root = tmp_path / "root"
    prepare("cityscapes", zips, root, workers=workers, allow_partial=True)
    assert contents(root) == contents(unpacked)
    before = snapshot(root)
    prepare("cityscapes", zips, root, workers=workers, allow_partial=True)
    assert snapshot(root) == before


def test_one_zip_and_one_unpacked_folder(city, zips, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(city / "leftImg8bit", folder / "leftImg8bit")
    prepare("cityscapes", [zips[0], folder], tmp_path / "root", allow_partial=True)
    assert len(list((tmp_path / "root").glob("leftImg8bit/*/*/*.png"))) == 8


def test_half_unpacked_files_are_unpacked_again(zips, tmp_path):
    root = tmp_path / "root"
    prepare("cityscapes", zips, root, allow_partial=True)
    whole = contents(root)
    polygons, image = sorted(root.rglob("*_polygons.json"))[0], sorted(root.glob("leftImg8bit/*/*/*.png"))[0]
    polygons.write_bytes(polygons.read_bytes()[:40])
    image.write_bytes(bytes(image.stat().st_size))
    prepare("cityscapes", zips, root, allow_partial=True)
    assert contents(root) == whole


@pytest.mark.parametrize(
    "name", ["../outside.png", "gtFine/../../outside.png", "/outside.png", "gtFine\\..\\outside.png", "C:/outside.png"]
)
def test_no_path_leaves_the_folder(zips, tmp_path, name):
    add(zips[0], name, b"planted")
    root = tmp_path / "deep" / "root"
    with pytest.raises(DataError, match="a path that may leave the folder; nothing was unpacked"):
        prepare("cityscapes", zips, root, allow_partial=True)
    assert not list(tmp_path.rglob("outside*"))
    assert not list(root.iterdir())


def test_no_link_in_the_archive(zips, tmp_path):
    add(zips[0], "gtFine/train/link", b"/etc", stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="'gtFine/train/link' is a link"):
        prepare("cityscapes", zips, tmp_path / "root", allow_partial=True)


def test_no_link_in_the_folder_leads_out(zips, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/gtFine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link that leaves"):
        prepare("cityscapes", zips, tmp_path / "root", allow_partial=True)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_truncated_zip(zips, tmp_path):
    content = zips[1].read_bytes()
    zips[1].write_bytes(content[: len(content) // 2])
    size = len(content) // 2
    with pytest.raises(DataError, match=rf"leftImg8bit_trainvaltest\.zip: no complete zip file, {size} bytes"):
        prepare("cityscapes", zips, tmp_path / "root", allow_partial=True)


def test_damaged_file_in_a_zip(zips, tmp_path):
    with zipfile.ZipFile(zips[1]) as opened:
        entry = next(entry for entry in opened.infolist() if entry.filename.endswith(".png"))
    content = bytearray(zips[1].read_bytes())
    middle = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    content[middle : middle + 8] = bytes(byte ^ 0x55 for byte in content[middle : middle + 8])
    zips[1].write_bytes(content)
    with pytest.raises(DataError, match=rf"{entry.filename} is damaged .*download the file again"):
        prepare("cityscapes", zips, tmp_path / "root", workers=2, allow_partial=True)


def test_huge_files_are_refused_before_unpacking(zips, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1000)
    add(zips[0], "gtFine/train/a/bomb.png", bytes(1001))
    with pytest.raises(DataError, match="bytes unpacked, expected at most 1000; refused"):
        prepare("cityscapes", zips, tmp_path / "root", allow_partial=True)
    assert not list((tmp_path / "root").iterdir())


def test_huge_images_are_refused_undecoded(zips, tmp_path):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    add(zips[1], "leftImg8bit/train/a/bomb_leftImg8bit.png", b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(DataError, match="claims 60000 x 60000 pixels"):
        prepare("cityscapes", zips, tmp_path / "root", allow_partial=True)
    assert not list((tmp_path / "root").rglob("bomb*"))


def test_full_disk(zips, tmp_path, monkeypatch):
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(DataError, match="MiB are needed to unpack, 0 MiB are free"):
        prepare("cityscapes", zips, tmp_path / "root", allow_partial=True)


def test_the_other_zip_is_missing(zips, tmp_path):
    with pytest.raises(DataError, match=r"leftImg8bit/: in none of .*; leftImg8bit_trainvaltest\.zip holds it"):
        prepare("cityscapes", zips[:1], tmp_path / "root", allow_partial=True)


def test_a_zip_of_something_else(tmp_path):
    add(tmp_path / "other.zip", "somewhere/else.txt", b"x")
    with pytest.raises(DataError, match="holds no gtFine/ and no leftImg8bit/"):
        prepare("cityscapes", [tmp_path / "other.zip"], tmp_path / "root")
