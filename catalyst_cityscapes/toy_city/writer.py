"""Toy city on disk: the folders, file names and lists of Cityscapes, built once, resumed when cut short."""

import io
import json
import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from catalyst_cityscapes.toy_city.annotation import paint_labels, polygons_document
from catalyst_cityscapes.toy_city.scene import hidden_annotation, render_scene
from semseg_ref.base.errors import InputError

MANIFEST = "toy_city.json"
UNFINISHED = "toy_city.unfinished.json"
# Raised whenever equal parameters would no longer give equal files.
VERSION = 1
CITIES: dict[str, tuple[str, ...]] = {
    "train": ("alderbruck", "fennstadt", "hollenau", "korvingen", "merzhafen", "ostwyk"),
    "val": ("brennfurt", "lindmar", "talheide"),
    "test": ("dunkelsee", "quellmark", "wiesenport"),
}
MIN_SIDE, MAX_HEIGHT, MAX_WIDTH = 64, 1024, 2048
FRAME = 19
ANNOTATIONS = ("polygons.json", "labelIds.png", "labelTrainIds.png", "instanceIds.png", "color.png")


class Task(NamedTuple):
    """One scene to write: where, which, and how large."""

    root: Path
    split: str
    index: int
    height: int
    width: int
    seed: int


def build_toy_city(
    root: str | os.PathLike[str],
    train: int = 64,
    val: int = 16,
    test: int = 8,
    height: int = 128,
    width: int = 256,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Writes a made-up data set in the layout of Cityscapes, or returns at once where it is already there.

    Below `root`: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` (RGB), `gtFine/<split>/<city>/*_gtFine_` with
    `polygons.json`, `labelIds.png`, `labelTrainIds.png` (both uint8), `instanceIds.png` (16 bit) and `color.png`
    (RGBA), and `list/fine_train.txt`, `list/fine_val.txt` ("image label", the label in train ids) and
    `list/fine_test.txt` (image only), all paths relative to `root`. As in the real data set, the annotation of the
    test split holds nothing but the regions that are never scored. The manifest `toy_city.json` comes last; until
    then a repeated call goes on with the files that are missing.

    Args:
        root: folder to write into; made when missing.
        train, val, test: number of scenes, 0 or more. Every eight in a row hold each rare class at least
            once, though something may stand before it; as a rule 16 scenes of 128 x 256 show all 19 classes.
        height, width: of every picture in pixels, from 64 x 64 to 1024 x 2048.
        seed: 0 or more; equal parameters give equal bytes.
        workers: processes to share the work; no part of the parameters. More than one needs an importable main module.

    Returns:
        `root` as a path.

    Raises:
        InputError: a parameter is out of range, `root` holds another data set or cannot be written.
    """
    given = {"train": train, "val": val, "test": test, "height": height, "width": width, "seed": seed}
    _check(given, workers)
    # Plain integers, so that numpy integers leave the same manifest.
    parameters = {"version": VERSION, **{name: int(value) for name, value in given.items()}}
    folder = Path(root)
    try:
        if _is_built(folder, parameters):
            return folder
        _claim(folder, parameters)
        counts = {split: parameters[split] for split in CITIES}
        tasks = [
            Task(folder, split, index, parameters["height"], parameters["width"], parameters["seed"])
            for split, count in counts.items()
            for index in range(count)
        ]
        _run(tasks, workers)
        for split, count in counts.items():
            lines = "".join(f"{_list_line(split, index)}\n" for index in range(count))
            _replace(folder / "list" / f"fine_{split}.txt", lines.encode())
        _replace(folder / MANIFEST, _to_json({"parameters": parameters, "scenes": sum(counts.values())}))
        (folder / UNFINISHED).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"toy city: cannot write to {folder}: {error}") from error
    return folder


def _check(given: Mapping[str, Any], workers: int) -> None:
    lowest = {"train": 0, "val": 0, "test": 0, "height": MIN_SIDE, "width": MIN_SIDE, "seed": 0, "workers": 1}
    highest = {"height": MAX_HEIGHT, "width": MAX_WIDTH}
    for name, value in {**given, "workers": workers}.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InputError(f"toy city: {name} must be a whole number, not {value!r}")
        if value < lowest[name]:
            raise InputError(f"toy city: {name} is {value}, expected at least {lowest[name]}")
        if name in highest and value > highest[name]:
            raise InputError(f"toy city: {name} is {value}, expected at most {highest[name]}")


def _is_built(folder: Path, parameters: dict[str, int]) -> bool:
    """Whether the folder holds exactly this data set; InputError when it holds another one."""
    path = folder / MANIFEST
    if not path.exists():
        return False
    _compare(path, parameters)
    return True


def _claim(folder: Path, parameters: dict[str, int]) -> None:
    """Marks the folder as being built with these parameters, so that no other build mixes with it."""
    marker = folder / UNFINISHED
    if marker.exists():
        _compare(marker, parameters)
        return
    foreign = [name for name in ("leftImg8bit", "gtFine", "list") if (folder / name).exists()]
    if foreign:
        raise InputError(f"toy city: {folder} already holds {foreign[0]}/ of another data set; choose an empty folder")
    _replace(marker, _to_json({"parameters": parameters}))


def _compare(path: Path, parameters: dict[str, int]) -> None:
    try:
        found = json.loads(path.read_text())["parameters"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"toy city: {path} is damaged ({error}); remove the folder and build it again") from error
    if found != parameters:
        raise InputError(
            f"toy city: {path} was built with {_spell(found)}, now asked for {_spell(parameters)}; "
            "choose another folder or remove this one"
        )


def _spell(parameters: dict[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in parameters.items())


def _run(tasks: list[Task], workers: int) -> None:
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            _write_scene(task)
        return
    # A fresh interpreter for each worker: forking a process that already runs threads may hang.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(tasks)), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for _ in pool.imap_unordered(_write_scene, tasks, chunksize=4):
            pass


def _name(split: str, index: int) -> tuple[str, str]:
    """City and file stem of a scene: the scenes go round the cities of their split."""
    cities = CITIES[split]
    city = cities[index % len(cities)]
    return city, f"{city}_{index // len(cities):06d}_{FRAME:06d}"


def _image_path(split: str, index: int) -> str:
    city, stem = _name(split, index)
    return f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"


def _annotation_path(split: str, index: int, kind: str) -> str:
    city, stem = _name(split, index)
    return f"gtFine/{split}/{city}/{stem}_gtFine_{kind}"


def _list_line(split: str, index: int) -> str:
    image = _image_path(split, index)
    return image if split == "test" else f"{image} {_annotation_path(split, index, 'labelTrainIds.png')}"


def _write_scene(task: Task) -> None:
    """Writes the files of one scene that are missing; a file that is there is complete."""
    paths = {kind: task.root / _annotation_path(task.split, task.index, kind) for kind in ANNOTATIONS}
    paths["image"] = task.root / _image_path(task.split, task.index)
    if all(path.exists() for path in paths.values()):
        return
    entropy = (task.seed, list(CITIES).index(task.split), task.index)
    scene = render_scene(entropy, task.index, task.height, task.width)
    objects = hidden_annotation(scene.objects) if task.split == "test" else scene.objects
    labels = paint_labels(objects, task.height, task.width)
    contents = {
        "polygons.json": json.dumps(polygons_document(objects, task.height, task.width)).encode(),
        "labelIds.png": _to_png(labels.label_ids),
        "labelTrainIds.png": _to_png(labels.train_ids),
        "instanceIds.png": _to_png(labels.instance_ids),
        "color.png": _to_png(labels.color),
        "image": _photo_to_png(scene.image),
    }
    for kind, path in paths.items():
        if not path.exists():
            _replace(path, contents[kind])


def _to_png(array: np.ndarray) -> bytes:
    """PNG as Pillow saves it by default, which is how the official preparation saves label images."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def _photo_to_png(image: np.ndarray) -> bytes:
    """PNG with light compression: noise does not shrink, so more would only cost time."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()


def _to_json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _replace(path: Path, content: bytes) -> None:
    """Writes a file so that it is either absent or complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
