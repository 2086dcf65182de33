"""From a plan (which file becomes which) to a prepared folder with lists and manifest."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from catalyst_cityscapes.prepare.files import digest, place_file, remove_drafts, write_file
from catalyst_cityscapes.prepare.label_image import decode_indices, encode_png, image_size, values_of
from catalyst_cityscapes.prepare.manifest import Journal, LabelRecord, Manifest, read_manifest
from semseg_ref.base.dataset_manifest import MANIFEST
from semseg_ref.base.errors import DataError
from semseg_ref.base.parallel import Progress, run_parallel

IGNORE_INDEX = 255
Render = Callable[[bytes, Path], np.ndarray]
"""Content and path of a label's source -> train ids, uint8 [H, W]; defined at the top of a module."""


class Sample(NamedTuple):
    """An image and its label; names are relative to the prepared root.

    Attributes:
        image: name of the image.
        image_source: file to put there, None where it is there already.
        label: name of the label to make; None: the image has none.
        label_source: file to make it from.
    """

    image: str
    image_source: Path | None = None
    label: str | None = None
    label_source: Path | None = None


class ListFile(NamedTuple):
    """A list file: name, samples, how many the published data set has (None: any), whether labels are listed."""

    name: str
    samples: list[Sample]
    expected: int | None
    with_labels: bool = True

    @property
    def key(self) -> str:
        """Name without folder and ending."""
        return Path(self.name).stem

    def to_bytes(self) -> bytes:
        """The reference's format, `image label` with one space, sorted."""
        lines = [f"{sample.image} {sample.label}" if self.with_labels else sample.image for sample in self.samples]
        return "".join(f"{line}\n" for line in sorted(lines)).encode()


