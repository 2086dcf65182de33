"""BDD100K semantic segmentation (the 10k images): the labels are train ids of Cityscapes already."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from catalyst_cityscapes.prepare.files import find_base, one_source, visible
from catalyst_cityscapes.prepare.pipeline import IGNORE_INDEX, ListFile, Plan, Sample, pair_up, recode
from semseg_ref.base.parallel import Progress

CLASSES = 19
IMAGES, MASKS = "images/10k", "labels/sem_seg/masks"
EXPECTED = {"train": 7000, "val": 1000, "test": 2000}
TABLE = tuple(i if i < CLASSES or i == IGNORE_INDEX else -1 for i in range(256))


def plan(sources: Sequence[Path], root: Path, workers: int, progress: Progress) -> Plan:
    """From `bdd100k/images/10k/<split>/*.jpg` and `bdd100k/labels/sem_seg/masks/{train,val}/*.png`.

    Args:
        sources: the folder bdd100k, or the one that holds it.
        root: unused; the pipeline places the files.
        workers, progress: unused.

    Raises:
        DataError: the wrong folder; an image without label or a label without image.
    """
    base = find_base(one_source(sources, "bdd100k"), ("", "bdd100k"), MASKS)
    lists = []
    for split, expected in EXPECTED.items():
        images = visible(base, f"{IMAGES}/{split}/*.jpg")
        if split == "test":
            samples = [Sample(f"images/test/{image.name}", image) for image in images]
        else:
            labels = {path.name: path for path in visible(base, f"{MASKS}/{split}/*.png")}
            samples = [
                Sample(f"images/{split}/{image.name}", image, f"labels/{split}/{label.name}", label)
                for image, label in pair_up(images, labels, lambda image: f"{image.stem}.png")
            ]
        lists.append(ListFile(f"list/{split}.txt", samples, expected, with_labels=split != "test"))
    render = partial(recode, table=TABLE, expected="0..18 and 255 (sem_seg/masks, not colormaps)")
    return Plan("bdd100k", CLASSES, render, lists, base, "bdd100k_names.txt", "bdd100k_colors.txt")
