"""`catalyst-dl diff`: what two recipes do differently, in measured effects."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalyst_cityscapes.cli.arguments import complete_recipe
from semseg_ref.base.errors import InputError, printable

if TYPE_CHECKING:
    from catalyst_cityscapes.recipe.schema import Recipe


@click.command()
@click.argument("a", metavar="A", shell_complete=complete_recipe)
@click.argument("b", metavar="B", shell_complete=complete_recipe)
@click.argument("more", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set one value of both recipes; more may follow."
)
@click.option("--trust", "trusted", multiple=True, metavar="PACKAGE", help="Allow _target_ from this package too.")
@click.option("--processes", type=click.IntRange(1, 4096), help="That would train; default: 8, or 1 for odd batches.")
@click.option("--draws", type=click.IntRange(1, 5000), help="Of the augmentation; default: 80 at Cityscapes' size.")
@click.option("--samples", type=click.IntRange(1, 5000), help="Real training samples; default: 16 there.")
@click.option("--no-data", is_flag=True, help="Assume a data set instead of reading it: what needs images is left out.")
@click.option("--all", "show_all", is_flag=True, help="Show equal effects too.")
@click.option("--json", "json_file", metavar="FILE|-", help="Everything as JSON; - prints it instead of the table.")
@click.option("--picture", metavar="FILE.png", help="Draw rates, momentum, decay, distributions and resolutions.")
def diff(
    a: str,
    b: str,
    more: tuple[str, ...],
    settings: tuple[str, ...],
    trusted: tuple[str, ...],
    processes: int | None,
    draws: int | None,
    samples: int | None,
    no_data: bool,
    show_all: bool,
    json_file: str | None,
    picture: str | None,
) -> None:
    """Compare what two recipes do: rates, decay, batches, what the network sees, how it is tested.

    A and B are recipes: files, shipped names, official configs, or run folders. Overlays and settings follow with a
    plus: cityscapes/pspnet50+swap/head_lr+optimizer.lr=0.02. A second side that begins with a plus overlays the
    first: catalyst-dl diff toy/pspnet50 +swap/head_lr.

    The table is sorted by how far apart the effects are; docs/diff.md says what the distances mean.
    """
    from catalyst_cityscapes.lab.diff.operands import operand_recipe, split_operand
    from catalyst_cityscapes.lab.plan.arms import SETTING

    if SETTING.match(b) and not Path(b).is_file():
        raise InputError(f"{b}: a setting where the second recipe should be; {a}+{b} is {a} with it")
    words = [word for word in more if "=" not in word]
    if words:
        raise InputError(f"{words[0]}: a third recipe? Overlays are joined with a plus: {b}+{words[0]}")
    for option, name, suffix in (("--json", json_file, ".json"), ("--picture", picture, ".png")):
        if name not in (None, "-"):
            _check_output(option, str(name), suffix)
    if picture == "-":
        raise InputError("--picture -: expected the name of a .png file")
    assignments = [*settings, *more]
    sides = [(a, split_operand(a)), ("+".join(split_operand(b, a)), split_operand(b, a))]
    recipes = [operand_recipe(parts, assignments, trusted) for _, parts in sides]
    from catalyst_cityscapes.lab.diff.comparison import compare
    from catalyst_cityscapes.lab.diff.subject import assumed_data, default_counts, default_processes, measure_subject

    processes = processes or default_processes(*recipes)
    reason = _no_data_reason(recipes, no_data)
    if reason:
        click.echo(printable(reason), err=True)
    assumed = assumed_data(recipes[0]) if reason else None
    pixels = [_pixels(recipe) if assumed is None else _area(assumed.size) for recipe in recipes]
    counts = default_counts(*pixels)
    measured = []
    for (name, _), recipe in zip(sides, recipes, strict=True):
        click.echo(printable(f"measuring {name}"), err=True)
        measured.append(measure_subject(name, recipe, processes, draws or counts[0], samples or counts[1], assumed))
    comparison = compare(*measured)
    if json_file is not None:
        text = json.dumps(comparison.to_json(), indent=1, allow_nan=False) + "\n"
        if json_file == "-":
            sys.stdout.write(text)
        else:
            from semseg_ref.base.files import replace_atomically

            replace_atomically(Path(json_file), lambda file: file.write(text.encode()))
    if picture is not None:
        from catalyst_cityscapes.lab.diff.picture import draw_comparison

        draw_comparison(comparison, Path(picture))
    if json_file != "-":
        from catalyst_cityscapes.lab.diff.table import print_comparison

        print_comparison(comparison, show_all)
        for name in (json_file, picture):
            if name is not None:
                click.echo(printable(f"written: {name}"))


def _check_output(option: str, name: str, suffix: str) -> None:
    from semseg_ref.base.files import create_folder

    path = Path(name)
    if path.is_dir() or path.suffix.lower() != suffix:
        raise InputError(f"{option} {name}: expected the name of a {suffix} file")
    create_folder(path.parent)


def _no_data_reason(recipes: list[Recipe], no_data: bool) -> str | None:
    from catalyst_cityscapes.lab.diff.subject import assumed_data, missing_data

    found = None if no_data else next(filter(None, map(missing_data, recipes)), None)
    if not no_data and found is None:
        return None
    assumed = assumed_data(recipes[0])
    size = f"{assumed.size[0]} x {assumed.size[1]}"
    skipped = (
        f"reckoning with {assumed.images} images of {size}; left out: training samples (ignored pixels, class shares, "
        "sharpness, mean and std of the input) and the lists of images"
    )
    return f"no data: {skipped}" if found is None else f"no data ({found}): {skipped}"


def _pixels(recipe: Recipe) -> int:
    from semseg_ref.dataset import make_dataset, read_image

    first = make_dataset("train", recipe.data.root, recipe.data.train_list)[0][0]
    return _area(read_image(first).shape[:2])


def _area(size: tuple[int, ...]) -> int:
    return size[0] * size[1]
