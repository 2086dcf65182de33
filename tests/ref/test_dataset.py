"""List files, images and labels: the reference's parsing and the errors that it lacks."""

import os

import cv2
import numpy as np
import pytest
from PIL import Image

from semseg_ref.base.errors import DataError, OptionError
from semseg_ref.dataset import SemData, check_label_values, check_list, make_dataset, read_image, read_label
from support.golden.inputs import load_golden, rec_image, rec_label

LISTS = load_golden("dataset_lists.json")


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("case", LISTS, ids=lambda c: f"{c['split']}-{c['text']!r}")
def test_lists_of_the_reference(tmp_path, case, newline):
    path = tmp_path / "list.txt"
    path.write_bytes(case["text"].replace("\n", newline).encode())
    if case["ok"]:
        assert [list(pair) for pair in make_dataset(case["split"], case["data_root"], path)] == case["pairs"]
    else:
        error = {"RuntimeError": RuntimeError, "AssertionError": AssertionError}[case["error"]]
        with pytest.raises(error):
            make_dataset(case["split"], case["data_root"], path)


def test_list_errors_name_file_and_line(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.png b.png\nc.png\td.png\n")
    with pytest.raises(DataError, match=r"list\.txt, line 2: .* has 1 fields .* expected 2 for split val: image label"):
        make_dataset("val", "root", path)
    with pytest.raises(OptionError, match="did you mean 'train'"):
        make_dataset("trian", "root", path)
    with pytest.raises(DataError, match="no such list file"):
        make_dataset("val", "root", tmp_path / "missing.txt")
    path.write_text("")
    with pytest.raises(DataError, match="empty"):
        make_dataset("val", "root", path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a UTF-8 text file"):
        make_dataset("val", "root", path)


def test_check_list_names_the_first_missing_file(tmp_path):
    present = str(write_png(tmp_path / "a.png", rec_image(1, 4, 4)))
    check_list([(present, present)])
    pairs = [(present, present), (present, "x.png"), ("y.png", "z.png")]
    with pytest.raises(DataError, match=r"val\.txt, line 2: no such file x\.png; 3 of 5 files"):
        check_list(pairs, "val.txt")


def test_item_is_float_rgb_and_uint8_label(tmp_path):
    image, label = rec_image(1, 20, 31), rec_label(1, 20, 31, 19)
    write_png(tmp_path / "i" / "a.png", image)
    write_png(tmp_path / "l" / "a.png", label)
    (tmp_path / "list.txt").write_text("i/a.png l/a.png\n")
    data = SemData("val", str(tmp_path), tmp_path / "list.txt", transform=lambda i, m: (i, m), classes=19)
    assert len(data) == 1
    found_image, found_label = data[0]
    assert found_image.dtype == np.float32
    assert found_label.dtype == np.uint8
    np.testing.assert_array_equal(found_image, image)
    np.testing.assert_array_equal(found_label, label)


def test_split_test_reads_the_image_as_label(tmp_path):
    write_png(tmp_path / "a.png", rec_image(1, 20, 31))
    (tmp_path / "list.txt").write_text("a.png\n")
    image, label = SemData("test", str(tmp_path), tmp_path / "list.txt")[0]
    assert image.shape == (20, 31, 3)
    np.testing.assert_array_equal(label, cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_GRAYSCALE))


@pytest.mark.parametrize("kind", ["png", "jpg", "jpg-rotated", "grey", "palette", "16-bit"])
def test_images_have_the_bits_of_imread(tmp_path, kind):
    image = Image.fromarray(rec_image(3, 33, 47))
    path = tmp_path / ("a.jpg" if kind.startswith("jpg") else "a.png")
    if kind == "jpg-rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    elif kind == "16-bit":
        Image.fromarray(np.arange(33 * 47, dtype=np.uint16).reshape(33, 47) * 40).save(path)
    else:
        {"grey": image.convert("L"), "palette": image.convert("P")}.get(kind, image).save(path)
    expected = np.float32(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])
    np.testing.assert_array_equal(read_image(path), expected)
    assert (expected.shape[0] == 47) == (kind == "jpg-rotated")


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_errors(tmp_path, ending, kept):
    path = tmp_path / f"a{ending}"
    Image.fromarray(rec_image(4, 64, 64)).save(path)
    content = path.read_bytes()
    read_image(path)
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=r"a\.(png|jpg): .*(ends early|damaged)"):
        read_image(path)


