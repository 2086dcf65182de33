"""The data path against the control arm's: decode and augment 2048 x 1024 to a normalised 713 crop, on one thread.

    .venv/bin/python benchmarks/data_path.py [--images 6] [--samples 24] [--turns 7] [--folder F]

Draws toy city photographs first (PNGs of about 2 MB; kept in --folder). Arms, sample by sample in turns in one process,
with the same draws: the control arm (`SemData` and `train_transform`), crop-first from the files, crop-first from the
decoded cache, and two bounds that make no crop: decoding alone (what no augmentation can beat without a cache), and
copying the decoded image alone. Results are
compared bit by bit before the timing. Prints the rows and appends them to benchmarks/results/data_path_<machine>.csv.
"""

import csv
import datetime
import os
import platform
import re
import tempfile
from pathlib import Path

import click
import cv2

from catalyst_cityscapes.bench.data import time_data_path
from catalyst_cityscapes.data.preparation.progress_display import shown_progress

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Processor, cores and OpenCV, for a file name."""
    model = platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists() and (match := re.search(r"model name\s*:\s*(.+)", cpu.read_text())):
        model = match[1]
    name = f"{model}_{os.cpu_count()}cores_opencv-{cv2.__version__}"
    return re.sub(r"[^\w.-]+", "-", name).lower()


@click.command()
@click.option("--images", default=6, show_default=True)
@click.option("--samples", default=24, show_default=True)
@click.option("--turns", default=7, show_default=True)
@click.option("--height", default=1024, show_default=True)
@click.option("--width", default=2048, show_default=True)
@click.option("--crop", default=713, show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where images and cache are kept; default: a temporary folder."
)
def main(images: int, samples: int, turns: int, height: int, width: int, crop: int, folder: Path | None) -> None:
    """Times the arms and prints their ratios."""
    with tempfile.TemporaryDirectory() as temporary, shown_progress() as progress:
        timings = time_data_path(
            folder or Path(temporary), images, samples, turns, (height, width), (crop, crop), progress
        )
    about = {
        "date": datetime.date.today().isoformat(),
        "load": round(os.getloadavg()[0], 1),
    }
    rows = [row | about for row in timings.rows()]
    for row in rows:
        click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"data_path_{machine()}.csv"
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)
    click.echo(f"appended to {path}")


if __name__ == "__main__":
    main()
