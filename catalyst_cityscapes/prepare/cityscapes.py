"""Cityscapes: from the two zip files, or what was unpacked from them, to train-id labels and the official lists."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.helpers.labels import name2label
from cityscapesscripts.preparation.json2labelImg import createLabelImage

from catalyst_cityscapes.prepare.archive import list_members, unpack
from catalyst_cityscapes.prepare.files import missing_folder, visible
from catalyst_cityscapes.prepare.pipeline import ListFile, Plan, Sample, place_files
from semseg_ref.base.errors import DataError, did_you_mean
from semseg_ref.base.parallel import Progress
from semseg_ref.base.safe.image_header import check_pixels

IMAGES, LABELS = "leftImg8bit", "gtFine"
ZIPS = {IMAGES: "leftImg8bit_trainvaltest.zip", LABELS: "gtFine_trainvaltest.zip"}
EXPECTED = {"train": 2975, "val": 500, "test": 1525}
IMAGE_END, POLYGONS_END, LABEL_END = "_leftImg8bit.png", "_gtFine_polygons.json", "_gtFine_labelTrainIds.png"


def draw_train_ids(content: bytes, path: Path) -> np.ndarray:
    """Train ids of a polygon file, drawn by cityscapesScripts with its own label definitions: uint8 [H, W].

    Args:
        content: a `*_gtFine_polygons.json`.
        path: its path, for messages.

    Raises:
        DataError: damaged file, a label that cityscapesScripts does not know, an outline that cannot be drawn.
    """
    annotation = Annotation()
    try:
        annotation.fromJsonText(content.decode())
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: damaged polygon file, {len(content)} bytes ({type(error).__name__}: {error}); unpack it again"
        ) from error
    check_pixels(annotation.imgHeight, annotation.imgWidth, path)
    for thing in annotation.objects:
        # The official code leaves the whole program on an unknown label, so it must not get that far.
        if thing.label not in name2label and thing.label.removesuffix("group") not in name2label:
            raise DataError(f"{path}: unknown label '{thing.label}'{did_you_mean(thing.label, name2label)}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            image = createLabelImage(annotation, "trainIds")
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: an outline cannot be drawn ({error})") from error
    return np.asarray(image)


def plan(sources: Sequence[Path], root: Path, workers: int, progress: Progress) -> Plan:
    """Brings images and annotations into `root` and pairs them.

    Args:
        sources: the two zip files, or folders that hold leftImg8bit/ and gtFine/ (together), or a mix of both.
        root: the prepared folder; it may be the source.
        workers, progress: see `run_parallel`.

    Raises:
        DataError: a source is missing, damaged, or the wrong folder; polygons are missing; an image without label.
    """
    missing = {IMAGES, LABELS}
    members, moves = [], []
    for source in sources:
        if source.is_dir():
            found = {name for name in missing if (source / name).is_dir()}
            if not found:
                raise missing_folder(source, LABELS if LABELS in missing else IMAGES)
            if source.resolve() != root.resolve():
                moves += [(path, root / path.relative_to(source)) for name in found for path in _files(source / name)]
        else:
            inside = list_members(source, (IMAGES, LABELS), root)
            found = {member.name.split("/")[0] for member in inside}
            if not found:
                raise DataError(
                    f"{source}: holds no {LABELS}/ and no {IMAGES}/; expected {' and '.join(ZIPS.values())}"
                )
            members += inside
        missing -= found
    missing = {name for name in missing if not (root / name).is_dir()}
    if missing:
        name = sorted(missing)[0]
        if len(sources) == 1 and sources[0].is_dir():
            raise missing_folder(sources[0], name)
        raise DataError(f"{name}/: in none of {', '.join(map(str, sources))}; {ZIPS[name]} holds it")
    unpack(members, workers, progress)
    place_files(moves, workers, progress)
    return _pair(root)


def _files(folder: Path) -> list[Path]:
    return [path for path in visible(folder, "*/*/*") if path.is_file()]


def _pair(root: Path) -> Plan:
    lists = []
    for split, expected in EXPECTED.items():
        images = [path.relative_to(root).as_posix() for path in visible(root, f"{IMAGES}/{split}/*/*{IMAGE_END}")]
        annotated = {path.relative_to(root).as_posix() for path in visible(root, f"{LABELS}/{split}/*/*{POLYGONS_END}")}
        samples, alone = [], []
        for image in images:
            stem = LABELS + image.removeprefix(IMAGES).removesuffix(IMAGE_END)
            if stem + POLYGONS_END in annotated:
                annotated.remove(stem + POLYGONS_END)
                samples.append(Sample(image, None, stem + LABEL_END, root / (stem + POLYGONS_END)))
            elif split == "test":
                samples.append(Sample(image))
            else:
                alone.append((image, stem))
        if alone:
            raise _without_polygons(root, split, alone, len(images))
        if annotated:
            raise DataError(
                f"{root / min(annotated)}: annotation without image ({len(annotated)} in {split}); "
                f"unpack {ZIPS[IMAGES]} too"
            )
        lists.append(ListFile(f"list/fine_{split}.txt", samples, expected, with_labels=split != "test"))
    return Plan(
        dataset="cityscapes",
        classes=19,
        render=draw_train_ids,
        lists=lists,
        source=root,
        names="cityscapes_names.txt",
        colors="cityscapes_colors.txt",
    )


def _without_polygons(root: Path, split: str, alone: list[tuple[str, str]], total: int) -> DataError:
    image, stem = alone[0]
    share = f"({len(alone)} of {total} images of {split})"
    if any(visible((root / stem).parent, f"{Path(stem).name}_gtFine_*")):
        return DataError(
            f"{root / (stem + POLYGONS_END)}: polygons missing {share}; train ids are drawn from them, label images of "
            f"other kinds will not do; unpack {ZIPS[LABELS]} again"
        )
    return DataError(
        f"{root / image}: image without label {share}, expected {stem}{POLYGONS_END}; unpack {ZIPS[LABELS]}"
    )
