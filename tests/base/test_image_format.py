"""Files other than 8-bit PNG: read as they are, or refused in one line, as an image and as a label."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from semseg_ref.base.errors import DataError
from semseg_ref.base.image_format import image_format, read_format
from semseg_ref.dataset import read_image, read_label, read_pair
from support.cities.label_files import INDICES, by_opencv, encoded, late_orientation, oriented, palette
from support.golden.inputs import rec_image

GREY = [value for value in range(256) for _ in range(3)]
COLOURS = list(range(57))
RGB = rec_image(5, 12, 16)
ALPHA = np.dstack([RGB, np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)])
WIDE = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)
SECOND, MIRRORED = [Image.fromarray(INDICES[::-1])], [Image.fromarray(RGB[::-1])]


def stored(tmp_path, content, name="a.bin"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded(INDICES, "PNG"), id="png"),
        pytest.param(encoded(INDICES, "TIFF"), id="tiff"),
        pytest.param(encoded(INDICES, "TIFF", compression="tiff_lzw"), id="tiff-lzw"),
        pytest.param(encoded(INDICES, "TIFF", big_tiff=True), id="tiff-big"),
        pytest.param(encoded(INDICES, "BMP"), id="bmp"),
        pytest.param(encoded(INDICES, "PPM"), id="pgm"),
        pytest.param(b"P5\n16 12\n18\n" + INDICES.tobytes(), id="pgm-18"),
        pytest.param(encoded(INDICES, "WEBP", lossless=True), id="webp-lossless"),
        pytest.param(encoded(np.dstack([INDICES] * 3), "TIFF"), id="tiff-equal-channels"),
        pytest.param(encoded(np.dstack([INDICES] * 3), "BMP"), id="bmp-equal-channels"),
        pytest.param(encoded(Image.fromarray(INDICES).convert("LA"), "PNG"), id="png-alpha"),
        pytest.param(encoded(palette(GREY), "PNG"), id="png-grey-palette"),
        pytest.param(encoded(palette(GREY), "TIFF"), id="tiff-grey-palette"),
    ],
)
def test_labels_that_are_read_as_they_are(content, tmp_path):
    np.testing.assert_array_equal(read_label(stored(tmp_path, content)), INDICES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(encoded(INDICES.astype(np.uint16), "TIFF"), "16 bits a sample, expected .* 8-bit", id="tiff-16"),
        pytest.param(encoded(INDICES.astype(np.int32), "TIFF"), r"32 bits a sample \(signed\)", id="tiff-32"),
        pytest.param(encoded(INDICES.astype(np.float32), "TIFF"), r"32 bits a sample \(float\)", id="tiff-float"),
        pytest.param(by_opencv(INDICES.astype(np.int16)), r"16 bits a sample \(signed\)", id="tiff-signed-16"),
        pytest.param(by_opencv(INDICES.astype(np.int8)), r"8 bits a sample \(signed\)", id="tiff-signed-8"),
        pytest.param(by_opencv(INDICES.astype(np.uint16), ".pgm"), "16 bits a sample", id="pgm-16"),
        pytest.param(encoded(INDICES > 9, "TIFF"), "1 bits a sample", id="tiff-1"),
        pytest.param(encoded(INDICES > 9, "BMP"), "1 bits a sample", id="bmp-1"),
        pytest.param(encoded(INDICES > 9, "PPM"), "1 bits a sample", id="pbm"),
        pytest.param(encoded(INDICES, "JPEG", quality=100), "JPEG, lossy compression, expected .* PNG", id="jpeg"),
        pytest.param(encoded(INDICES, "WEBP", quality=100), "WEBP, lossy compression", id="webp-lossy"),
        pytest.param(encoded(INDICES, "TIFF", compression="jpeg"), "TIFF, lossy compression", id="tiff-jpeg"),
        pytest.param(encoded(INDICES, "JPEG2000"), "JPEG2000, a format that is not read for labels", id="jpeg2000"),
        pytest.param(encoded(INDICES, "GIF"), "GIF, a format", id="gif"),
        pytest.param(encoded(RGB, "TIFF"), "a colour image", id="tiff-colour"),
        pytest.param(encoded(RGB, "BMP"), "a colour image", id="bmp-colour"),
        pytest.param(encoded(palette(COLOURS), "BMP"), "a palette image, .*indices", id="bmp-palette"),
        pytest.param(encoded(palette(COLOURS), "TIFF"), "a palette image", id="tiff-palette"),
        # Grey levels that are not their own indices: black and white for 0 and 1 would be read as 0 and 255.
        pytest.param(encoded(palette([0, 0, 0, 255, 255, 255, *GREY[6:]]), "PNG"), "a palette image", id="png-mask"),
        pytest.param(encoded(INDICES, "TIFF", tiffinfo={262: 0}), "0 is white|a palette", id="tiff-white-is-zero"),
        pytest.param(encoded(ALPHA, "TIFF"), "4 channels, expected a single-channel label", id="tiff-alpha"),
        pytest.param(encoded(INDICES, "TIFF", save_all=True, append_images=SECOND), "holds 2 pictures", id="pages"),
        pytest.param(encoded(INDICES, "PNG", save_all=True, append_images=SECOND), "holds 2 pictures", id="apng"),
    ],
)
def test_labels_that_would_be_changed_are_refused(content, message, tmp_path):
    with pytest.raises(DataError, match=rf"a\.bin: .*({message})"):
        read_label(stored(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(encoded(RGB, "TIFF"), RGB, id="tiff"),
        pytest.param(encoded(RGB, "WEBP", lossless=True), RGB, id="webp"),
        pytest.param(encoded(RGB, "BMP"), RGB, id="bmp"),
        pytest.param(encoded(ALPHA, "PNG"), RGB, id="png-alpha"),
        pytest.param(encoded(ALPHA, "WEBP", lossless=True, exact=True), RGB, id="webp-alpha"),
        pytest.param(encoded(ALPHA, "BMP"), RGB, id="bmp-alpha"),
        pytest.param(encoded(Image.fromarray(ALPHA).convert("LA"), "TIFF"), None, id="tiff-grey-alpha"),
        pytest.param(by_opencv(WIDE * 300), None, id="tiff-16"),
        pytest.param(by_opencv(WIDE * 300, ".png"), None, id="png-16"),
        pytest.param(encoded(np.zeros((12, 16), np.uint16), "TIFF"), np.zeros((12, 16, 3)), id="black-16"),
    ],
)
def test_images_that_are_read(content, expected, tmp_path):
    """Without alpha, as PNG always was; of 16 bits the upper 8, as the reference does."""
    found = read_image(stored(tmp_path, content))
    if expected is None:
        expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        assert expected.max() > 150
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(by_opencv(WIDE * 21, ".png"), r"lower 12 bits only \(12-bit data\?\).* of 0\.\.15", id="png-12"),
        pytest.param(by_opencv(np.dstack([WIDE * 5] * 3)), "lower 10 bits", id="tiff-10"),
        pytest.param(by_opencv(WIDE * 80, ".pgm"), "lower 14 bits", id="pgm-14"),
        pytest.param(encoded(RGB[:, :, 0].astype(np.float32), "TIFF"), r"32 bits a sample \(float\)", id="float"),
        pytest.param(encoded(RGB[:, :, 0].astype(np.int32), "TIFF"), r"32 bits a sample \(signed\)", id="int"),
        pytest.param(encoded(ALPHA, "TIFF"), r"fourth OpenCV multiplies .* \(alpha\)", id="tiff-alpha"),
        pytest.param(encoded(RGB, "GIF"), "GIF is no format that is read here", id="gif"),
        pytest.param(encoded(RGB, "TIFF", save_all=True, append_images=MIRRORED), "2 pictures", id="pages"),
        pytest.param(encoded(RGB, "WEBP", save_all=True, append_images=MIRRORED), "2 pictures", id="webp-moving"),
    ],
)
def test_images_that_would_be_changed_are_refused(content, message, tmp_path):
    path = stored(tmp_path, content)
    with pytest.raises(DataError, match=rf"a\.bin: .*{message}"):
        read_image(path)


def test_saturated_pixels_do_not_hide_12_bits(tmp_path):
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    values[0, :2] = 65535
    with pytest.raises(DataError, match="12-bit data"):
        read_image(stored(tmp_path, by_opencv(values, ".png")))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_turns_image_and_label_alike(kind, orientation, tmp_path):
    image = stored(tmp_path, oriented(RGB, kind, orientation), "i")
    label = stored(tmp_path, oriented(INDICES, "TIFF" if kind == "JPEG" else kind, orientation), "l")
    assert read_format(image).orientation == orientation
    pixels, classes = read_pair(image, label, 19)
    with Image.open(io.BytesIO(oriented(INDICES, "TIFF", orientation))) as upright:
        np.testing.assert_array_equal(classes, ImageOps.exif_transpose(upright))
    assert pixels.shape[:2] == classes.shape == read_format(label).size


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("flagged", ["image", "label"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_an_orientation_of_one_of_the_two_is_refused(kind, flagged, orientation, tmp_path):
    """Where the sides are exchanged, the sizes differ; WebP's orientation is not obeyed, so there they do not."""
    options = {"lossless": True} if kind == "WEBP" else {}
    flags = (orientation, 1) if flagged == "image" else (1, orientation)
    image = stored(tmp_path, oriented(RGB, kind, flags[0], **options), "image")
    label = stored(tmp_path, oriented(INDICES, kind, flags[1], **options), "label")
    if kind == "WEBP" and orientation >= 5:
        assert read_pair(image, label)[1].shape == INDICES.shape
        return
    expected = f"EXIF orientation {orientation} turns one" if orientation >= 5 else rf"{flagged}: EXIF orientation"
    with pytest.raises(DataError, match=expected):
        read_pair(image, label)


