"""`catalyst-dl weights`: what a weight file is, whether it fits a recipe, and the same weights in another form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from catalyst_cityscapes.cli.arguments import recipe_arguments, split_arguments
from catalyst_cityscapes.export.weights import FORMS
from semseg_ref.base.errors import InputError, printable

if TYPE_CHECKING:
    from catalyst_cityscapes.recipe.schema import Recipe

RecipeWords = tuple[str, ...]


@click.group()
def weights() -> None:
    """Inspect, convert and verify weight files (.pth, .safetensors). Pickled code is never run."""


@weights.command("inspect")
@click.argument("file")
@recipe_arguments
@click.option("--all", "show_all", is_flag=True, help="Name every tensor that does not match, not only the first.")
def inspect_command(
    file: str, configs: RecipeWords, settings: RecipeWords, more: RecipeWords, trusted: RecipeWords, show_all: bool
) -> None:
    """What FILE is; with --config RECIPE, how many of its tensors fit that recipe's network, which not, and why."""
    from catalyst_cityscapes.export.weights import fit_recipe, read_weight_file
    from catalyst_cityscapes.export.weights.class_names import differing_classes, recipe_classes
    from catalyst_cityscapes.models.from_recipe import recipe_network

    recipe = _recipe(configs, settings, more, trusted)
    read = read_weight_file(file)
    _print(read.lines())
    if recipe is not None:
        fit = fit_recipe(read, recipe_network(recipe))
        click.echo(f"\nin the recipe {printable(' '.join((*configs, *more)))}")
        _print(fit.lines(show_all))
        if read.classes.names is not None:
            try:
                notes = differing_classes(read.classes, recipe_classes(recipe))
            except InputError as error:
                notes = [str(error)]
            _print([("classes", note) for note in notes])


@weights.command("convert")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option(
    "--to",
    "form",
    type=click.Choice(FORMS),
    help="Default: safetensors for such a name, else official (imagenet-init for a ResNet).",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT when it exists.")
@click.option("--sha256-name", "digest_in_name", is_flag=True, help="Write OUT as NAME-<8 digits of its sha256>.pth.")
@recipe_arguments
def convert_command(
    source: str,
    target: str,
    form: str | None,
    overwrite: bool,
    digest_in_name: bool,
    configs: RecipeWords,
    settings: RecipeWords,
    more: RecipeWords,
    trusted: RecipeWords,
) -> None:
    """Write the weights of IN to OUT in another form; --config RECIPE gives the names and colours of its classes.

    \b
    official       what the network's own framework loads: the official code's dict of epoch, state_dict (names with
                   module.) and, from such a file, optimizer; mmsegmentation's dict of meta and state_dict
    bare           the state dict alone, names without module.
    safetensors    the same as safetensors, with epoch and origin as metadata
    imagenet-init  the backbone alone under a ResNet's names, for model.pretrained

    An incomplete network is refused, and OUT is read back and compared before it gets its name.
    """
    from catalyst_cityscapes.export.weights import convert
    from catalyst_cityscapes.export.weights.class_names import recipe_classes

    recipe = _recipe(configs, settings, more, trusted)
    classes = None if recipe is None else recipe_classes(recipe)
    done = convert(source, target, form, overwrite, classes, digest_in_name)
    rows = [
        ("from", f"{done.source.path}: {done.source.what}; {done.source.title}"),
        ("to", f"{done.path}: {done.form}, {done.written} of {len(done.source.weights)} tensors"),
    ]
    if done.left_out:
        rows.append(("left out", ", ".join(done.left_out)))
    _print([*rows, *(("note", note) for note in done.notes)])


@weights.command("verify")
@click.argument("file")
@recipe_arguments
@click.option("--sha256", metavar="HEX", help="Expected checksum of FILE: 64 digits, or the first 8 or more.")
def verify_command(
    file: str,
    configs: RecipeWords,
    settings: RecipeWords,
    more: RecipeWords,
    trusted: RecipeWords,
    sha256: str | None,
) -> None:
    """Check FILE: its checksum, a strict load into RECIPE's network, and its output for a fixed input.

    Exit code 2 when it is another file or does not fit.
    """
    from catalyst_cityscapes.export.weights import check_sha256, verify

    recipe = _recipe(configs, settings, more, trusted)
    if recipe is None and sha256 is None:
        raise InputError("verify: give --config RECIPE, --sha256 HEX, or both")
    if sha256 is not None:
        _print([("file", f"{file}: sha256 {check_sha256(file, sha256)}, as expected")])
    if recipe is not None:
        _print(verify(file, recipe).lines())


def _recipe(configs: RecipeWords, settings: RecipeWords, more: RecipeWords, trusted: RecipeWords) -> Recipe | None:
    from catalyst_cityscapes.recipe.loading import load_layers, resolve_recipe

    files, assignments = split_arguments(configs, settings, more)
    if not files:
        if assignments:
            raise InputError(f"--set {assignments[0]}: works with --config RECIPE")
        return None
    return resolve_recipe(load_layers(files, assignments), trusted)


def _print(rows: list[tuple[str, str]]) -> None:
    for heading, text in rows:
        click.echo(printable(f"{heading:<11}{text}"))
