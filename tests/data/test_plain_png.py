"""Plain PNG files: which are taken, and that their rows are OpenCV's, also where the files are damaged."""

import random
import struct
import zlib
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from catalyst_cityscapes.data import plain_png as module
from catalyst_cityscapes.data.plain_png import has_decoder, plain_png
from semseg_ref.base.safe.image_header import MAX_PIXELS, PNG_SIGNATURE
from support.golden.inputs import rec_image

pytest.importorskip("kornia_rs", reason="optional decoder of PNG files")

FLAGS = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}
COLOUR_TYPES = {1: 0, 3: 2}


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def stream(pixels, filters=(0,), level=6, strategy=zlib.Z_DEFAULT_STRATEGY, window=15):
    """Compressed rows [H, bytes]; each row's bytes are taken as already filtered: any bytes are some picture."""
    raw = b"".join(bytes([filters[y % len(filters)]]) + row.tobytes() for y, row in enumerate(pixels))
    squeezer = zlib.compressobj(level, zlib.DEFLATED, window, 9, strategy)
    return squeezer.compress(raw) + squeezer.flush()


def png(pixels, compressed=None, split=8192, before=b"", between=b"", after=b"", header=None, **options):
    """A PNG file of uint8 [H, W, C], put together by hand."""
    height, width, channels = pixels.shape
    compressed = compressed or stream(pixels.reshape(height, -1), **options)
    header = header or struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    data = [chunk(b"IDAT", compressed[i : i + split]) for i in range(0, len(compressed), split)]
    return PNG_SIGNATURE + chunk(b"IHDR", header) + before + between.join(data) + after + chunk(b"IEND")


def picture(channels, height=37, width=53, seed=3):
    return rec_image(seed, height, width)[:, :, :channels]


def by_opencv(content, channels):
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), FLAGS[channels])
    return pixels[:, :, ::-1] if pixels is not None and channels == 3 else pixels


def assert_rows(path, channels):
    content = path.read_bytes()
    expected = by_opencv(content, channels)
    file = plain_png(path, channels)
    assert (file.height, file.width) == expected.shape[:2]
    for count in {1, max(file.height // 2, 1), max(file.height - 1, 1), file.height}:
        rows = file.rows(count)
        assert rows.dtype == np.uint8
        np.testing.assert_array_equal(rows, expected[:count])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (4, 0, 3, 1, 2)])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_every_filter_and_kind_of_stream(tmp_path, channels, filters, level):
    path = tmp_path / "a.png"
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED):
        pixels = picture(channels)
        path.write_bytes(png(pixels, split=100, filters=filters, level=level, strategy=strategy))
        assert_rows(path, channels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 300), (300, 1), (5, 7), (256, 512)])
def test_sizes_and_writers(tmp_path, channels, size):
    path = tmp_path / "a.png"
    pixels = picture(channels, *size)
    Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(path)
    assert_rows(path, channels)
    Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(path, optimize=True)
    assert_rows(path, channels)
    path.write_bytes(png(pixels))
    assert_rows(path, channels)


@pytest.mark.parametrize("kind", sorted(module.NEITHER_DECODER_APPLIES))
@pytest.mark.parametrize("channels", [1, 3])
def test_chunks_that_change_no_pixel(tmp_path, kind, channels):
    sample = b"\0\x08" * channels if kind == b"bKGD" else b"\x05" * channels
    bodies = {
        b"gAMA": struct.pack(">I", 22222),
        b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
        b"sRGB": b"\0",
        b"sBIT": sample,
        b"bKGD": sample,
        b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
        b"tEXt": b"Comment\0made by hand",
        b"tIME": struct.pack(">HBBBBB", 2026, 1, 2, 3, 4, 5),
    }
    path = tmp_path / "a.png"
    path.write_bytes(png(picture(channels), before=chunk(kind, bodies[kind])))
    assert_rows(path, channels)
    if kind in (b"tEXt", b"tIME"):
        path.write_bytes(png(picture(channels), after=chunk(kind, bodies[kind])))
        assert_rows(path, channels)