@pytest.mark.parametrize("square", [False, True])
def test_a_label_that_was_drawn_on_the_turned_picture(square, tmp_path):
    """The sizes tell where the sides are unequal; nothing does on a square."""
    side = 12 if square else 16
    image = stored(tmp_path, oriented(RGB[:, :side], "JPEG", 6), "image")
    label = stored(tmp_path, encoded(np.ascontiguousarray(INDICES[:, :side].T), "PNG"), "label")
    if square:
        with pytest.raises(DataError, match=r"image: EXIF orientation 6, but .*label has none.*auto-orient"):
            read_pair(image, label)
    else:
        assert read_pair(image, label)[1].shape == (16, 12)
    opposite = stored(tmp_path, oriented(INDICES[:, :side], "PNG", 8), "opposite")
    with pytest.raises(DataError, match=r"EXIF orientation 6, but .*opposite has 8"):
        read_pair(image, opposite)


def test_an_orientation_after_the_pixels_is_seen_in_the_header(tmp_path):
    image, label = (
        stored(tmp_path, late_orientation(RGB, 3), "image"),
        stored(tmp_path, encoded(INDICES, "PNG"), "label"),
    )
    assert read_format(image).orientation == 3
    with pytest.raises(DataError, match="image: EXIF orientation 3"):
        read_pair(image, label)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP", "JPEG2000"])
