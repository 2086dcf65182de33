"""Crop-first from files: draws before decoding, and only the rows that the crop needs; the bits and errors stay."""

import random
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from catalyst_cityscapes.data import image_set as module
from catalyst_cityscapes.data import plain_png as decoding
from catalyst_cityscapes.data.augmentation import CropFirst, Pipeline, crop_first
from catalyst_cityscapes.data.augmentation.window_check import UnequalWindows
from catalyst_cityscapes.data.image_set import CropFirstSemData, image_set
from semseg_ref.base.errors import DataError
from semseg_ref.dataset import SemData
from support.augmentation_cases import equal
from support.golden.inputs import rec_image, rec_label

pytestmark = pytest.mark.usefixtures("one_thread")
CAMVID = Path(__file__).parent.parent.parent.parent / "shared" / "camvid"
CROP = (33, 41)
needs_decoder = pytest.mark.skipif(not decoding.has_decoder(), reason="optional decoder of PNG files")


def write(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def files(tmp_path):
    """A list of three PNG pairs of different sizes, one of them smaller than the crop."""
    lines = []
    for number, (height, width) in enumerate(((90, 140), (20, 25), (64, 200))):
        write(tmp_path / f"i{number}.png", rec_image(number, height, width))
        write(tmp_path / f"l{number}.png", rec_label(number + 9, height, width, 19))
        lines.append(f"i{number}.png l{number}.png")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return tmp_path


def pair(files, transform=None, classes=19):
    transform = transform or CropFirst(CROP)
    arguments = "train", str(files), files / "list.txt", transform, classes
    return SemData(*arguments), CropFirstSemData(*arguments)


def outcome(samples, index, seed):
    """A sample and the generator's next number, or the message of its error."""
    random.seed(seed)
    try:
        return (*samples[index], random.random())
    except DataError as error:
        return str(error)


def assert_same(whole, rows, seeds, indices=None):
    for index in range(len(whole)) if indices is None else indices:
        for seed in seeds:
            expected, found = outcome(whole, index, seed), outcome(rows, index, seed)
            assert equal(expected, found) if isinstance(expected, tuple) else expected == found, (index, seed)


@pytest.fixture
def decoded(monkeypatch):
    """Heights that the fast decoder was asked for."""
    heights, decode = [], decoding.decode_image_png_u8

    def counted(content, size, mode):
        heights.append(size[0])
        return decode(content, size, mode)

    monkeypatch.setattr(decoding, "decode_image_png_u8", counted)
    return heights


@needs_decoder
def test_the_same_bits_from_fewer_rows(files, decoded):
    assert_same(*pair(files), range(60))
    assert len(decoded) == 2 * 3 * 60
    assert sum(decoded) < 0.9 * 2 * 60 * (90 + 20 + 64)
    assert max(decoded) == 90


@needs_decoder
@pytest.mark.parametrize(
    "transform",
    [
        CropFirst(CROP, scale=(0.99, 1.01)),
        CropFirst(CROP, scale=(1.0, 1.0001)),
        CropFirst((200, 250)),
        CropFirst((9, 9), rotate=(40, 80), rotate_p=1.0, blur_radius=9),
        CropFirst(CROP, exact=False),
    ],
)
def test_other_transforms(files, transform):
    assert_same(*pair(files, transform), range(25))


@needs_decoder
@pytest.mark.parametrize("unequal", [UnequalWindows(**{name: True}) for name in UnequalWindows._fields])
def test_an_opencv_whose_windows_differ(files, monkeypatch, unequal):
    monkeypatch.setattr(crop_first, "unequal_windows", lambda kernel: unequal)
    assert_same(*pair(files), range(25))


@needs_decoder
def test_a_canvas_that_is_rotated_whole(files, monkeypatch):
    monkeypatch.setattr(crop_first, "LARGEST_SIDE", 100)
    assert_same(*pair(files), range(25))


@needs_decoder
def test_a_street_scene(tmp_path, decoded):
    write(tmp_path / "i.png", rec_image(1, 1024, 2048), compress_level=1)
    write(tmp_path / "l.png", rec_label(2, 1024, 2048, 19), compress_level=1)
    (tmp_path / "list.txt").write_text("i.png l.png")
    assert_same(*pair(tmp_path, CropFirst((713, 713))), range(4))
    assert min(decoded) < 1024


@needs_decoder
def test_the_toy_city(toy_city, decoded):
    arguments = "train", str(toy_city), toy_city / "list" / "fine_train.txt", CropFirst((33, 41)), 19
    assert_same(SemData(*arguments), CropFirstSemData(*arguments), range(2))
    assert len(decoded) == 4 * len(SemData(*arguments))


@pytest.mark.skipif(not CAMVID.is_dir(), reason="CamVid is not at hand")
def test_camvid_whose_images_are_jpeg(tmp_path):
    lines = (CAMVID / "train.txt").read_text().splitlines()[:3]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    arguments = "train", str(CAMVID), tmp_path / "list.txt", CropFirst((129, 129))
    assert_same(SemData(*arguments), CropFirstSemData(*arguments), range(3))


# -- what is left to OpenCV -----------------------------------------------------------------------------------------
def test_without_the_decoder(files, monkeypatch):
    monkeypatch.setattr(decoding, "decode_image_png_u8", None)
    monkeypatch.setattr(decoding, "has_decoder", decoding.has_decoder.__wrapped__)
    assert_same(*pair(files), range(5))


def test_files_of_other_kinds(files):
    image, label = rec_image(0, 90, 140), rec_label(9, 90, 140, 19)
    kinds = {
        "i0.png": [
            lambda path: Image.fromarray(image).convert("P").save(path),
            lambda path: Image.fromarray(image).convert("RGBA").save(path),
            lambda path: Image.fromarray(image).convert("L").save(path),
            lambda path: path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes()),
            lambda path: cv2.imwrite(str(path), image.astype(np.uint16) * 200),
            lambda path: path.write_bytes(b"no picture"),
            lambda path: path.unlink(),
        ],
        "l0.png": [
            lambda path: Image.fromarray(label).convert("P").save(path),
            lambda path: cv2.imwrite(str(path), label.astype(np.uint16)),
            lambda path: Image.fromarray(label[:80]).save(path),
            lambda path: Image.fromarray(label + 19).save(path),
            lambda path: path.write_bytes(b""),
        ],
    }
    for name, makers in kinds.items():
        whole = (files / name).read_bytes()
        for make in makers:
            make(files / name)
            assert_same(*pair(files), range(3), [0])
            (files / name).write_bytes(whole)


