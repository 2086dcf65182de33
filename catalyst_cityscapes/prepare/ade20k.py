"""ADE20K (scene parsing challenge 2016): 150 classes, annotation value 0 = other, ignored."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from catalyst_cityscapes.prepare.files import find_base, one_source, visible
from catalyst_cityscapes.prepare.pipeline import IGNORE_INDEX, ListFile, Plan, Sample, pair_up, recode
from semseg_ref.base.errors import DataError
from semseg_ref.base.parallel import Progress

CLASSES = 150
EXPECTED = {"training": 20210, "validation": 2000}
TABLE = tuple(IGNORE_INDEX if i == 0 else i - 1 if i <= CLASSES else -1 for i in range(256))
NAMES, COLORS = "ade20k_names.txt", "ade20k_colors.txt"


def plan(sources: Sequence[Path], root: Path, workers: int, progress: Progress) -> Plan:
    """From `ADEChallengeData2016/{images,annotations}/{training,validation}` to `images/`, `labels/` and lists.

    Train id = annotation - 1, and 255 for 0. The names come from the data set's own `objectInfo150.txt` (the first
    synonym of each); the colours follow `bit_color`.

    Args:
        sources: ADEChallengeData2016, or the folder that holds it.
        root: unused; the pipeline places the files.
        workers, progress: unused.

    Raises:
        DataError: the wrong folder; an image without label or a label without image; no usable objectInfo150.txt.
    """
    base = find_base(one_source(sources, "ade20k"), ("", "ADEChallengeData2016"), "annotations/training")
    lists = []
    for split, expected in EXPECTED.items():
        images = visible(base, f"images/{split}/*.jpg")
        labels = {path.name: path for path in visible(base, f"annotations/{split}/*.png")}
        samples = [
            Sample(f"images/{split}/{image.name}", image, f"labels/{split}/{label.name}", label)
            for image, label in pair_up(images, labels, lambda image: f"{image.stem}.png")
        ]
        lists.append(ListFile(f"list/{split}.txt", samples, expected))
    tables = {
        NAMES: "".join(f"{name}\n" for name in read_names(base / "objectInfo150.txt")).encode(),
        COLORS: "".join("{} {} {}\n".format(*bit_color(index)) for index in range(1, CLASSES + 1)).encode(),
    }
    render = partial(recode, table=TABLE, expected="0 for other, and 1..150")
    return Plan("ade20k", CLASSES, render, lists, base, NAMES, COLORS, tables)


def read_names(path: Path) -> list[str]:
    """The 150 class names of objectInfo150.txt: tab-separated Idx, Ratio, Train, Val, Name; first synonym of each.

    Raises:
        DataError: no such file, or not the rows 1 to 150.
    """
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); the class names come from it") from error
    named = [row for row in rows if row[0].strip().isdecimal()]
    if [row[0].strip() for row in named] != [str(i) for i in range(1, CLASSES + 1)] or any(len(r) < 5 for r in named):
        raise DataError(
            f"{path}: {len(named)} rows of classes, expected 1 to {CLASSES} with Idx, Ratio, Train, Val, Name"
        )
    return [row[-1].split(",")[0].strip() for row in named]


def bit_color(index: int) -> tuple[int, int, int]:
    """RGB of a class: bit 3 j + c of the index is bit 7 - j of channel c, as in the palette of Pascal VOC."""
    red, green, blue = (sum(((index >> (3 * j + c)) & 1) << (7 - j) for j in range(3)) for c in range(3))
    return red, green, blue
