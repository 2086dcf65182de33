"""Pascal VOC 2012: palette images to index images, and train_aug (10582) where SegmentationClassAug is there."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from catalyst_cityscapes.prepare.files import find_base, one_source, visible
from catalyst_cityscapes.prepare.pipeline import IGNORE_INDEX, ListFile, Plan, Sample, recode
from semseg_ref.base.errors import DataError
from semseg_ref.base.parallel import Progress

CLASSES = 21
EXPECTED = {"train": 1464, "val": 1449, "train_aug": 10582}
TABLE = tuple(i if i < CLASSES or i == IGNORE_INDEX else -1 for i in range(256))


def plan(sources: Sequence[Path], root: Path, workers: int, progress: Progress) -> Plan:
    """From `VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation}` to `images/`, `labels/` and lists.

    `SegmentationClassAug` (the images that the Semantic Boundaries Dataset adds, as index or palette images) gives
    `labels_aug/` and `list/train_aug.txt`: every image in it that is not in val.

    Args:
        sources: VOCdevkit, its VOC2012, or the folder that holds VOCdevkit.
        root: unused; the pipeline places the files.
        workers, progress: unused.

    Raises:
        DataError: the wrong folder; a set file, an image or a label is missing.
    """
    base = find_base(one_source(sources, "voc2012"), ("", "VOC2012", "VOCdevkit/VOC2012"), "SegmentationClass")
    lists = [
        ListFile(f"list/{name}.txt", _samples(base, _set(base, name), "SegmentationClass", "labels"), EXPECTED[name])
        for name in ("train", "val")
    ]
    augmented = base / "SegmentationClassAug"
    if augmented.is_dir():
        held_out = set(_set(base, "val"))
        stems = [path.stem for path in visible(augmented, "*.png") if path.stem not in held_out]
        samples = _samples(base, stems, augmented.name, "labels_aug")
        lists.append(ListFile("list/train_aug.txt", samples, EXPECTED["train_aug"]))
    render = partial(recode, table=TABLE, expected="0..20, and 255 for the outlines")
    return Plan("voc2012", CLASSES, render, lists, base, "voc2012_names.txt", "voc2012_colors.txt")


def _set(base: Path, name: str) -> list[str]:
    path = base / "ImageSets" / "Segmentation" / f"{name}.txt"
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); it names the images of {name}") from error


def _samples(base: Path, stems: list[str], source: str, target: str) -> list[Sample]:
    samples = []
    for stem in stems:
        image, label = base / "JPEGImages" / f"{stem}.jpg", base / source / f"{stem}.png"
        if not label.is_file():
            raise DataError(f"{image}: image without label, {label} is missing")
        if not image.is_file():
            raise DataError(f"{label}: label without image, {image} is missing")
        samples.append(Sample(f"images/{stem}.jpg", image, f"{target}/{stem}.png", label))
    return samples
