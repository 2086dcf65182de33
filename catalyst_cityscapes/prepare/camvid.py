"""CamVid as the SegNet tutorial lays it out: 11 classes, 11 = unlabelled."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from catalyst_cityscapes.prepare.files import find_base, one_source, visible
from catalyst_cityscapes.prepare.pipeline import IGNORE_INDEX, ListFile, Plan, Sample, pair_up, recode
from semseg_ref.base.parallel import Progress

CLASSES = 11
EXPECTED = {"train": 367, "val": 101, "test": 233}
TABLE = tuple(i if i < CLASSES else IGNORE_INDEX if i == CLASSES else -1 for i in range(256))


def plan(sources: Sequence[Path], root: Path, workers: int, progress: Progress) -> Plan:
    """From `CamVid/{train,val,test}/*.png` and `CamVid/{train,val,test}annot/*.png` to `images/` and `labels/`.

    Args:
        sources: the clone of the tutorial, or its folder CamVid.
        root: unused; the pipeline places the files.
        workers, progress: unused.

    Raises:
        DataError: the wrong folder; an image without label or a label without image.
    """
    base = find_base(one_source(sources, "camvid"), ("", "CamVid"), "trainannot")
    lists = []
    for split, expected in EXPECTED.items():
        images = visible(base, f"{split}/*.png")
        labels = {path.name: path for path in visible(base, f"{split}annot/*.png")}
        samples = [
            Sample(f"images/{split}/{image.name}", image, f"labels/{split}/{image.name}", label)
            for image, label in pair_up(images, labels, lambda image: image.name)
        ]
        lists.append(ListFile(f"{split}.txt", samples, expected, with_labels=split != "test"))
    render = partial(recode, table=TABLE, expected="0..10, and 11 for unlabelled")
    return Plan("camvid", CLASSES, render, lists, base, "camvid_names.txt", "camvid_colors.txt")