def other_kinds():
    """Name and content of PNG files, and of others, that are OpenCV's to read."""
    rgb, grey = picture(3), picture(1)
    header = struct.Struct(">IIBBBBB")
    yield "interlaced", png(rgb, header=header.pack(53, 37, 8, 2, 0, 0, 1))
    yield "unknown compression", png(rgb, header=header.pack(53, 37, 8, 2, 1, 0, 0))
    yield "unknown filter method", png(rgb, header=header.pack(53, 37, 8, 2, 0, 1, 0))
    for depth, colour_type in ((16, 2), (16, 0), (4, 0), (2, 0), (1, 0), (8, 3), (8, 4), (8, 6), (8, 5)):
        yield f"{depth} bits, type {colour_type}", png(rgb, header=header.pack(53, 37, depth, colour_type, 0, 0, 0))
    yield "other channels", png(grey)
    for kind in (b"tRNS", b"eXIf", b"iCCP", b"acTL", b"zTXt", b"PLTE", b"abcd"):
        yield f"with {kind.decode()}", png(rgb, before=chunk(kind, bytes(6)))
    yield "EXIF as text", png(rgb, before=chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 0\n"))
    yield "data in two places", png(rgb, split=900, between=chunk(b"tEXt", b"a\0b"))
    yield "small window", png(rgb, window=9)
    yield "two headers", png(rgb, before=chunk(b"IHDR", header.pack(53, 37, 8, 2, 0, 0, 0)))
    yield "bytes after the end", png(rgb) + b"x"
    yield "no end", png(rgb)[:-12]
    yield "no data", PNG_SIGNATURE + chunk(b"IHDR", header.pack(53, 37, 8, 2, 0, 0, 0)) + chunk(b"IEND")
    yield "empty data", png(rgb, before=chunk(b"IDAT"))
    yield "no pixels", png(rgb, header=header.pack(0, 37, 8, 2, 0, 0, 0))
    yield "too large", png(rgb, header=header.pack(MAX_PIXELS, 2, 8, 2, 0, 0, 0))
    yield "many chunks", png(rgb, before=chunk(b"tEXt", b"a\0b") * 50_000 + chunk(b"abcd"))
    content = png(rgb)
    yield "length beyond the end", content[:33] + b"\x7f\xff\xff\xff" + content[37:]
    for position in (20, 30, 36, 60, len(content) // 2, len(content) - 14, len(content) - 2):
        yield f"byte {position} changed", content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
    for kept in (0, 8, 20, 33, 40, len(content) // 2, len(content) - 1):
        yield f"cut off after {kept}", content[:kept]
    yield "JPEG", cv2.imencode(".jpg", rgb)[1].tobytes()


@pytest.mark.parametrize(("name", "content"), [pytest.param(*kind, id=kind[0]) for kind in other_kinds()])
def test_everything_else_is_left_to_opencv(tmp_path, name, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert plain_png(path, 3) is None


def test_files_that_cannot_be_read_are_left_to_opencv(tmp_path):
    for path in (tmp_path / "gone.png", tmp_path, "a\0b"):
        assert plain_png(path, 3) is None


def test_pillows_kinds(tmp_path):
    path = tmp_path / "a.png"
    image, taken = Image.fromarray(picture(3)), {}
    for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "I;16"):
        (image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)).save(path)
        taken[mode] = [channels for channels in (1, 3) if plain_png(path, channels) is not None]
        for channels in taken[mode]:
            assert_rows(path, channels)
    assert taken == {"RGB": [3], "L": [1], "P": [], "1": [], "RGBA": [], "LA": [], "I;16": []}
    text = PngInfo()
    text.add_text("Author", "nobody")
    image.save(path, pnginfo=text, dpi=(72, 72))
    assert_rows(path, 3)


def test_damage_with_right_checksums_never_gives_other_pixels(tmp_path):
    # Bits of the compressed stream are turned before the checksums of its chunks are made, which is nothing that a
    # disk or a network does. OpenCV refuses more of these, because it compares the checksum of all pixels too.
    rng, path, seen = random.Random(0), tmp_path / "a.png", Counter()
    for round_ in range(250):
        channels = rng.choice((1, 3))
        pixels = picture(channels, rng.randint(1, 40), rng.randint(1, 60), round_ % 7)
        filters = [rng.randint(0, 4) for _ in range(7)]
        compressed = bytearray(stream(pixels.reshape(len(pixels), -1), filters, rng.choice((0, 1, 6))))
        for _ in range(rng.randint(1, 3)):
            compressed[rng.randrange(1, len(compressed))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.3:
            del compressed[rng.randrange(2, len(compressed)) :]
        content = png(pixels, bytes(compressed), split=rng.choice((7, 8192)))
        path.write_bytes(content)
        expected, file = by_opencv(content, channels), plain_png(path, channels)
        for count in (len(pixels), (len(pixels) + 1) // 2):
            rows = file.rows(count)
            seen[rows is None, expected is None] += 1
            assert rows is None or rows.shape[:2] == (count, pixels.shape[1])
            if rows is not None and expected is not None:
                np.testing.assert_array_equal(rows, expected[:count])
            assert rows is not None or expected is None
    assert set(seen) == {(False, False), (False, True), (True, True)}


# -- the guard ----------------------------------------------------------------------------------------------------
def test_the_installed_decoder_has_opencvs_pixels():
    assert has_decoder()


@pytest.mark.parametrize(
    "other",
    [
        None,
        lambda *_: 1 / 0,
        lambda content, size, mode: np.zeros((*size, 1 if mode == "mono" else 3), np.uint8),
        lambda content, size, mode: by_opencv(content, 1 if mode == "mono" else 3),  # the whole picture each time
    ],
)
def test_a_decoder_of_another_kind_is_not_used(tmp_path, monkeypatch, other):
    path = tmp_path / "a.png"
    path.write_bytes(png(picture(3)))
    monkeypatch.setattr(module, "decode_image_png_u8", other)
    monkeypatch.setattr(module, "has_decoder", has_decoder.__wrapped__)
    assert plain_png(path, 3) is None
