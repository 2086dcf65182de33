"""What a prepared folder holds: the manifest, the journal of an unfinished preparation, and the check against them."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from catalyst_cityscapes.prepare.files import digest
from catalyst_cityscapes.prepare.label_image import decode_indices, values_of
from semseg_ref.base.dataset_manifest import ID_SPACE, MANIFEST, OTHER_ENCODINGS, read_prepared
from semseg_ref.base.errors import DataError
from semseg_ref.base.parallel import Progress, run_parallel

FORMAT = 1
JOURNAL = "prepared.unfinished.jsonl"
CITYSCAPES_LABEL_IDS = 34


class LabelRecord(NamedTuple):
    """One finished label file: its checksum, and the checksum of what it was made from."""

    sha256: str
    bytes: int
    height: int
    width: int
    source_sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of `prepared.json`; equal folders give equal bytes, so it holds no dates and no places.

    Attributes:
        dataset: name of the data set.
        classes, ignore_index: label values are 0..classes-1 and ignore_index.
        complete: whether the counts are those of the published data set.
        names, colors: the tables of class names and colours, files of the catalog or below the root.
        counts: lines of each list, by its name without folder and ending.
        lists: SHA-256 of each list file, by path.
        images: bytes of each image, by path.
        labels: record of each label image, by path.
        id_space: always train ids.
        format: version of this layout.
    """

    dataset: str
    classes: int
    ignore_index: int
    complete: bool
    names: str
    colors: str
    counts: dict[str, int]
    lists: dict[str, str]
    images: dict[str, int]
    labels: dict[str, LabelRecord]
    id_space: str = ID_SPACE
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        """JSON with sorted keys."""
        content = asdict(self) | {"labels": {name: record._asdict() for name, record in self.labels.items()}}
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def read_manifest(root: Path) -> Manifest | None:
    """The manifest of a folder, or None where there is none.

    Raises:
        DataError: it is damaged or of another version.
    """
    content = read_prepared(root)
    if content is None:
        return None
    if content.get("format") != FORMAT:
        raise DataError(
            f"{root / MANIFEST}: format {content.get('format')!r}, expected {FORMAT}; "
            "remove the file and run catalyst-dl prepare again"
        )
    try:
        labels = {name: LabelRecord(**record) for name, record in content["labels"].items()}
        return Manifest(**(content | {"labels": labels}))
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{root / MANIFEST}: damaged manifest ({error}); remove the file and run catalyst-dl prepare again"
        ) from error


class Journal:
    """Records of finished labels, one line each, written as they finish; removed when the manifest stands."""

    def __init__(self, root: Path) -> None:
        self.path = root / JOURNAL
        self.known = dict(self._read())
        self._file = self.path.open("a", encoding="utf-8")

    def _read(self) -> Iterator[tuple[str, LabelRecord]]:
        if not self.path.is_file():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            # The line that a killed run was writing may be cut short; its label is then checked pixel by pixel.
            try:
                name, *values = json.loads(line)
                yield name, LabelRecord(*values)
            except (ValueError, TypeError, RecursionError):
                continue

    def add(self, name: str, record: LabelRecord) -> None:
        """Writes one line, at once."""
        if self.known.get(name) != record:
            # Starts with a line break: the line before may have been cut short.
            self._file.write("\n" + json.dumps([name, *record]))
            self._file.flush()

    def close(self, finished: bool) -> None:
        """Closes the file, and removes it when the preparation is finished or did nothing."""
        self._file.close()
        if finished or not self.path.stat().st_size:
            self.path.unlink(missing_ok=True)


class _Check(NamedTuple):
    root: Path
    name: str
    record: LabelRecord
    classes: int
    ignore_index: int


def check_folder(root: Path, dataset: str, workers: int, progress: Progress) -> tuple[Manifest, list[str]]:
    """Compares a prepared folder with its manifest; writes nothing.

    Every label is read whole (checksum and values), images are compared by size.

    Returns:
        The manifest, and what is wrong, one line a file: missing, changed, wrong id space, values out of range.

    Raises:
        DataError: no manifest, a damaged one, or one of another data set.
    """
    manifest = read_manifest(root)
    if manifest is None:
        raise DataError(f"{root}: no {MANIFEST} to check against; run catalyst-dl prepare {dataset} first")
    if manifest.dataset != dataset:
        raise DataError(f"{root / MANIFEST}: this is {manifest.dataset}, not {dataset}")
    problems = []
    if manifest.id_space != ID_SPACE:
        problems.append(f"{MANIFEST}: the labels are '{manifest.id_space}', expected '{ID_SPACE}'")
    for name, sha256 in manifest.lists.items():
        problems.extend(_list_problems(root, name, sha256, manifest))
    for name, size in manifest.images.items():
        path = root / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.stat().st_size != size:
            problems.append(f"{name}: changed, {path.stat().st_size} bytes, expected {size}")
    tasks = [
        _Check(root, name, record, manifest.classes, manifest.ignore_index) for name, record in manifest.labels.items()
    ]
    found = {task.name: problem for task, problem in run_parallel(_label_problem, tasks, workers, "checking", progress)}
    problems.extend(found[task.name] for task in tasks if found[task.name])
    return manifest, problems


def _list_problems(root: Path, name: str, sha256: str, manifest: Manifest) -> Iterator[str]:
    path = root / name
    if not path.is_file():
        yield f"{name}: missing"
        return
    content = path.read_bytes()
    if digest(content) == sha256:
        return
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        for field in line.split(" ")[1:]:
            if field not in manifest.labels:
                hint = ", which is no image of train ids" if field.endswith(OTHER_ENCODINGS) else ""
                known = len(manifest.labels)
                yield f"{name}, line {number}: names {field}{hint}, not one of the {known} prepared labels"
                return
    yield f"{name}: changed"


def _label_problem(task: _Check) -> str | None:
    path = task.root / task.name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return f"{task.name}: missing"
    except OSError as error:
        return f"{task.name}: cannot be read ({error.strerror})"
    is_changed = digest(content) != task.record.sha256
    try:
        label = decode_indices(content, task.name)
    except DataError as error:
        return str(error)
    problem = value_problem(values_of(label), task.classes, task.ignore_index)
    if problem:
        return f"{task.name}: {problem}"
    if label.shape != (task.record.height, task.record.width):
        return f"{task.name}: {label.shape[0]} x {label.shape[1]}, expected {task.record.height} x {task.record.width}"
    return f"{task.name}: changed since the preparation (checksum)" if is_changed else None


def value_problem(values: list[int], classes: int, ignore_index: int) -> str | None:
    """What is wrong with the values of a label, or None."""
    offending = [value for value in values if value >= classes and value != ignore_index]
    if not offending:
        return None
    shown = ", ".join(map(str, offending[:8])) + (", ..." if len(offending) > 8 else "")
    hint = ""
    if classes == 19 and offending[-1] < CITYSCAPES_LABEL_IDS:
        hint = "; labelIds instead of trainIds?"
    return f"values {shown}, expected 0..{classes - 1} or {ignore_index}{hint}"
