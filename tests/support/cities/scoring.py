"""Predictions and ground truth for the tests of scoring."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from catalyst_cityscapes.evaluation.label_ids import label_table

IGNORED_IDS = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
SIZE = (64, 128)


def read(path: Path) -> np.ndarray:
    """A PNG's values."""
    return np.array(Image.open(path))


def write(path: Path, values: np.ndarray) -> None:
    """Writes a PNG, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def labels_of(city: Path, split: str = "val") -> list[Path]:
    """The split's `*_labelIds.png`."""
    return sorted(city.glob(f"gtFine/{split}/*/*_gtFine_labelIds.png"))


def image_name(label: Path) -> str:
    """File name of the image, which its prediction has too."""
    return label.name.replace("_gtFine_labelIds", "_leftImg8bit")


def copy_city(city: Path, folder: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(city, folder))


def spoil_labels(city: Path, seed: int, absent: str | None = None) -> None:
    """Scatters ignored pixels over the val labels, and removes a class with its instances.

    The train ids are changed alike, so that they still belong to the label ids.
    """
    rng = np.random.default_rng(seed)
    table = label_table()
    for path in labels_of(city):
        label, instances_path = read(path), Path(str(path).replace("labelIds", "instanceIds"))
        instances = read(instances_path)
        holes = rng.random(label.shape) < 0.15
        label[holes] = rng.choice(np.array(IGNORED_IDS, np.uint8), int(holes.sum()))
        if absent is not None:
            gone = label == table.ids[table.names.index(absent)]
            label[gone], instances[gone] = 0, 0
        write(path, label)
        write(instances_path, instances)
        write(Path(str(path).replace("labelIds", "labelTrainIds")), table.train_id_of[label])


def random_predictions(
    city: Path, folder: Path, seed: int, absent: str | None = None, unpredicted: float = 0.0, split: str = "val"
) -> Path:
    """Half true, half random train ids for every frame, never `absent`, a share of them 255."""
    rng = np.random.default_rng(seed)
    table = label_table()
    classes = [index for index, name in enumerate(table.names) if name != absent]
    for path in labels_of(city, split):
        truth = table.train_id_of[read(path)]
        values = rng.choice(np.array(classes, np.uint8), truth.shape)
        keep = (truth != 255) & (rng.random(truth.shape) < 0.5)
        values[keep] = truth[keep]
        values[rng.random(truth.shape) < unpredicted] = 255
        write(folder / image_name(path), values)
    return folder
