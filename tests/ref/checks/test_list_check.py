"""What is seen of the lists before a training: masks, formats in a line, names, shared images, and lines of lists."""

import numpy as np
import pytest
from PIL import Image

from semseg_ref.base.errors import DataError
from semseg_ref.checks import lists as list_check
from semseg_ref.checks.lists import check_formats, check_training_lists, judge_labels, look_at_labels
from semseg_ref.dataset import check_label_values, check_list, make_dataset
from support.cities.label_files import by_opencv, encoded, oriented
from support.golden.inputs import rec_image

SIZE = (12, 16)
IMAGE = rec_image(1, *SIZE)


def halves(*values):
    """A label of vertical strips of these values."""
    return np.repeat(np.array(values, np.uint8), SIZE[0] * SIZE[1] // len(values)).reshape(SIZE[::-1]).T.copy()


@pytest.fixture
def data_set(tmp_path):
    """Writes image and label i of every given label, and the list; gives the pairs."""

    def write(*labels, name="train", images=None):
        lines = []
        for index, label in enumerate(labels):
            image = f"{name}_{index}.png" if images is None else images[index]
            (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(IMAGE).save(tmp_path / image)
            Image.fromarray(label).save(tmp_path / f"{name}_{index}_label.png")
            lines.append(f"{image} {name}_{index}_label.png\n")
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(lines))
        return make_dataset("train", str(tmp_path), path)

    return write


def judged(pairs, classes, ignore_index=255, trained=True):
    look = look_at_labels(pairs, classes, ignore_index, "list.txt")
    return judge_labels(look, classes, ignore_index, "list.txt", trained)


# -- values of the labels ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("labels", "classes", "ignore_index", "message"),
    [
        pytest.param(
            [halves(0, 255)], 2, 255, "class 0 is the only one of 2, and 50.0% of the pixels are 255", id="mask"
        ),
        pytest.param(
            [halves(0, 0), halves(255, 0)], 2, 255, "in 2 of its 2 labels class 0 .* 25.0%", id="mask-and-empty"
        ),
        pytest.param([halves(1, 255)], 19, 255, "class 1 is the only one of 19", id="other-class"),
        pytest.param([halves(0, 0, 0, 254)], 3, 254, "25.0% of the pixels are 254, which is ignored", id="other-value"),
        pytest.param([halves(0, 127, 255)], 2, 255, "line 1: .*values 127", id="three-greys"),
        pytest.param([halves(0, 255)], 2, 254, r"values 255 .*255 -> 1", id="mask-without-ignored"),
        pytest.param([halves(1, 2)], 2, 255, "values 2 .*counted from 1", id="counted-from-one"),
    ],
)
def test_masks_that_leave_nothing_to_learn(data_set, labels, classes, ignore_index, message):
    with pytest.raises(DataError, match=rf"list\.txt.*{message}"):
        judged(data_set(*labels), classes, ignore_index)


@pytest.mark.parametrize(
    ("labels", "classes", "note"),
    [
        pytest.param([halves(0, 1)], 2, None, id="all-classes"),
        pytest.param([halves(0, 255), halves(255, 1)], 2, None, id="much-ignored"),
        pytest.param([halves(0, 0)], 2, None, id="one-class-and-nothing-ignored"),
        pytest.param([halves(0, 1, 255)], 19, None, id="few-of-many-classes"),
        pytest.param([halves(255, 255)], 19, "in 1 of its 1 labels no pixel has a class, all are 255", id="void"),
        pytest.param([halves(0, 1, 255)], 3, "class 2 never occurs, and 33.3% .* are 255", id="last-class-as-255"),
        pytest.param([halves(1, 2, 255)], 3, "class 0 never occurs", id="background-as-255"),
    ],
)
def test_labels_that_may_be_meant(data_set, labels, classes, note):
    found = judged(data_set(*labels), classes)
    assert len(found) == (note is not None)
    if note is not None:
        assert note.replace(" .* ", " ") in found[0].replace("of the pixels ", "")


def test_a_validation_list_of_one_class_is_only_told(data_set):
    assert "class 0 is the only one" in judged(data_set(halves(0, 255)), 2, trained=False)[0]


def test_as_few_labels_are_read_as_tell(data_set, monkeypatch):
    monkeypatch.setattr(list_check, "LABELS", 3)
    monkeypatch.setattr(list_check, "MOST_LABELS", 6)

    def read(*labels, classes=2):
        return look_at_labels(data_set(*labels), classes, 255, "list.txt").read

    both, one = halves(0, 1), halves(0, 255)
    assert read(*[both] * 8) == 1
    assert read(*[both] * 8, classes=3) == 3
    assert read(*[one] * 8) == 6
    # The second class stands in the last label, which the evenly spaced ones do not hit.
    assert read(*[one] * 4, both) == 5


# -- formats ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        pytest.param(
            encoded(IMAGE, "PNG"), by_opencv(halves(0, 1).astype(np.uint16)), "l: 16 bits a sample", id="label"
        ),
        pytest.param(
            by_opencv(IMAGE.astype(np.uint16) * 4), encoded(halves(0, 1), "PNG"), "i: .*lower 10", id="10-bit"
        ),
        pytest.param(oriented(IMAGE, "JPEG", 3), encoded(halves(0, 1), "PNG"), "EXIF orientation 3", id="exif"),
        pytest.param(oriented(IMAGE, "JPEG", 6), encoded(halves(0, 1), "PNG"), "size 12 x 16 .* EXIF", id="exif-side"),
        pytest.param(encoded(IMAGE, "JPEG"), encoded(halves(0, 1)[:11], "PNG"), "size 11 x 16 differs", id="size"),
        pytest.param(encoded(halves(0, 1), "PNG"), encoded(IMAGE, "JPEG"), "two columns swapped", id="swapped"),
        pytest.param(b"no image", encoded(halves(0, 1), "PNG"), "i: damaged", id="damaged"),
    ],
)
def test_headers_name_the_line(tmp_path, image, label, message):
    pairs = [(str(tmp_path / "i0"), str(tmp_path / "l0")), (str(tmp_path / "i"), str(tmp_path / "l"))]
    for (image_path, label_path), contents in zip(
        pairs, ((encoded(IMAGE, "PNG"), encoded(halves(0, 1), "PNG")), (image, label)), strict=True
    ):
        for path, content in zip((image_path, label_path), contents, strict=True):
            with open(path, "wb") as file:
                file.write(content)
    with pytest.raises(DataError, match=rf"list\.txt, line 2: .*{message}"):
        check_formats(pairs, "list.txt")