def test_truncated_jpeg_with_a_complete_thumbnail(tmp_path):
    path, thumbnail = tmp_path / "a.jpg", tmp_path / "t.jpg"
    Image.fromarray(rec_image(4, 16, 16)).save(thumbnail)
    Image.fromarray(rec_image(4, 64, 64)).save(path)
    content, embedded = path.read_bytes(), b"Exif\0\0" + thumbnail.read_bytes()
    segment = b"\xff\xe1" + (len(embedded) + 2).to_bytes(2, "big") + embedded
    content = content[:2] + segment + content[2:]
    path.write_bytes(content)
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(content[:-40])
    with pytest.raises(DataError, match="ends early"):
        read_image(path)


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_bytes_after_the_end_are_allowed(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    Image.fromarray(rec_image(4, 20, 20)).save(path)
    before = read_image(path)
    path.write_bytes(path.read_bytes() + b"\0" * 200)
    np.testing.assert_array_equal(read_image(path), before)


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (b"no image", "damaged"), (None, "cannot be read")])
def test_unreadable_files(tmp_path, content, message):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for read in (read_image, read_label):
        with pytest.raises(DataError, match=rf"a\.png: .*{message}"):
            read(path)


def test_labels_must_hold_indices(tmp_path):
    label = rec_label(1, 12, 12, 4)
    path = tmp_path / "a.png"
    image = Image.frombytes("P", (12, 12), label.tobytes())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.save(path)
    with pytest.raises(DataError, match="a palette image"):
        read_label(path)
    Image.fromarray(rec_image(1, 12, 12)).save(path)
    with pytest.raises(DataError, match="a colour image"):
        read_label(path)
    Image.fromarray(label.astype(np.uint16)).save(path)
    with pytest.raises(DataError, match="16 bits"):
        read_label(path)
    Image.fromarray(label > 2).save(path)
    with pytest.raises(DataError, match="1 bits"):
        read_label(path)
    Image.fromarray(np.repeat(label[:, :, None], 3, axis=2)).save(path)
    np.testing.assert_array_equal(read_label(path), label)


def test_label_values(tmp_path):
    label = np.array([[0, 18, 255, 7]], np.uint8)
    check_label_values(label, 19, 255, "a.png")
    with pytest.raises(DataError, match=r"a\.png: values 33 .25\.0% .* 0\.\.18 or 255 .*labelIds instead of trainIds"):
        check_label_values(np.array([[0, 33, 255, 7]], np.uint8), 19, 255, "a.png")
    with pytest.raises(DataError, match=r"values 100 ") as caught:
        check_label_values(np.array([[0, 100]], np.uint8), 19, 255, "a.png")
    assert "labelIds" not in str(caught.value)
    with pytest.raises(DataError, match="values 255"):
        check_label_values(label, 19, 0, "a.png")


def test_item_errors(tmp_path):
    write_png(tmp_path / "i.png", rec_image(1, 20, 31))
    write_png(tmp_path / "small.png", rec_label(1, 20, 30, 19))
    write_png(tmp_path / "ids.png", np.full((20, 31), 26, np.uint8))
    (tmp_path / "list.txt").write_text("i.png small.png\ni.png ids.png\ni.png gone.png\n")
    data = SemData("train", str(tmp_path), tmp_path / "list.txt", classes=19)
    with pytest.raises(DataError, match=r"small\.png: size 20 x 30 differs .*i\.png, 20 x 31"):
        data[0]
    with pytest.raises(DataError, match=r"ids\.png: values 26"):
        data[1]
    with pytest.raises(DataError, match=f"gone.png: cannot be read .{os.strerror(2)}"):
        data[2]
    assert (SemData("train", str(tmp_path), tmp_path / "list.txt")[1][1] == 26).all()
