"""Tables of trainings to come: models x crops x lengths x processes, from a file or from options.

A YAML table, in which every key but `model` may be absent and one value stands for a list of it:

model: [mmseg/pspnet_r50_769, mmseg/hrnet_w48_512x1024]   # recipes, shipped or files
crop: [published, 512x512]      # height x width; published: as the recipe has it
length: [published, 40000]      # optimiser steps, or `200 epochs`
processes: [1, 4]               # that train it
images: 2                       # a step in each of them; without: the recipe's batch, dealt out
overlay: [swap/mmseg/no_sync_bn]  # laid on every job, in order
set: [optimizer.lr=0.0025]      # likewise, last
name: small                     # of the file, without its ending; for a row of one job
rows:                           # tables of their own, which take the keys above where they do not give them
  - {crop: 512x512, overlay: [swap/mmseg/crop_512]}

A CSV table has one job a line, under a line of these keys; a cell of `overlay` holds words, one of `set` holds settings
between semicolons, and an empty one is as an absent key. Lines that begin with # are notes.
"""

import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalyst_cityscapes.recipe.loading import find_config, read_yaml
from catalyst_cityscapes.recipe.places import CONFIGS
from semseg_ref.base.errors import InputError, did_you_mean

KEYS = ("model", "crop", "length", "processes", "images", "overlay", "set", "name")
AXES = ("model", "crop", "length", "processes", "images")
"""Keys whose values multiply, in the order of the jobs and of the names."""
PUBLISHED = "published"
CROP = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
LENGTH = re.compile(r"([1-9]\d{0,8})( iterations| epochs)?")
NAME = re.compile(r"[\w-][\w.-]{0,119}")
MOST_JOBS = 1000


@dataclass(frozen=True)
class Job:
    """One training of a table, before its recipe is known.

    Attributes:
        place: where it stands, for messages: `jobs.csv: line 3`.
        model: recipe that it starts from, as it was written.
        crop: (height, width) in pixels; None: the recipe's.
        length: (`iterations` or `epochs`, how many); None: the recipe's.
        processes: that train it; None: not said.
        images: a step in each process; None: the recipe's batch dealt out.
        overlays, settings: laid on the recipe, in order.
        name: given to it, or None.
    """

    place: str
    model: str
    crop: tuple[int, int] | None = None
    length: tuple[str, int] | None = None
    processes: int | None = None
    images: int | None = None
    overlays: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    name: str | None = None


def find_table(name: str) -> Path:
    """A table by its path, or the name of a shipped one (`tables/mmseg-replication`).

    Raises:
        InputError: there is none, with the nearest shipped one.
    """
    shipped = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob("tables/*.csv"))
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.csv"):
        if path.is_file():
            return path
    wanted = name.removesuffix(".csv") + ".csv"
    raise InputError(f"{name}: no such table{did_you_mean(wanted, shipped)}")


def read_table(name: str) -> list[Job]:
    """The jobs of a YAML or CSV table, in its order.

    Raises:
        InputError: no such table, an unknown key, a value of another form, no model, or more than `MOST_JOBS` jobs.
    """
    path = find_table(name)
    if path.suffix == ".csv":
        return [job for place, row in _csv_rows(path, name) for job in jobs_of(row, place)]
    content = read_yaml(path)
    rows = content.pop("rows", [{}])
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{name}: rows: expected a list of tables, each a mapping of {', '.join(KEYS)}")
    _check_keys(content, name, (*KEYS, "rows"))
    jobs = []
    for index, row in enumerate(rows):
        place = f"{name}: rows[{index}]" if rows != [{}] else name
        jobs += jobs_of({**content, **row}, place)
        if len(jobs) > MOST_JOBS:
            raise InputError(f"{name}: more than {MOST_JOBS} jobs")
    return jobs


