"""`catalyst-dl browse`: a sheet of what the network really sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalyst_cityscapes.cli.arguments import output_file, recipe_arguments, split_arguments
from semseg_ref.base.errors import InputError, printable

if TYPE_CHECKING:
    from catalyst_cityscapes.recipe.schema import Recipe


@click.command()
@recipe_arguments
@click.option("--count", default=12, type=click.IntRange(1, 500), show_default=True, help="Samples on the sheet.")
@click.option("--epoch", default=0, type=click.IntRange(min=0), show_default=True, help="Which epoch, counted from 0.")
@click.option("--output", default="sheet.png", metavar="FILE", show_default=True, help="The sheet, a PNG file.")
@click.option("--originals", is_flag=True, help="The untouched image and label beside each sample.")
def browse(
    configs: tuple[str, ...],
    settings: tuple[str, ...],
    more: tuple[str, ...],
    trusted: tuple[str, ...],
    count: int,
    epoch: int,
    output: str,
    originals: bool,
) -> None:
    """Draw the first training samples of an epoch, augmented, with their labels on them.

    They come from the training's own dataset, seeds and order: with a seeded recipe these are the very pixels that
    `catalyst-dl run` feeds to the network. The normalisation is undone; labels have their classes' colours, and
    ignored pixels are hatched.
    """
    files, assignments = split_arguments(configs, settings, more)
    if not files:
        raise InputError("no recipe: give --config FILE, e.g. --config toy/pspnet50")
    from catalyst_cityscapes.recipe.loading import load_layers, resolve_recipe

    recipe = resolve_recipe(load_layers(files, assignments), trusted)
    _draw(recipe, trusted, count, epoch, output_file(output, ".png"), originals)


def _draw(recipe: Recipe, trusted: tuple[str, ...], count: int, epoch: int, path: Path, originals: bool) -> None:
    import numpy as np
    from PIL import Image

    from catalyst_cityscapes.data.training_set import data_streams
    from catalyst_cityscapes.report.drawing import class_entries, contact_sheet
    from catalyst_cityscapes.report.training_view import normalisation, sample_cell, seen_samples
    from semseg_ref.base.files import replace_atomically
    from semseg_ref.catalog import load_colors, load_names

    data = recipe.data
    names, colors = load_names(data.names, data.classes), load_colors(data.colors, data.classes)
    normalised_by = normalisation(recipe.augmentation)
    if normalised_by is None and recipe.protocol.mean is not None:
        normalised_by = recipe.protocol.mean, recipe.protocol.std  # no node states it; the training is compared with it
    samples = seen_samples(recipe, epoch, count)
    cells, present = [], set()
    for sample in samples:
        cells.append(sample_cell(sample, recipe, colors, normalised_by, originals))
        present.update(int(value) for value in np.unique(sample.label))
        click.echo(printable(f"{cells[-1].title}   {cells[-1].details}"))
    seed = f"seed {recipe.experiment.seed}"
    if data_streams(recipe) is None:
        seed = "unseeded: another draw each time"
    columns = "input, input with labels" + (", original, original with labels" if originals else "")
    undone = "" if normalised_by else "; the augmentation has no normalisation to undo"
    heading = f"{recipe.experiment.name}, epoch {epoch}, {seed}: {columns}{undone}"
    sheet = Image.fromarray(contact_sheet(heading, cells, class_entries(sorted(present), names, colors)))
    replace_atomically(path, lambda file: sheet.save(file, format="PNG"))
    absent = [name for index, name in enumerate(names) if index not in present]
    for line in (heading, f"classes on none of them: {', '.join(absent) or 'none'}", f"sheet: {path}"):
        click.echo(printable(line))
