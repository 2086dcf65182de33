"""How fast the tester is beside the control arm's, how its cost grows, and what memory it needs.

    .venv/bin/python benchmarks/tester_speed.py [--part outside|network|curves|memory] [--turns 5] [--threads 1]

Without --part all of them. Writes benchmarks/results/tester_PART_<machine>_<threads>.csv.
"""

from pathlib import Path

import click
import cv2
import torch

from catalyst_cityscapes.bench.tester import PARTS
from catalyst_cityscapes.bench.turns import environment, write_rows

RESULTS = Path(__file__).parent / "results"


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), default=tuple(PARTS))
@click.option("--turns", default=5, show_default=True, help="Turns after one that warms up.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch and OpenCV.")
def main(parts: tuple[str, ...], turns: int, threads: int) -> None:
    """Measures, prints a line a row, writes CSV files."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    for part in parts:
        rows = []
        for row in PARTS[part](turns):
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            rows.append({"torch": torch.__version__, "opencv": cv2.__version__, **row})
        path = RESULTS / f"tester_{part}_{environment()}_{threads}.csv"
        write_rows(path, rows)
        print(path)


if __name__ == "__main__":
    main()