def _csv_rows(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not readable as text: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if len(lines) < 2:
        raise InputError(f"{name}: no job; expected a line of keys ({', '.join(KEYS)}), then a job a line")
    if len(lines) > MOST_JOBS:
        raise InputError(f"{name}: more than {MOST_JOBS} jobs")
    reader = csv.reader(line for _, line in lines)
    keys = [key.strip() for key in next(reader)]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise InputError(
                f"{name}: line {lines[0][0]}: {key or 'an empty key'}: there twice; expected each key once"
            )
    for (number, _), cells in zip(lines[1:], reader, strict=True):
        place = f"{name}: line {number}"
        if len(cells) != len(keys):
            raise InputError(f"{place}: {len(cells)} cells under {len(keys)} keys")
        row: dict[str, Any] = {key: cell.strip() for key, cell in zip(keys, cells, strict=True) if cell.strip()}
        for key, separator in (("overlay", None), ("set", ";")):
            if key in row:
                row[key] = [part.strip() for part in row[key].split(separator) if part.strip()]
        yield place, row


def jobs_of(row: Mapping[str, Any], place: str) -> list[Job]:
    """All combinations of a row's values, in the order of `AXES`, the last one fastest.

    Args:
        row: values of `KEYS`, each one value or a list.
        place: what messages call the row.

    Raises:
        InputError: see `read_table`.
    """
    _check_keys(row, place, KEYS)
    values = {key: _listed(row.get(key), f"{place}: {key}") for key in KEYS}
    if not values["model"]:
        raise InputError(f"{place}: model: missing; give a recipe, e.g. mmseg/pspnet_r50_769")
    counts = [max(len(values[key]), 1) for key in AXES]
    total = 1
    for count in counts:
        total *= count
    if total > MOST_JOBS:
        raise InputError(f"{place}: {' x '.join(map(str, counts))} is more than {MOST_JOBS} jobs")
    if values["name"] and (total > 1 or len(values["name"]) > 1):
        raise InputError(f"{place}: name: {values['name'][0]}: names one job, this row makes {total}")
    parsed = [
        [_model(value, f"{place}: model") for value in values["model"]],
        [_crop(value, f"{place}: crop") for value in values["crop"]],
        [_length(value, f"{place}: length") for value in values["length"]],
        *([_count(value, f"{place}: {key}") for value in values[key]] for key in ("processes", "images")),
    ]
    overlays = tuple(_model(value, f"{place}: overlay") for value in values["overlay"])
    settings = tuple(map(str, values["set"]))
    name = _name(values["name"][0], place) if values["name"] else None
    jobs = []
    for model, crop, length, processes, images in itertools.product(*(axis or [None] for axis in parsed)):
        if images is not None and processes is None:
            raise InputError(f"{place}: images: {images}: of how many processes? Give processes too")
        jobs.append(Job(place, model, crop, length, processes, images, overlays, settings, name))
    return jobs


def _check_keys(row: Mapping[Any, Any], place: str, valid: Sequence[str]) -> None:
    for key in row:
        if key not in valid:
            raise InputError(f"{place}: {key}: unknown key{did_you_mean(str(key), valid)}")


def _listed(value: Any, place: str) -> list[Any]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    for each in values:
        if isinstance(each, (dict, list)) or each is None or (isinstance(each, str) and not each.strip()):
            raise InputError(f"{place}: {each!r}: expected a word or a number")
    return values


def _model(value: Any, place: str) -> str:
    try:
        find_config(str(value))
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    return str(value)


def _crop(value: Any, place: str) -> tuple[int, int] | None:
    if value == PUBLISHED:
        return None
    found = CROP.fullmatch(str(value))
    if found is None:
        raise InputError(f"{place}: {value!r}: expected HEIGHTxWIDTH, e.g. 512x1024, or {PUBLISHED}")
    return int(found[1]), int(found[2])


def _length(value: Any, place: str) -> tuple[str, int] | None:
    if value == PUBLISHED:
        return None
    found = None if isinstance(value, bool) else LENGTH.fullmatch(str(value))
    if found is None:
        raise InputError(f"{place}: {value!r}: expected optimiser steps, e.g. 40000, '200 epochs', or {PUBLISHED}")
    return (found[2] or " iterations").strip(), int(found[1])


def _count(value: Any, place: str) -> int | None:
    if value == PUBLISHED:
        return None
    if isinstance(value, (bool, float)) or not re.fullmatch(r"[1-9]\d{0,4}", str(value)):
        raise InputError(f"{place}: {value!r}: expected a whole number >= 1, or {PUBLISHED}")
    return int(value)


def _name(value: Any, place: str) -> str:
    if not NAME.fullmatch(str(value)):
        raise InputError(f"{place}: name: {value!r}: expected letters, digits, '_', '-' and '.', 120 at most")
    return str(value)
