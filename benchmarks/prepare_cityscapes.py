"""Preparation of Cityscapes labels against the official single-process script: same files, interleaved repeats.

    .venv/bin/python benchmarks/prepare_cityscapes.py [--images 100] [--workers 2] [--repeats 7] [--folder F]

Builds a toy city of 2048 x 1024 first (not timed; kept in --folder). Each repeat removes all labelTrainIds images,
lists and manifest, runs `catalyst-dl prepare cityscapes`, removes them again and runs the official
`python -m cityscapesscripts.preparation.createTrainIdLabelImgs`; the order alternates. Both are timed as a user sees
them, from the start of the interpreter to its end, with compiled modules from a first, untimed repeat. Ours also checks
the images, writes the lists and a manifest with checksums. The label images of both are compared pixel by pixel. Prints
medians and their ratio, and appends a row to benchmarks/results/prepare_cityscapes_<machine>.csv.
"""

import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from catalyst_cityscapes.bench.repeats import append_row
from catalyst_cityscapes.prepare.files import visible
from catalyst_cityscapes.toy_city import build_toy_city

RESULTS = Path(__file__).parent / "results"
OURS = [sys.executable, "-c", "from catalyst_cityscapes.cli import main; main()", "prepare", "cityscapes"]
OFFICIAL = [sys.executable, "-m", "cityscapesscripts.preparation.createTrainIdLabelImgs"]


def remove_products(city: Path) -> None:
    """Removes what either preparation writes."""
    for label in labels_of(city):
        label.unlink()
    shutil.rmtree(city / "list", ignore_errors=True)
    (city / "prepared.json").unlink(missing_ok=True)


def labels_of(city: Path) -> list[Path]:
    """The train-id label images there are."""
    return visible(city, "gtFine/*/*/*_labelTrainIds.png")


def timed(command: list[str], city: Path, compiled: str) -> tuple[float, float]:
    """Seconds on the clock and of processor time that a command takes."""
    environment = os.environ | {"CITYSCAPES_DATASET": str(city), "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    elapsed = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pixels(city: Path) -> dict[str, np.ndarray]:
    """The label images by name."""
    return {str(path.relative_to(city)): np.array(Image.open(path)) for path in labels_of(city)}


@click.command()
@click.option("--images", default=100, show_default=True)
@click.option("--height", default=1024, show_default=True)
@click.option("--width", default=2048, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--repeats", "--turns", "repeats", default=7, show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the toy city is kept; default: a temporary folder."
)
def main(images: int, height: int, width: int, workers: int, repeats: int, folder: Path | None) -> None:
    """Times both preparations and prints the ratio."""
    with tempfile.TemporaryDirectory() as temporary:
        city = (folder or Path(temporary)) / f"toy_{images}_{height}x{width}"
        val = images // 10
        build_toy_city(city, train=images - 2 * val, val=val, test=val, height=height, width=width, workers=workers)
        commands = {
            "ours": [*OURS, str(city), "--allow-partial", "--workers", str(workers)],
            "official": OFFICIAL,
        }
        seconds, processor = {name: [] for name in commands}, {name: [] for name in commands}
        made = {}
        for repeat in range(-1, repeats):
            for name in sorted(commands, reverse=bool(repeat % 2)):
                remove_products(city)
                elapsed, used = timed(commands[name], city, f"{temporary}/compiled")
                if repeat < 0:
                    made[name] = pixels(city)
                else:
                    seconds[name].append(elapsed)
                    processor[name].append(used)
        equal = made["ours"].keys() == made["official"].keys() and all(
            np.array_equal(made["ours"][name], made["official"][name]) for name in made["ours"]
        )
        row = {
            "images": len(made["ours"]),
            "size": f"{height}x{width}",
            "workers": workers,
            "turns": repeats,
            "official_s": round(statistics.median(seconds["official"]), 3),
            "ours_s": round(statistics.median(seconds["ours"]), 3),
            "ratio": round(statistics.median(seconds["official"]) / statistics.median(seconds["ours"]), 2),
            "official_cpu_s": round(statistics.median(processor["official"]), 3),
            "ours_cpu_s": round(statistics.median(processor["ours"]), 3),
            "lowest_ratio": round(min(a / b for a, b in zip(seconds["official"], seconds["ours"], strict=True)), 2),
            "equal_pixels": equal,
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
        }
    click.echo("\n".join(f"{name}: {value}" for name, value in row.items()))
    path = RESULTS / f"prepare_cityscapes_{platform.node()}.csv"
    append_row(path, row)
    click.echo(f"appended to {path}")


if __name__ == "__main__":
    main()
