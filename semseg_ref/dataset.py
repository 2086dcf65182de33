"""List files, images and labels, read as the reference reads them, with errors that name the file and the line."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from semseg_ref.base.dataset_manifest import check_prepared
from semseg_ref.base.errors import DataError, OptionError, did_you_mean
from semseg_ref.base.image_format import (
    ImageFormat,
    check_image_format,
    check_label_format,
    check_pair_formats,
    image_format,
)
from semseg_ref.base.safe.image_header import JPEG_SIGNATURE, PNG_SIGNATURE, declared_size

SPLITS = ("train", "val", "test")
CITYSCAPES_LABEL_IDS = 34
RGB_FLAG: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)
"""Spares the swap of red and blue; only OpenCV from 4.11 has it."""
BRIGHT_BITS, BRIGHT_SHARE = 14, 0.001
"""A 16-bit image is taken for one where this share of its values needs more than so many bits."""


def make_dataset(split: str, data_root: str, data_list: str | Path) -> list[tuple[str, str]]:
    """Reads a list file: one sample a line, fields separated by exactly one space, as in the reference.

    `train` and `val` lines hold `image label`; `test` lines hold `image`, which is then also given as the label path.
    Paths are joined to `data_root`; an absolute path stays. Whether the files exist is `check_list`'s question.

    Args:
        split: train, val or test.
        data_root: folder of the relative paths.
        data_list: the list file.

    Returns:
        (image path, label path) a line, in order.

    Raises:
        OptionError: unknown split.
        DataError: no such list file, an empty one, or a line with another number of fields (two spaces, a tab and,
            except for test, a blank line count as such); labels that the manifest of a prepared data set in
            `data_root` speaks against, see `check_prepared`.
    """
    if split not in SPLITS:
        raise OptionError(f"split '{split}'{did_you_mean(str(split), SPLITS)}")
    if not os.path.isfile(data_list):
        raise DataError(f"{data_list}: no such list file (key {split}_list)")
    try:
        with open(data_list, encoding="utf-8-sig") as file:
            lines = file.readlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{data_list}: not a UTF-8 text file, expected a list of paths ({error.reason})") from error
    expected = ["image"] if split == "test" else ["image", "label"]
    pairs = []
    for number, line in enumerate(lines, start=1):
        fields = line.strip().split(" ")
        if len(fields) != len(expected):
            raise DataError(
                f"{data_list}, line {number}: {line.strip()!r} has {len(fields)} fields separated by one space, "
                f"expected {len(expected)} for split {split}: {' '.join(expected)}{_field_hint(line.strip())}"
            )
        paths = [os.path.join(data_root, field) for field in fields]
        pairs.append((paths[0], paths[-1]))
    if split != "test":
        check_prepared(data_root, data_list, (label for _, label in pairs))
    if not pairs:
        raise DataError(f"{data_list}: the list is empty, expected one sample a line: {' '.join(expected)}")
    return pairs


def _field_hint(line: str) -> str:
    if not line:
        return "; a blank line"
    if line.startswith("#"):
        return "; a list has no comments"
    if "\t" in line:
        return "; separate the two by a blank, not by a tab"
    if "  " in line:
        return "; there are several blanks in a row"
    if "," in line or ";" in line:
        return "; separate the two by a blank, not by a comma or semicolon"
    return "; a name in a list cannot have blanks" if line.count(" ") > 1 else ""


def _name_hint(path: str) -> str:
    if "\\" in path:
        return "; it is written with backslashes, expected /"
    if "~" in path or "$" in path:
        return "; ~ and $ stand for themselves, nothing is put in their place"
    if path.endswith((",", ";")):
        return "; separate the two by a blank, not by a comma or semicolon"
    return ""


def check_list(
    pairs: Sequence[tuple[str, str]], data_list: str | Path = "list", data_root: str | Path | None = None
) -> None:
    """Raises DataError when a list leaves its folder, or files of it do not exist: names the first and its line.

    The reference follows any path; a list is often somebody else's. Links inside of the folder may lead anywhere.

    Args:
        pairs: `make_dataset`'s result; position + 1 is the line number.
        data_list: name for the message.
        data_root: folder that absolute paths and `..` must not leave; None or `/` allows all.
    """
    if data_root is not None:
        _check_inside(pairs, data_list, os.path.abspath(data_root))
    missing = [
        (number, path)
        for number, pair in enumerate(pairs, start=1)
        for path in dict.fromkeys(pair)
        if not os.path.isfile(path)
    ]
    if missing:
        number, path = missing[0]
        total = sum(len(dict.fromkeys(pair)) for pair in pairs)
        raise DataError(
            f"{data_list}, line {number}: no such file {path}; {len(missing)} of {total} files of the list are missing "
            f"(is data_root right?){_name_hint(path)}"
        )


def _check_inside(pairs: Sequence[tuple[str, str]], data_list: str | Path, root: str) -> None:
    for number, pair in enumerate(pairs, start=1):
        for path in pair:
            if os.path.commonpath([root, os.path.abspath(path)]) != root:
                below = os.path.join(root, path.lstrip("/"))
                if path.startswith("/") and os.path.isfile(below):
                    hint = f"it starts with '/' and {below} exists: write the list without the leading '/'"
                else:
                    hint = "a list names files below it (a list of absolute paths goes with the data root /)"
                raise DataError(f"{data_list}, line {number}: {path} leaves the data root {root}; {hint}")


def _is_truncated(content: bytes) -> bool:
    """Whether a JPEG or PNG file ends early. Other formats: False.

    OpenCV fills the rest of a truncated JPEG with grey and only prints a warning; older versions do so for PNG too.
    Bytes after the end marker are harmless and allowed.
    """
    if content.startswith(PNG_SIGNATURE):
        return b"IEND" not in content[-64:] and b"IEND" not in content
    if not content.startswith(JPEG_SIGNATURE):
        return False
    # An embedded thumbnail has an end marker of its own, so the search starts after the header's segments; inside the
    # compressed data a marker cannot occur.
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if marker == 0xDA:
            return content.find(b"\xff\xd9", position) < 0
    return True


def _read_bytes(path: str | Path) -> bytes:
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not content:
        raise DataError(f"{path}: the file is empty")
    if _is_truncated(content):
        raise DataError(f"{path}: the file ends early (truncated after {len(content)} bytes)")
    return content


def _open(path: str | Path) -> tuple[bytes, ImageFormat]:
    content = _read_bytes(path)
    declared_size(content, path)
    return content, image_format(io.BytesIO(content), path)


def _decode(content: bytes, path: str | Path, flags: int) -> np.ndarray:
    """`cv2.imdecode`, which gives the same bits as the reference's `cv2.imread`, EXIF orientation included."""
    try:
        array = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # raised for a few damaged headers, where it gives None for the others
        array = None
    if array is None:
        raise DataError(f"{path}: damaged, or in no image format that OpenCV reads")
    return array