def test_formats_by_their_headers(kind, tmp_path):
    found = image_format(io.BytesIO(encoded(RGB, kind)), "x")
    assert (found.kind, found.size, found.bits, found.channels) == (kind, (12, 16), 8, 3)
    assert (found.number, found.pages, found.palette, found.orientation) == ("unsigned", 1, False, 1)


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_is_upright(exif, tmp_path):
    plain = encoded(RGB, "JPEG")
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = stored(tmp_path, plain[:2] + segment + plain[2:])
    assert read_format(path).orientation == 1
    np.testing.assert_array_equal(read_image(path), read_image(stored(tmp_path, plain, "plain")))


@pytest.mark.parametrize("header", [b"P2\n# of a tool\n16 12\n18\n", b"P2\n16 12\n1\n"], ids=["18", "1"])
def test_a_label_whose_values_a_decoder_stretches_is_refused(header, tmp_path):
    text = header + b" ".join(b"%d" % (value % 2) for value in INDICES.ravel())
    with pytest.raises(DataError, match=r"\(0 to 1"):
        read_label(stored(tmp_path, text, "a.pgm"))


@pytest.mark.parametrize("largest", [31, 1023, 4095])
def test_an_image_that_does_not_use_its_bits_is_refused(largest, tmp_path):
    samples = (RGB.astype(">u2") if largest > 255 else RGB % 32).tobytes()
    with pytest.raises(DataError, match=rf"\(0 to {largest}\), expected an image of 8 bits"):
        read_image(stored(tmp_path, b"P6\n16 12\n%d\n" % largest + samples, "a.ppm"))


def test_a_grey_image_whose_white_is_not_255_is_refused(tmp_path):
    path = stored(tmp_path, b"P5\n16 12\n31\n" + (INDICES % 32).tobytes(), "a.pgm")
    with pytest.raises(DataError, match="white is less than 255"):
        read_image(path)


def test_equal_flags_do_not_make_a_webp_lie_on_its_label(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 3
    image = stored(tmp_path, encoded(RGB, "WEBP", lossless=True, exif=exif), "a.webp")
    label = stored(tmp_path, encoded(INDICES, "PNG", exif=exif), "a.png")
    with pytest.raises(DataError, match="EXIF orientation 3"):
        read_pair(image, label)
