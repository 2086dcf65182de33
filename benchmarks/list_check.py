"""What the look at a list before a training costs, and what the check of a format costs when a file is read.

    .venv/bin/python benchmarks/list_check.py [--pairs 2975]

Writes 20 images of 1024 x 2048 as PNG with their labels to a temporary folder and names them again and again in a list
of --pairs lines, so all files are in memory: a slow disk or a network adds its own time for each file. Prints seconds
of processor time.
"""

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np

from semseg_ref.base.image_format import image_format
from semseg_ref.checks.lists import check_formats, look_at_labels
from semseg_ref.dataset import read_pair

FILES, SIZE = 20, (1024, 2048)


def write_pair(folder: Path, index: int) -> tuple[str, str]:
    """A noisy smooth image and a label of 16 classes with an ignored strip."""
    rng = np.random.default_rng(index)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), (0, 0), 2)
    noisy = np.clip(smooth.astype(int) * 3 - 250 + rng.integers(-3, 4, smooth.shape), 0, 255).astype(np.uint8)
    label = cv2.resize(rng.integers(0, 16, (16, 32)).astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST)
    label[:100] = 255
    image_path, label_path = str(folder / f"{index}.png"), str(folder / f"{index}_label.png")
    cv2.imwrite(image_path, noisy)
    cv2.imwrite(label_path, label)
    return image_path, label_path


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


@click.command()
@click.option("--pairs", default=2975, show_default=True)
def main(pairs: int) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as name:
        files = [write_pair(Path(name), index) for index in range(FILES)]
        lines = [files[index % FILES] for index in range(pairs)]
        print(f"headers of {pairs} pairs: {seconds(lambda: check_formats(lines, 'list')):.3f} s")
        labels = look_at_labels(lines, 19, 255, "list").read
        print(f"{labels} labels: {seconds(lambda: look_at_labels(lines, 19, 255, 'list')):.3f} s")
        content = Path(files[0][0]).read_bytes()
        check = min(seconds(lambda: image_format(io.BytesIO(content), "image")) for _ in range(20))
        read = min(seconds(lambda pair=pair: read_pair(*pair, 19)) for pair in files)
        print(f"an image with its label: {1e3 * read:.2f} ms, of which the image's format {1e3 * check:.3f} ms")


if __name__ == "__main__":
    main()
