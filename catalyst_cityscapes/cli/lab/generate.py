"""`catalyst-dl generate`: recipe files from a table of models, crops, lengths and processes."""

from pathlib import Path

import click

from catalyst_cityscapes.cli.arguments import complete_recipe
from semseg_ref.base.errors import InputError


@click.command()
@click.argument("table", required=False, metavar="[TABLE]")
@click.option("--model", "models", multiple=True, metavar="RECIPE", shell_complete=complete_recipe, help="Start here.")
@click.option("--crop", "crops", multiple=True, metavar="HxW", help="Crop, height x width, or `published`.")
@click.option("--length", "lengths", multiple=True, metavar="STEPS", help="Steps, '200 epochs', or `published`.")
@click.option("--processes", multiple=True, metavar="N", help="Training processes.")
@click.option(
    "--images", multiple=True, metavar="N", help="Images a step in each process. Default: the batch dealt out."
)
@click.option(
    "--overlay", "overlays", multiple=True, metavar="FILE", shell_complete=complete_recipe, help="Laid on every recipe."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set in every recipe.")
@click.option("--to", "folder", metavar="FOLDER", help="Write the files there; without it the table is only shown.")
@click.option("--overwrite", is_flag=True, help="Write over files that are there.")
def generate(
    table: str | None,
    models: tuple[str, ...],
    crops: tuple[str, ...],
    lengths: tuple[str, ...],
    processes: tuple[str, ...],
    images: tuple[str, ...],
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    folder: str | None,
    overwrite: bool,
) -> None:
    """Write recipe files from a table: models x crops x lengths x processes.

    \b
    catalyst-dl generate tables/mmseg-replication --to jobs
    catalyst-dl generate --model mmseg/pspnet_r50_769 --crop published --crop 512x512 --processes 1 --images 2

    Each option may be repeated, and every combination is a recipe. A table is a YAML or CSV file (docs/generate.md).
    Each file names the recipe that it starts from, says what it changes, and keeps the published number only where it
    changes nothing. Two jobs with one name are refused.
    """
    row = {
        "model": list(models),
        "crop": list(crops),
        "length": list(lengths),
        "processes": list(processes),
        "images": list(images),
        "overlay": list(overlays),
        "set": list(settings),
    }
    given = [f"--{key}" for key, values in row.items() if values]
    if table is not None and given:
        raise InputError(f"{given[0]}: {table} says it all; give a table or options")
    if table is None and not models:
        raise InputError("no table and no --model, e.g. catalyst-dl generate tables/mmseg-replication --to jobs")
    if overwrite and folder is None:
        raise InputError("--overwrite: nothing is written without --to FOLDER")
    from catalyst_cityscapes.lab.generate.table import jobs_of, read_table

    jobs = read_table(table) if table is not None else jobs_of(row, "options")
    from catalyst_cityscapes.lab.generate.files import table_of, write_recipes
    from catalyst_cityscapes.lab.generate.recipes import generate as generate_recipes
    from catalyst_cityscapes.report.terminal import open_console

    made = generate_recipes(jobs)
    paths = write_recipes(made, Path(folder), overwrite) if folder is not None else []
    open_console().print(table_of(made))
    if paths:
        click.echo(f"written: {len(paths)} files in {folder}")
