"""How soon the program answers: processor time of help, of the version and of mistakes, beside importing torch.

    .venv/bin/python benchmarks/answers.py [--repeats 7]

Each answer is a process of its own, timed from the start of the interpreter to its end (user and system time), in
interleaved repeats with `python -c "import torch"`. Modules are compiled by a first repeat that does not count. Prints
a row for each answer and writes benchmarks/results/answers_<machine>.csv: median and least processor time, and the
ratio of the medians to that of `import torch`. Asked of help and version: 0.5 s; of a mistake: a ratio of 2.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import click
import torch

from catalyst_cityscapes.bench.repeats import Row, environment, write_rows
from catalyst_cityscapes.cli import COMMANDS

RESULTS = Path(__file__).parent / "results"
PROGRAM = str(Path(sys.executable).with_name("catalyst-dl"))
TORCH = "import torch"
MISTAKES = (
    "run --config toy/pspnet5",
    "run --confi toy/pspnet50",
    "run --config toy/pspnet50 enigne.device=cpu",
    "run --config toy/pspnet50 model.layerz=50",
    "run --config toy/pspnet50 callbacks.poly_lr.pwoer=0.9",
    "run --config toy/pspnet50 --resume nowhere.pth",
    "run --config toy/pspnet50",  # the data set is missing
    "test --run nowhere",
    "test --config toy/pspnet50 --checkpoint nowhere.pth",
    "lint toy/pspnet50 callbacks.poly_lr.pwoer=0.9",
    "browse --config toy/pspnet50",
    "diff toy/pspnet50 +callbacks.poly_lr.pwoer=0.9",
    "ab toy/pspnet50 --arm a=callbacks.poly_lr.pwoer=0.9",
    "ab toy/pspnet50 --arm a=swap/head_lr",  # the data set is missing
    "ladder toy/pspnet50 toy/pspnet50,callbacks.poly_lr.pwoer=0.9",
    "weights inspect nowhere.pth",
    "evaluate --run nowhere",
    "submit --run nowhere",
    "report nowhere",
    "demo nowhere.png",
    "prepare camvid nowhere",
)
HELP = ("--version", "--help", *(f"{name} --help" for name in COMMANDS))


def processor_time(words: str, folder: str) -> float:
    """Seconds of user and system time of `catalyst-dl WORDS`, or of `import torch`, in an empty folder."""
    command = [sys.executable, "-c", TORCH] if words == TORCH else [PROGRAM, *words.split()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != (2 if words in MISTAKES else 0):
        raise click.ClickException(f"{words}: exit code {done.returncode}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command(help=__doc__)
@click.option("--repeats", "--turns", "repeats", type=click.IntRange(min=1), default=7, show_default=True)
def main(repeats: int) -> None:
    """See the module's docstring."""
    seconds: dict[str, list[float]] = {words: [] for words in (TORCH, *HELP, *MISTAKES)}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats + 1):
            for words, found in seconds.items():
                taken = processor_time(words, folder)
                if repeat:
                    found.append(taken)
    unit = statistics.median(seconds[TORCH])
    about: Row = {"date": date.today().isoformat(), "torch": torch.__version__, "load": round(os.getloadavg()[0], 1)}
    rows = []
    for words, found in seconds.items():
        cpu = statistics.median(found)
        row: Row = {"answer": words, "turns": repeats, "cpu_s": round(cpu, 3), "least_cpu_s": round(min(found), 3)}
        rows.append({**about, **row, "times_import_torch": round(cpu / unit, 2)})
        click.echo(", ".join(f"{key} {value}" for key, value in row.items()) + f", {cpu / unit:.2f} of import torch")
    path = RESULTS / f"answers_{environment()}.csv"
    write_rows(path, rows)
    click.echo(f"written: {path}")


if __name__ == "__main__":
    main()