def test_real_16_bit_images_are_told_once(tmp_path, data_set):
    pairs = data_set(halves(0, 1), halves(0, 1))
    for image, _ in pairs:
        (tmp_path / image).write_bytes(by_opencv(IMAGE.astype(np.uint16) * 257, ".png"))
    assert check_formats(pairs, "list.txt") == [
        f"list.txt: 2 of 2 images have 16 bits a sample, of which the upper 8 are read, as in the reference; first "
        f"{pairs[0][0]}"
    ]


# -- names and paths --------------------------------------------------------------------------------------------------
def checked(tmp_path, test_list=None):
    pairs = make_dataset("train", str(tmp_path), tmp_path / "train.txt")
    return check_training_lists(pairs, tmp_path / "train.txt", str(tmp_path), tmp_path / "val.txt", 2, 255, test_list)


@pytest.mark.parametrize(
    "images",
    [("a/000001.png", "b/000001.png"), ("x.png", "x.bmp"), ("frame.001.png", "frame.002.png"), ("x.png", "x.png")],
)
def test_predictions_that_would_overwrite_each_other(tmp_path, data_set, images):
    label = halves(0, 1)
    data_set(label)
    data_set(label, label, name="val", images=images)
    with pytest.raises(DataError, match=r"val\.txt: .* would both be predicted into"):
        checked(tmp_path)
    data_set(label, label, name="val")
    (tmp_path / "test.txt").write_text("".join(f"{image}\n" for image in images))
    with pytest.raises(DataError, match=r"test\.txt: .* would both be predicted into"):
        checked(tmp_path, tmp_path / "test.txt")
    assert checked(tmp_path, tmp_path / "missing.txt") == []


def test_shared_labels_and_images_are_told(tmp_path, data_set):
    data_set(halves(0, 1), halves(0, 1))
    data_set(halves(0, 1), name="val")
    assert checked(tmp_path) == []
    (tmp_path / "val.txt").write_text("./train_1.png val_0_label.png\n")
    (tmp_path / "train.txt").write_text("train_0.png train_0_label.png\ntrain_1.png train_0_label.png\n")
    first, second = checked(tmp_path)
    assert "train.txt: lines 1 and 2 give two images the same label" in first
    assert "val.txt: 1 of 1 images are in the training list too" in second


def test_a_validation_list_is_looked_at_where_its_files_are(tmp_path, data_set):
    data_set(halves(0, 1))
    (tmp_path / "val.txt").write_text("gone.png gone_label.png\n")
    assert checked(tmp_path) == []
    data_set(halves(0, 77), halves(0, 1), name="val")
    with pytest.raises(DataError, match=r"val\.txt, line 1: .*values 77"):
        checked(tmp_path)
    (tmp_path / "val.txt").unlink()
    assert checked(tmp_path) == []


# -- lines of a list --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("/train_0.png /train_0_label.png", "train_0.png exists: write the list without the leading '/'"),
        ("/gone.png train_0_label.png", "a list of absolute paths goes with the data root /"),
        ("train_0.png\ttrain_0_label.png", "not by a tab"),
        ("train_0.png  train_0_label.png", "several blanks in a row"),
        ("train_0.png,train_0_label.png", "not by a comma or semicolon"),
        ("train_0.png, train_0_label.png", "not by a comma or semicolon"),
        ("my photo.png train_0_label.png", "cannot have blanks"),
        ("# image label and more", "no comments"),
        ("", "a blank line"),
        ("train_0.png", "expected 2 for split train: image label"),
        ("a\\train_0.png a\\train_0_label.png", "written with backslashes, expected /"),
        ("~/train_0.png train_0_label.png", "~ and $ stand for themselves"),
        ("$DATA/train_0.png train_0_label.png", "~ and $ stand for themselves"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(tmp_path, data_set, line, hint):
    data_set(halves(0, 1))
    path = tmp_path / "list.txt"
    path.write_text(f"train_0.png train_0_label.png\n{line}\n")
    with pytest.raises(DataError, match=r"list\.txt, line 2") as error:
        check_list(make_dataset("train", str(tmp_path), path), path, tmp_path)
    assert hint in str(error.value)


@pytest.mark.parametrize("text", ["./train_0.png train_0_label.png\n", "\ufefftrain_0.png train_0_label.png  \r\n"])
def test_lines_that_are_taken(tmp_path, data_set, text):
    data_set(halves(0, 1))
    path = tmp_path / "list.txt"
    path.write_text(text)
    check_list(make_dataset("train", str(tmp_path), path), path, tmp_path)


def test_hints_of_label_values():
    with pytest.raises(DataError, match=r"values 3 .*counted from 1"):
        check_label_values(halves(1, 2, 3), 3, 255, "a.png")
    with pytest.raises(DataError, match="values 3, 4 ") as error:
        check_label_values(halves(1, 3, 4), 3, 255, "a.png")
    assert "counted" not in str(error.value)
