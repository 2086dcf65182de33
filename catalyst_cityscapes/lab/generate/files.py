"""Generated recipes as files, and the table of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from catalyst_cityscapes.lab.generate.recipes import Generated, nested
from catalyst_cityscapes.recipe.schema import Expected
from catalyst_cityscapes.report.table import plain
from semseg_ref.base.errors import InputError, printable
from semseg_ref.base.files import create_folder, replace_atomically

ENDING = ".yml"
WIDTH = 118


def write_recipes(made: Sequence[Generated], folder: Path, overwrite: bool = False) -> list[Path]:
    """Writes one file a recipe, all or none.

    Args:
        made: the recipes.
        folder: to write into; it is created.
        overwrite: write over files that are there.

    Raises:
        InputError: a file that is there already, or a folder that cannot be written to.
    """
    paths = [folder / f"{each.name}{ENDING}" for each in made]
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(f"{there[0]}: is there already{more}; --overwrite writes over it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--to {folder}: is a file; expected a folder")
    create_folder(folder)
    for path, each in zip(paths, made, strict=True):
        content = recipe_text(each, folder).encode()
        replace_atomically(path, lambda file, content=content: file.write(content))
    return paths


def recipe_text(made: Generated, folder: Path) -> str:
    """The file: what it changes of the recipe it starts from, each key with the value that stands there.

    Args:
        made: the recipe.
        folder: that the file will lie in; bases that are files are named relative to it.
    """
    lines = [*_header(made), "base:"]
    lines += [f"  - {_flow(_base(name, folder))}" for name in (made.job.model, *made.job.overlays)]
    before = made.start.plain()
    for section, content in nested(dict(made.own)).items():
        lines += _section((section,), content, before, 0)
    return "\n".join(lines) + "\n"


def _header(made: Generated) -> list[str]:
    job = made.job
    lines = [f"{job.model}, {_steps(made)} with {_processes(made)}. Written by catalyst-dl generate."]
    if not made.changes:
        lines.append("Changes nothing.")
    else:
        lines.append(f"Changes of {job.model}:")
        lines += [f"  {'.'.join(path)}: {_shown(old)} -> {_shown(new)}" for path, old, new in made.changes]
    expected = made.start.expected
    if expected is None or expected.miou is None:
        lines.append("No number is published for it.")
    elif made.is_published:
        lines.append(f"Published: {number(expected)}.")
    else:
        lines.append(f"{number(expected)} is published for {job.model} as it stands, and is not this recipe's.")
    return [f"# {printable(line)}" if len(line) <= WIDTH else f"# {printable(line)[: WIDTH - 3]}..." for line in lines]


def number(expected: Expected) -> str:
    """A published number with its protocol: `0.7959 (mmseg-slide)`."""
    return f"{expected.miou:.4f}" + (f" ({expected.protocol})" if expected.protocol else "")


def _base(name: str, folder: Path) -> str:
    path = Path(name)
    return os.path.relpath(path, folder) if path.is_file() else name


def _section(path: tuple[str, ...], value: Any, before: Any, depth: int) -> list[str]:
    key = "  " * depth + f"{_flow(path[-1])}:"
    there = before.get(path[-1], ...) if isinstance(before, dict) else ...
    if isinstance(value, dict) and "_target_" not in value:
        inner = [line for name, each in value.items() for line in _section((*path, name), each, there, depth + 1)]
        return [key, *inner]
    line = f"{key} {_flow(value)}"
    return [line if path == ("experiment", "name") else f"{line:<28} # {_shown(there)}"]


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("...\n").strip()


def _shown(value: Any) -> str:
    text = "absent" if value is ... else printable(_flow(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _processes(made: Generated) -> str:
    job, sampling = made.job, made.recipe.sampling
    if job.processes is None:
        return f"{sampling.batch_size} images" + (" a process" if sampling.per_process else "")
    images = sampling.batch_size if sampling.per_process else sampling.batch_size // job.processes
    return f"{job.processes} x {images} images"


def _steps(made: Generated) -> str:
    experiment = made.recipe.experiment
    return f"{experiment.iterations} steps" if experiment.iterations is not None else f"{experiment.epochs} epochs"


def table_of(made: Sequence[Generated]) -> Table:
    """A row a recipe: name, where it starts, crop, length, batch, how many keys it changes, what it is to reach."""
    table = Table(title=f"{len(made)} recipes")
    for heading in ("name", "from", "crop", "length", "batch", "changes", "expected"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "changes" else "left")
    for each in made:
        height, width = each.recipe.data.crop
        expected = each.start.expected
        if expected is None or expected.miou is None:
            target = "none published"
        else:
            target = number(expected) if each.is_published else f"not {number(expected)}"
        where = (each.name, each.job.model, f"{height} x {width}")
        cells = (*where, _steps(each), _processes(each), len(each.changes), target)
        table.add_row(*map(plain, cells))
    return table