@needs_decoder
def test_a_changed_or_shortened_file_is_noticed_below_the_rows_that_are_needed(files):
    content = (files / "i0.png").read_bytes()
    for damaged in (content[:-40], content[:-30] + bytes([content[-30] ^ 1]) + content[-29:]):
        (files / "i0.png").write_bytes(damaged)
        whole, rows = pair(files)
        for seed in range(10):
            assert outcome(rows, 0, seed) == outcome(whole, 0, seed)
            assert "i0.png: " in outcome(rows, 0, seed)


@needs_decoder
def test_a_broken_stream_with_right_checksums_has_opencvs_message(files):
    content = (files / "i0.png").read_bytes()
    start = content.index(b"IDAT")
    length = int.from_bytes(content[start - 4 : start], "big")
    body = bytearray(content[start : start + 4 + length])
    body[6:60] = bytes(54)
    broken = content[:start] + body + zlib.crc32(body).to_bytes(4, "big") + content[start + 8 + length :]
    (files / "i0.png").write_bytes(broken)
    whole, rows = pair(files)
    for seed in range(5):
        assert outcome(rows, 0, seed) == outcome(whole, 0, seed)
        assert "damaged" in outcome(rows, 0, seed)


@needs_decoder
def test_label_values_are_checked_in_the_rows_that_are_decoded(files):
    label = rec_label(9, 90, 140, 19)
    label[0, 0] = 77
    write(files / "l0.png", label)
    assert "values 77 (" in outcome(pair(files)[1], 0, 0)
    label[0, 0], label[-1, -1] = 0, 77
    write(files / "l0.png", label)
    found = {isinstance(outcome(pair(files)[1], 0, seed), str) for seed in range(40)}
    assert found == {True, False}
    assert_same(*pair(files, classes=None), range(10), [0])


# -- where it is used -------------------------------------------------------------------------------------------------
def test_a_recipe_gets_it_with_crop_first_only(files):
    data = SimpleNamespace(
        root=str(files), train_list=files / "list.txt", val_list=files / "list.txt", classes=19, ignore_index=255
    )
    data.cache = None
    assert type(image_set("train", data, CropFirst(CROP))) is CropFirstSemData
    assert type(image_set("train", data, Pipeline([], {}))) is SemData
    data.cache = files / "cache"
    assert type(image_set("train", data, CropFirst(CROP))) is module.CachedSemData


@needs_decoder
def test_loader_processes(files):
    def batches(samples):
        loader = torch.utils.data.DataLoader(samples, batch_size=None, num_workers=1)
        torch.manual_seed(0)
        return [batch[0].shape for batch in loader]

    assert batches(pair(files)[1]) == [(3, *CROP)] * 3
