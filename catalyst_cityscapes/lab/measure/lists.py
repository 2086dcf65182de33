"""What the list files of a recipe name: lines, missing files, duplicates, images in both lists, and label values."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.dataset_manifest import OTHER_ENCODINGS, check_prepared, read_prepared
from semseg_ref.base.errors import DataError
from semseg_ref.base.image_format import check_pair_formats, read_format
from semseg_ref.dataset import make_dataset, read_image, read_label
from semseg_ref.sampling import evenly_spaced

PART = 1 << 16
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ListFile:
    """One list file.

    Attributes:
        path: of the list.
        lines: samples in it.
        pairs: (image path, label path) a line, joined to the root; read leniently, so that a bad line does not hide
            the rest.
        problem: why the training refuses the list, or None.
        missing: paths of the list that do not exist.
        other_encodings: label paths whose names are those of label ids, instances or colours.
        duplicates: (line, earlier line) of images that are in the list twice, by path or by bytes.
    """

    path: str
    lines: int
    pairs: tuple[tuple[str, str], ...]
    problem: str | None
    missing: tuple[str, ...]
    other_encodings: tuple[str, ...]
    duplicates: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Labels:
    """Every pixel of some labels, evenly spaced over the lists.

    Attributes:
        read: labels that were read.
        pixels: number of pixels by value, int64 [256].
        outside: path -> values that are neither a class nor the ignore index.
        refused: what the reader refuses (colours, palettes, 16 bits, an orientation of one of the two, damaged files),
            one line each.
        sizes: path -> (image size, label size) where the two differ.
        image_sizes: (height, width) of the images beside them.
    """

    read: int
    pixels: np.ndarray
    outside: dict[str, tuple[int, ...]]
    refused: tuple[str, ...]
    sizes: dict[str, tuple[tuple[int, int], tuple[int, int]]]
    image_sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Lists:
    """Both lists of a recipe and some of their labels.

    Attributes:
        train, val: the lists.
        shared: (training image, validation image) that are the same file or the same bytes.
        labels: of some samples of both.
        dataset: name in the manifest of a prepared data set, or None.
    """

    train: ListFile
    val: ListFile
    shared: tuple[tuple[str, str], ...]
    labels: Labels
    dataset: str | None

    @property
    def is_usable(self) -> bool:
        """Whether a training could read its samples."""
        return not (self.train.problem or self.val.problem or self.train.missing or self.val.missing)

    @property
    def is_absent(self) -> bool:
        """No file of either list is there."""
        return all(len(each.missing) >= len({path for pair in each.pairs for path in pair}) for each in self.both)

    @property
    def both(self) -> tuple[ListFile, ListFile]:
        """Training and validation list."""
        return self.train, self.val


def measure_lists(recipe: Recipe, samples: int = 16) -> Lists:
    """Reads both lists and, of `samples` evenly spaced lines of each, the whole label; bad data raises nothing."""
    data = recipe.data
    train, val = (
        _list_file(recipe, split, path) for split, path in (("train", data.train_list), ("val", data.val_list))
    )
    chosen = [pair for each in (train, val) for pair in _spread(each.pairs, samples)]
    try:
        manifest = read_prepared(data.root)
    except DataError:  # said by the lists' own problem
        manifest = None
    return Lists(
        train,
        val,
        _shared([image for image, _ in train.pairs], [image for image, _ in val.pairs]),
        _labels(chosen, data.classes, data.ignore_index),
        None if manifest is None else manifest.get("dataset"),
    )


def _list_file(recipe: Recipe, split: str, path: str) -> ListFile:
    data, problem = recipe.data, None
    try:
        make_dataset(split, data.root, path)
        check_prepared(data.root, path, classes=data.classes, ignore_index=data.ignore_index)
    except DataError as error:
        problem = str(error)
    lines = _lines(path)
    pairs = tuple((os.path.join(data.root, f[0]), os.path.join(data.root, f[-1])) for f in lines)
    missing = [p for p in dict.fromkeys(p for pair in pairs for p in pair) if not os.path.isfile(p)]
    return ListFile(
        path,
        len(pairs),
        pairs,
        problem,
        tuple(missing),
        tuple(label for _, label in pairs if label.endswith(OTHER_ENCODINGS)),
        _duplicates([image for image, _ in pairs]),
    )


def _lines(path: str) -> list[list[str]]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    return [line.split() for line in text.splitlines() if line.strip()]


def _spread(pairs: Pairs, count: int) -> list[tuple[str, str]]:
    there = [pair for pair in pairs if all(map(os.path.isfile, pair))]
    return [there[i] for i in evenly_spaced(len(there), min(count, len(there)))] if there else []


def _same_files(paths: Iterable[str]) -> dict[str, str]:
    """Path -> one name for each different content; files of one size are compared by parts of their bytes."""
    real = {path: os.path.realpath(path) for path in paths if os.path.isfile(path)}
    by_size: dict[int, set[str]] = {}
    for target in real.values():
        by_size.setdefault(os.path.getsize(target), set()).add(target)
    names = {}
    for targets in by_size.values():
        for target in targets:
            names[target] = target if len(targets) == 1 else _digest(target)
    return {path: names[target] for path, target in real.items()}


def _digest(path: str) -> str:
    # Two parts tell compressed images apart; whole files of a data set would take minutes.
    with open(path, "rb") as file:
        head = file.read(PART)
        file.seek(max(os.path.getsize(path) // 2, 0))
        return hashlib.sha256(head + file.read(PART)).hexdigest()


def _duplicates(images: Sequence[str]) -> tuple[tuple[int, int], ...]:
    names, first, found = _same_files(images), {}, []
    for number, image in enumerate(images, start=1):
        name = names.get(image, image)
        if name in first:
            found.append((number, first[name]))
        first.setdefault(name, number)
    return tuple(found)


def _shared(train: Sequence[str], val: Sequence[str]) -> tuple[tuple[str, str], ...]:
    names = _same_files([*train, *val])
    in_train = {names.get(image, os.path.normpath(image)): image for image in train}
    found = ((in_train.get(names.get(image, os.path.normpath(image))), image) for image in dict.fromkeys(val))
    return tuple((other, image) for other, image in found if other is not None)


def _labels(pairs: Pairs, classes: int, ignore_index: int) -> Labels:
    pixels, outside, refused, sizes = np.zeros(256, np.int64), {}, [], {}
    image_sizes, read = {}, 0
    for image, path in pairs:
        try:
            label = read_label(path)
            size = _image_size(image)
            if size == label.shape:
                check_pair_formats(read_format(image), read_format(path), (image, path))
        except DataError as error:
            refused.append(str(error))
            continue
        read += 1
        image_sizes[size] = None
        if size != label.shape:
            sizes[path] = (size, label.shape)
        counts = np.bincount(label.ravel(), minlength=256)
        pixels += counts
        stray = tuple(int(v) for v in np.flatnonzero(counts) if v >= classes and v != ignore_index)
        if stray:
            outside[path] = stray
    return Labels(read, pixels, outside, tuple(refused), sizes, tuple(image_sizes))


def _image_size(path: str) -> tuple[int, int]:
    # A reduced decoding would be quicker, but a truncated image shows only in the full one.
    height, width = read_image(path).shape[:2]
    return height, width