def _check_size(array: np.ndarray, found: ImageFormat, path: str | Path) -> None:
    if array.shape[:2] != found.size:
        raise DataError(f"{path}: damaged, its header claims {found.size[0]} x {found.size[1]} pixels")


def _check_upper_bits(content: bytes, path: str | Path) -> None:
    # Most sensors give 10 to 14 bits, which stand in the lower bits of a 16-bit file.
    values = _decode(content, path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if not values.any() or np.count_nonzero(values >= 1 << BRIGHT_BITS) >= values.size * BRIGHT_SHARE:
        return
    bits = int(np.quantile(values, 1 - BRIGHT_SHARE)).bit_length()
    raise DataError(
        f"{path}: 16 bits a sample, but the values use the lower {bits} bits only ({bits}-bit data?): the reference's "
        f"reader keeps the upper 8 of 16, which would leave a nearly black image of 0..{(1 << bits) - 1 >> 8}; scale "
        "the values to 8 bits first"
    )


def _read_rgb(path: str | Path) -> tuple[np.ndarray, ImageFormat]:
    content, found = _open(path)
    check_image_format(found, path)
    if found.bits == 16:
        _check_upper_bits(content, path)
    if RGB_FLAG is not None and found.kind == "PNG":
        image = _decode(content, path, RGB_FLAG)
    else:
        image = cv2.cvtColor(_decode(content, path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    _check_size(image, found, path)
    return image, found


def _read_label(path: str | Path) -> tuple[np.ndarray, ImageFormat]:
    content, found = _open(path)
    check_label_format(found, path)
    label = _decode(content, path, cv2.IMREAD_GRAYSCALE)
    if found.palette:
        with Image.open(io.BytesIO(content)) as image:
            indices = np.asarray(ImageOps.exif_transpose(image))
        if not np.array_equal(indices, label):
            raise DataError(
                f"{path}: a palette image, expected a single-channel label of class indices; write the palette's "
                "indices into a grey PNG (Pillow: numpy.array(Image.open(FILE)) are the indices)"
            )
    elif found.channels > 2 and (_decode(content, path, cv2.IMREAD_COLOR) != label[:, :, None]).any():
        raise DataError(f"{path}: a colour image, expected a single-channel label of class indices")
    _check_size(label, found, path)
    return label, found


def read_rgb(path: str | Path) -> np.ndarray:
    """Reads an image as uint8 [H, W, 3], RGB.

    Of 16-bit samples the upper 8 bits are kept, as in the reference.

    Raises:
        DataError: missing, empty, truncated or undecodable file, or one that claims more than `image_size.MAX_PIXELS`;
            what `check_image_format` refuses; 16-bit samples whose upper bits are hardly used.
    """
    return _read_rgb(path)[0]


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image as float32 [H, W, 3], RGB 0..255.

    Raises:
        DataError: see `read_rgb`.
    """
    return np.float32(read_rgb(path))


def read_label(path: str | Path) -> np.ndarray:
    """Reads a label as uint8 [H, W], class indices.

    The reference reads labels as grey images, so it silently turns the colours of a palette or RGB file into brightness
    and the indices of a 16-bit or 1 to 4-bit file into scaled ones; these are errors here.

    Raises:
        DataError: missing, empty, truncated, undecodable or too large file; what `check_label_format` refuses; colours,
            or a palette whose indices are not its grey levels.
    """
    return _read_label(path)[0]


def check_label_values(label: np.ndarray, classes: int, ignore_index: int, path: str | Path) -> None:
    """Raises DataError when a label holds values outside 0..classes-1 that are not `ignore_index`.

    Args:
        label: uint8 [H, W].
        classes: number of classes.
        ignore_index: value of unlabelled pixels.
        path: the label's file, for the message.
    """
    refused = ((classes, min(ignore_index - 1, 255)), (max(ignore_index + 1, classes), 255))
    if not any(low <= high and cv2.countNonZero(cv2.inRange(label, low, high)) for low, high in refused):
        return
    counts = np.bincount(label.ravel(), minlength=classes)
    offending = [int(v) for v in np.flatnonzero(counts) if v >= classes and v != ignore_index]
    shown = ", ".join(map(str, offending[:8])) + (", ..." if len(offending) > 8 else "")
    hint = ""
    if classes == 19 and offending[-1] < CITYSCAPES_LABEL_IDS:
        hint = "; labelIds instead of trainIds? Cityscapes labels are *_gtFine_labelTrainIds.png"
    elif offending == [classes]:
        hint = "; are the classes counted from 1? they count from 0"
    elif offending == [255]:
        hint = "; where a mask of 0 and 255 is meant, write class indices (255 -> 1), else see data.ignore_index"
    share = int(counts[offending].sum()) / label.size
    expected = f"0..{classes - 1} or {ignore_index} (ignored)"
    raise DataError(f"{path}: values {shown} ({share:.1%} of the pixels), expected {expected}{hint}")


def read_pair(
    image_path: str | Path, label_path: str | Path, classes: int | None = None, ignore_index: int = 255
) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H, W, 3], RGB, and label uint8 [H, W] of a sample.

    Raises:
        DataError: see `read_rgb`, `read_label`, `check_pair_formats` and, with `classes` given, `check_label_values`.
    """
    image, image_found = _read_rgb(image_path)
    label, label_found = _read_label(label_path)
    check_pair_formats(image_found, label_found, (image_path, label_path))
    if classes is not None:
        check_label_values(label, classes, ignore_index, label_path)
    return image, label


class SemData(Dataset):
    """The reference's data set: item = (image, label) after the joint transform.

    Image: float32 [H, W, 3], RGB 0..255. Label: uint8 [H, W]; for split test a grey version of the image, as in the
    reference, which never uses it.

    Args:
        split: train, val or test.
        data_root: folder of the relative paths.
        data_list: list file.
        transform: called as `transform(image, label)`. One with an attribute `takes_uint8` that is true gets the image
            as uint8 [H, W, 3], before the conversion.
        classes: number of classes; given, every label's values are checked.
        ignore_label: value of unlabelled pixels, for that check.

    Raises:
        OptionError, DataError: see `make_dataset` and `check_prepared`; on access see `read_pair`.
    """

    def __init__(
        self,
        split: str,
        data_root: str,
        data_list: str | Path,
        transform: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        classes: int | None = None,
        ignore_label: int = 255,
    ) -> None:
        self.split = split
        self.data_list = make_dataset(split, data_root, data_list)
        if classes is not None:
            check_prepared(data_root, data_list, classes=classes, ignore_index=ignore_label)
        self.transform = transform
        self.classes = classes
        self.ignore_label = ignore_label

    def __len__(self) -> int:
        return len(self.data_list)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.read(index)
        if not getattr(self.transform, "takes_uint8", False):
            image = np.float32(image)
        if self.transform is not None:
            image, label = self.transform(image, label)
        return image, label

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [H, W, 3], RGB, and label uint8 [H, W] of a sample, checked, before the transform."""
        image_path, label_path = self.data_list[index]
        if self.split == "test":
            return read_rgb(image_path), _decode(_open(label_path)[0], label_path, cv2.IMREAD_GRAYSCALE)
        return read_pair(image_path, label_path, self.classes, self.ignore_label)
