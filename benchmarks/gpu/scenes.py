"""Scenes of Cityscapes' size as PNG files of a photograph's size, for the parts that load images."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from catalyst_cityscapes.bench.data import photographed
from catalyst_cityscapes.toy_city import build_toy_city
from gpu.place import CORES, SCENE, TINY, WORK

COUNT, REPEATS = (4, 4) if TINY else (64, 24)


def photographs() -> Path:
    """Draws the scenes once, with all cores; returns the city's folder.

    Its `list/repeated.txt` names each training scene `REPEATS` times, so that an epoch is about as long as Cityscapes'.
    """
    workers = 1 if TINY else CORES
    city = build_toy_city(WORK / "scenes", COUNT, 1, 1, *SCENE, workers=workers)
    repeated = city / "list" / "repeated.txt"
    if not repeated.exists():
        paths = sorted((city / "leftImg8bit" / "train").rglob("*.png"))
        if TINY:
            list(map(_photograph, paths))
        else:
            with ProcessPoolExecutor(workers) as pool:
                list(pool.map(_photograph, paths))
        repeated.write_text((city / "list" / "fine_train.txt").read_text().strip() + "\n")
        repeated.write_text(repeated.read_text() * REPEATS)
    return city


def _photograph(path: Path) -> None:
    Image.fromarray(photographed(np.array(Image.open(path)), 0)).save(path)