@dataclass(frozen=True)
class Plan:
    """What a data set's preparation consists of.

    Attributes:
        dataset: its name.
        classes: number of classes.
        render: makes train ids from a label's source.
        lists: the list files; their samples together are what is prepared.
        source: the folder, for messages.
        names, colors: files of the catalog, or of `tables`.
        tables: more files to write, by name.
    """

    dataset: str
    classes: int
    render: Render
    lists: list[ListFile]
    source: Path
    names: str
    colors: str
    tables: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a preparation did, for the user to read."""

    manifest: Manifest
    labels: Counter
    """How many labels were kept, made, repaired (damaged before), replaced (other pixels before)."""
    notes: list[str]


class _Task(NamedTuple):
    render: Render
    source: Path
    image: Path
    target: Path
    known: LabelRecord | None


def check_counts(plan: Plan, allow_partial: bool) -> bool:
    """Whether the lists have the published lengths.

    Raises:
        DataError: they have not and `allow_partial` is False; or there is nothing at all.
    """
    wrong = [entry for entry in plan.lists if entry.expected is not None and len(entry.samples) != entry.expected]
    if not any(entry.samples for entry in plan.lists):
        raise DataError(f"{plan.source}: no images found")
    if wrong and not allow_partial:
        found = ", ".join(f"{entry.key} {len(entry.samples)} (expected {entry.expected})" for entry in wrong)
        raise DataError(
            f"{plan.source}: not the whole of {plan.dataset}: {found}; unpack the missing files, "
            "or give --allow-partial for a subset"
        )
    return not wrong


def carry_out(plan: Plan, root: Path, workers: int, allow_partial: bool, progress: Progress) -> Outcome:
    """Places images, makes labels, writes lists and then the manifest; what is finished stays untouched.

    A label counts as finished when manifest or journal know it with the checksum that it has, made from the source
    that there is; any other label image that stands there is compared pixel by pixel with what it should be.

    Raises:
        DataError: counts (see `check_counts`), a source or an image that cannot be used, a size that differs.
    """
    complete = check_counts(plan, allow_partial)
    earlier = read_manifest(root)
    if earlier is not None and earlier.dataset != plan.dataset:
        raise DataError(f"{root / MANIFEST}: {root} holds {earlier.dataset}; give another folder with --to")
    samples = list(dict.fromkeys(sample for entry in plan.lists for sample in entry.samples))
    _check_names(samples)
    images = {sample.image: sample for sample in samples}.values()
    place_files([(s.image_source, root / s.image) for s in images if s.image_source], workers, progress)

    labelled = {sample.label: sample for sample in samples if sample.label is not None}
    remove_drafts({(root / name).parent for name in labelled})
    journal = Journal(root)
    known = (earlier.labels if earlier else {}) | journal.known
    tasks = {
        root / name: _Task(plan.render, sample.label_source, root / sample.image, root / name, known.get(name))
        for name, sample in sorted(labelled.items())
    }
    done: Counter = Counter()
    notes, records = [], {}
    finished = False
    try:
        for task, (what, record) in run_parallel(_make_label, list(tasks.values()), workers, "labels", progress):
            name = task.target.relative_to(root).as_posix()
            records[name] = record
            if record != task.known:
                journal.add(name, record)
            done[what] += 1
            if what in ("repaired", "replaced"):
                why = "was damaged" if what == "repaired" else "held other values than its source"
                notes.append(f"{name} {why}, made anew")
        manifest = _finish(plan, root, complete, samples, records, notes)
        finished = True
    finally:
        journal.close(finished)
    return Outcome(manifest, done, sorted(notes))


def _check_names(samples: list[Sample]) -> None:
    for sample in samples:
        for name in (sample.image, sample.label or ""):
            if name.startswith("/") or ".." in name.split("/"):
                raise DataError(f"{name}: a path that may leave the prepared folder; is this the official data set?")
            if any(character.isspace() for character in name):
                raise DataError(
                    f"{name}: white space in a path, which the list format (image label) cannot hold; rename it"
                )


def place_files(pairs: list[tuple[Path, Path]], workers: int, progress: Progress) -> None:
    """Puts each (source, target) in place, see `place_file`."""
    if pairs:
        remove_drafts({target.parent for _, target in pairs})
        for _ in run_parallel(_place, pairs, workers, "images", progress):
            pass


def _place(pair: tuple[Path, Path]) -> bool:
    return place_file(*pair)


def _make_label(task: _Task) -> tuple[str, LabelRecord]:
    """Makes one label or keeps it: ('kept' | 'made' | 'repaired' | 'replaced', record)."""
    size = image_size(task.image)
    try:
        source = task.source.read_bytes()
        present = task.target.read_bytes() if task.target.exists() else None
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    source_sha256 = digest(source)
    if task.known is not None and present is not None:
        known = LabelRecord(digest(present), len(present), *size, source_sha256)
        if known == task.known:
            return "kept", known
    label = task.render(source, task.source)
    if label.shape != size:
        raise DataError(
            f"{task.source}: {label.shape[0]} x {label.shape[1]} pixels, but {task.image} has {size[0]} x {size[1]}"
        )
    what = "made"
    if present is not None:
        try:
            what = "kept" if np.array_equal(decode_indices(present, task.target), label) else "replaced"
        except DataError:
            what = "repaired"
    content = present
    if what != "kept":
        content = encode_png(label)
        try:
            write_file(task.target, content)
        except OSError as error:
            raise DataError(f"{task.target}: cannot be written ({error.strerror})") from error
    return what, LabelRecord(digest(content), len(content), *size, source_sha256)


def _finish(
    plan: Plan,
    root: Path,
    complete: bool,
    samples: list[Sample],
    records: dict[str, LabelRecord],
    notes: list[str],
) -> Manifest:
    contents = {entry.name: entry.to_bytes() for entry in plan.lists if entry.samples}
    for name, content in (contents | plan.tables).items():
        note = _write_if_new(root / name, content, keep_old=name in contents)
        if note:
            notes.append(note)
    manifest = Manifest(
        dataset=plan.dataset,
        classes=plan.classes,
        ignore_index=IGNORE_INDEX,
        complete=complete,
        names=plan.names,
        colors=plan.colors,
        counts={entry.key: len(entry.samples) for entry in plan.lists},
        lists={name: digest(content) for name, content in contents.items()},
        images={sample.image: (root / sample.image).stat().st_size for sample in samples},
        labels=records,
    )
    _write_if_new(root / MANIFEST, manifest.to_bytes(), keep_old=False)
    return manifest


def _write_if_new(path: Path, content: bytes, keep_old: bool) -> str | None:
    """Writes a file unless it is there with that content; a list of the user's own is kept beside it."""
    present = path.read_bytes() if path.is_file() else None
    if present == content:
        return None
    note = None
    if present is not None and keep_old:
        old = path.with_name(path.name + ".old")
        write_file(old, present)
        note = f"{path.name} had other lines or another order; the old one is now {old.name}"
    write_file(path, content)
    return note


def recode(content: bytes, path: Path, table: tuple[int, ...], expected: str) -> np.ndarray:
    """A label image with its values replaced: `table[value]`, -1 for values that must not occur.

    Args:
        content: a PNG file of one byte a pixel.
        path: its path, for messages.
        table: 256 train ids.
        expected: the allowed values in words, for the message.

    Raises:
        DataError: cannot be decoded, or holds other values.
    """
    label = decode_indices(content, path)
    offending = [value for value in values_of(label) if table[value] < 0]
    if offending:
        shown = ", ".join(map(str, offending[:8])) + (", ..." if len(offending) > 8 else "")
        raise DataError(f"{path}: values {shown}, expected {expected}")
    return np.maximum(np.array(table), 0).astype(np.uint8)[label]


def pair_up(images: list[Path], labels: dict[str, Path], label_of: Callable[[Path], str]) -> list[tuple[Path, Path]]:
    """Each image with its label.

    Args:
        images: image files.
        labels: label sources by key.
        label_of: the key that belongs to an image.

    Raises:
        DataError: an image without label, or a label without image.
    """
    left = dict(labels)
    pairs, alone = [], []
    for image in images:
        label = left.pop(label_of(image), None)
        if label is None:
            alone.append(image)
        else:
            pairs.append((image, label))
    if alone:
        raise DataError(
            f"{alone[0]}: image without label, {label_of(alone[0])} is missing "
            f"({len(alone)} of {len(images)} images have none)"
        )
    if left:
        raise DataError(
            f"{next(iter(left.values()))}: label without image ({len(left)} of {len(labels)} labels have none)"
        )
    return pairs
