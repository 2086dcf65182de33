"""`catalyst-dl test`: scores a checkpoint with the reference's multi-patch tester."""

from pathlib import Path

import click

from catalyst_cityscapes.cli.arguments import recipe_arguments, split_arguments
from catalyst_cityscapes.inference import PRECISIONS, TESTERS
from catalyst_cityscapes.recipe.named_protocols import NAMED
from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.runs.find import chosen_checkpoint, newest_run
from semseg_ref.base.errors import InputError, printable


@click.command()
@recipe_arguments
@click.option("--run", "run_folder", metavar="FOLDER", help="Run folder; its recipe and chosen checkpoint are used.")
@click.option("--checkpoint", metavar="FILE", help="Checkpoint: official, of this project, or a bare state dict.")
@click.option(
    "--output", metavar="FOLDER", help="Where predictions and scores go; default: the checkpoint's run folder."
)
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(list(NAMED)),
    multiple=True,
    help="How to test, instead of the recipe's way: one scale or six (with flip), the whole image at once, with the "
    "official scorer, or as mmsegmentation tests. Several: one after the other, then a table of what each does.",
)
@click.option(
    "--split",
    default="val",
    type=click.Choice(["val", "test"]),
    show_default=True,
    help="test: predictions of data.test_list only, for catalyst-dl submit; nothing is scored.",
)
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N images of the list (no comparable score).")
@click.option(
    "--tester",
    default="exact",
    type=click.Choice(TESTERS),
    show_default=True,
    help="reference: the control arm's; exact: its numbers, sooner (the same bytes on a CPU); fast: many windows at "
    "once, sums in float32.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Windows at once, for --tester fast.")
@click.option(
    "--precision",
    default="fp32",
    type=click.Choice(PRECISIONS),
    show_default=True,
    help="Of the network on a GPU, for --tester fast.",
)
def test(
    configs: tuple[str, ...],
    settings: tuple[str, ...],
    more: tuple[str, ...],
    trusted: tuple[str, ...],
    run_folder: str | None,
    checkpoint: str | None,
    output: str | None,
    protocols: tuple[str, ...],
    split: str,
    device: str,
    limit: int | None,
    tester: str,
    batch: int | None,
    precision: str,
) -> None:
    """Score a checkpoint: sliding windows, flip, official mIoU / mAcc / allAcc.

    Without --config and --checkpoint it takes --run, or the newest run below exp/.
    """
    from catalyst_cityscapes.evaluation.predictions import check_run_folder
    from catalyst_cityscapes.inference.folder import check_tester
    from catalyst_cityscapes.recipe.loading import load_layers, resolve_recipe

    check_tester(tester, batch, precision)
    files, assignments = split_arguments(configs, settings, more)
    folder = None
    if not files:
        folder = check_run_folder(Path(run_folder)) if run_folder else newest_run(Path("exp"))
        files = [str(folder / RECIPE_FILE)]
    elif run_folder:
        raise InputError("--run and --config: give one of them")
    # All of them are read before the first one is carried out.
    names = [[f"protocol.name={name}"] for name in dict.fromkeys(protocols)] or [[]]
    recipes = [resolve_recipe(load_layers(files, [*assignments, *name]), trusted) for name in names]
    if output and len(recipes) > 1:
        raise InputError(f"--output: one folder for {len(recipes)} protocols; leave it out, and each has its own")
    if checkpoint is None and folder is None:
        raise InputError("--checkpoint FILE is missing; it goes with --config")
    path = Path(checkpoint) if checkpoint else chosen_checkpoint(recipes[0], folder)
    target = Path(output) if output else None
    if split == "test":
        from catalyst_cityscapes.evaluation.score_run import predict_test_split

        for recipe in recipes:
            found = predict_test_split(recipe, path, target, device, limit, tester, batch, precision, click.echo)
            server = f"for the test server: catalyst-dl submit --predictions {found}"
            click.echo(printable(f"predictions: {found / 'gray'}; {server}"))
        return
    from catalyst_cityscapes.api import Run, compare
    from catalyst_cityscapes.api import test as score_run
    from catalyst_cityscapes.report.score_summary import show_score

    options = (device, limit, tester, batch, precision, path, output, click.echo)
    scores = []
    for recipe in recipes:
        scores.append(score_run(Run(folder or path.parent, recipe), None, *options))
        show_score(scores[-1].scored, recipe.expected)
    if len(scores) > 1:
        compare(scores, strict=False).print_protocols()
