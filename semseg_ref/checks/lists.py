"""What can be seen of a list's images and labels before the first step of a training: formats, names, class values.

`check_list` asks whether the files are there. Here every file's header is read, and as many labels as it takes to see
the classes; a fault that would spoil a training shows now and not after an epoch, or never.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semseg_ref.base.errors import DataError
from semseg_ref.base.image_format import (
    ImageFormat,
    check_image_format,
    check_label_format,
    check_pair_formats,
    read_format,
)
from semseg_ref.dataset import check_label_values, make_dataset, read_label, read_rgb
from semseg_ref.evaluation import output_names
from semseg_ref.sampling import evenly_spaced

LABELS = 32
"""Labels that are read at least, unless all classes have been seen before."""
MOST_LABELS = 4096
"""Labels that are read at most, in search of a second class."""
DEEP_IMAGES = 4
"""Images of 16 bits a sample that are decoded, to see how many of the bits are in use."""

Pairs = Sequence[tuple[str, str]]


def check_formats(pairs: Pairs, data_list: str | Path) -> list[str]:
    """Reads the headers of all images and labels of a list.

    Args:
        pairs: `make_dataset`'s result for train or val; position + 1 is the line number.
        data_list: name for the messages.

    Returns:
        Warnings.

    Raises:
        DataError: what `check_image_format`, `check_label_format` or `check_pair_formats` refuse, and 16-bit images
            whose upper bits are hardly used; names the line.
    """
    deep = []
    for number, paths in enumerate(pairs, start=1):
        try:
            image, label = (read_format(path) for path in paths)
            try:
                check_image_format(image, paths[0])
                check_label_format(label, paths[1])
                check_pair_formats(image, label, paths)
            except DataError as error:
                raise DataError(f"{error}{_swapped(image, label)}") from error
            if image.bits == 16:
                deep.append(paths[0])
                if len(deep) <= DEEP_IMAGES:
                    read_rgb(paths[0])
        except DataError as error:
            raise DataError(f"{data_list}, line {number}: {error}") from error
    if not deep:
        return []
    return [
        f"{data_list}: {len(deep)} of {len(pairs)} images have 16 bits a sample, of which the upper 8 are read, as in "
        f"the reference; first {deep[0]}"
    ]


def _swapped(image: ImageFormat, label: ImageFormat) -> str:
    is_photo = label.kind == "JPEG" or (label.channels > 2 and not label.palette)
    is_mask = image.kind != "JPEG" and (image.channels == 1 or image.palette)
    return "; are the two columns swapped? a line is `image label`" if is_photo and is_mask else ""


@dataclass(frozen=True)
class LabelLook:
    """What was seen in labels of a list.

    Attributes:
        pixels: number of pixels by value, int64 [256].
        read, total: labels that were read, and those of the list.
    """

    pixels: np.ndarray
    read: int
    total: int


def look_at_labels(pairs: Pairs, classes: int, ignore_index: int, data_list: str | Path) -> LabelLook:
    """Reads labels, evenly spaced over the list, until all classes have been seen or `LABELS` have been read.

    While only one class has been seen, it goes on, up to `MOST_LABELS`.

    Args:
        pairs: see `check_formats`.
        classes: number of classes.
        ignore_index: value of unlabelled pixels.
        data_list: name for the messages.

    Raises:
        DataError: see `read_label` and `check_label_values`; names the line.
    """
    pixels, read = np.zeros(256, np.int64), 0
    for position in _spread(len(pairs)):
        seen = np.count_nonzero(pixels[:classes])
        if seen == classes or (read >= LABELS and seen > 1) or read == MOST_LABELS:
            break
        path = pairs[position][1]
        try:
            label = read_label(path)
            check_label_values(label, classes, ignore_index, path)
        except DataError as error:
            raise DataError(f"{data_list}, line {position + 1}: {error}") from error
        pixels += np.bincount(label.ravel(), minlength=256)
        read += 1
    return LabelLook(pixels, read, len(pairs))


def _spread(size: int) -> Iterator[int]:
    first = evenly_spaced(size, min(size, LABELS))
    yield from first
    yield from sorted(set(range(size)) - set(first))


def judge_labels(look: LabelLook, classes: int, ignore_index: int, data_list: str | Path, trained: bool) -> list[str]:
    """Warnings about what labels hold.

    Args:
        look: `look_at_labels`' result.
        classes: number of classes.
        ignore_index: value of unlabelled pixels.
        data_list: name for the messages.
        trained: whether the list is the training's.

    Raises:
        DataError: a training list with one single class beside ignored pixels: masks of 0 and 255, most likely.
    """
    seen = np.flatnonzero(look.pixels[:classes])
    share = look.pixels[ignore_index] / max(look.pixels.sum(), 1)
    where = f"{data_list}: in {look.read} of its {look.total} labels"
    if not len(seen):
        return [f"{where} no pixel has a class, all are {ignore_index} (data.ignore_index)"]
    if len(seen) == 1 and share:
        message = (
            f"{where} class {seen[0]} is the only one of {classes}, and {share:.1%} of the pixels are {ignore_index}, "
            f"which is ignored (data.ignore_index)"
        )
        if trained:
            raise DataError(
                f"{message}, so there is nothing to learn; if {ignore_index} is meant as a class, as in a mask of 0 "
                "and 255, write the class's index in its place (255 -> 1)"
            )
        return [message]
    if len(seen) == classes - 1 and share and look.read == look.total:
        missing = (set(range(classes)) - set(seen.tolist())).pop()
        return [
            f"{where} class {missing} never occurs, and {share:.1%} of the pixels are {ignore_index}, which is ignored "
            "(data.ignore_index); does one mean the other?"
        ]
    return []


def check_names(pairs: Pairs, data_list: str | Path) -> list[str]:
    """Warns of labels that belong to several images; see `output_names` for what is refused.

    Args:
        pairs: of a list to be tested.
        data_list: name for the messages.

    Raises:
        DataError: two images whose predictions would overwrite each other.
    """
    try:
        output_names(pairs)
    except DataError as error:
        raise DataError(f"{data_list}: {error}") from error
    return shared_labels(pairs, data_list)


def shared_labels(pairs: Pairs, data_list: str | Path) -> list[str]:
    """A warning where different images of a list have one label."""
    owners: dict[str, tuple[int, str]] = {}
    for number, (image, label) in enumerate(pairs, start=1):
        first, owner = owners.setdefault(label, (number, image))
        if owner != image:
            return [f"{data_list}: lines {first} and {number} give two images the same label, {label}"]
    return []


def shared_images(train: Pairs, val: Pairs, val_list: str | Path) -> list[str]:
    """A warning where images of the validation list are trained on, by their paths."""
    trained = {os.path.realpath(image) for image, _ in train}
    both = [image for image, _ in val if os.path.realpath(image) in trained]
    if not both:
        return []
    return [f"{val_list}: {len(both)} of {len(val)} images are in the training list too, first {both[0]}"]


def check_training_lists(
    train: Pairs,
    train_list: str | Path,
    data_root: str,
    val_list: str | Path,
    classes: int,
    ignore_index: int,
    test_list: str | Path | None = None,
) -> list[str]:
    """All of the above for a training, before its first step.

    The validation list is looked at although the training may not read it, since a test will follow; its files only
    where they are there.

    Args:
        train: pairs of the training list; the files exist.
        train_list, val_list: the list files; the latter may be missing.
        data_root: folder of the relative paths.
        classes: number of classes.
        ignore_index: value of unlabelled pixels.
        test_list: of images without labels, or None; may be missing or empty.

    Returns:
        Warnings.

    Raises:
        DataError: see the functions above, and `make_dataset`.
    """
    notes = [*check_formats(train, train_list), *shared_labels(train, train_list)]
    look = look_at_labels(train, classes, ignore_index, train_list)
    notes += judge_labels(look, classes, ignore_index, train_list, trained=True)
    if test_list is not None and os.path.isfile(test_list) and os.path.getsize(test_list):
        check_names(make_dataset("test", data_root, test_list), test_list)
    if not os.path.isfile(val_list):
        return notes
    val = make_dataset("val", data_root, val_list)
    notes += [*check_names(val, val_list), *shared_images(train, val, val_list)]
    if all(os.path.isfile(path) for pair in val for path in pair):
        notes += check_formats(val, val_list)
        look = look_at_labels(val, classes, ignore_index, val_list)
        notes += judge_labels(look, classes, ignore_index, val_list, trained=False)
    return notes
