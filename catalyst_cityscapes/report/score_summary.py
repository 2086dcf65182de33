"""What is shown of a scored checkpoint: the table on the terminal, and a sheet of pictures beside the score."""

import click

from catalyst_cityscapes.evaluation.score_run import ScoredRun
from catalyst_cityscapes.recipe.schema import Expected
from catalyst_cityscapes.report.picture import save_comparison
from catalyst_cityscapes.report.table import print_score
from semseg_ref.base.errors import printable


def show_score(run: ScoredRun, expected: Expected | None) -> None:
    """Writes `comparison.png` into the score's folder, prints the table and where both lie.

    Args:
        run: the scored checkpoint.
        expected: the recipe's published or measured result, for the line below the table.
    """
    path = run.folder / "comparison.png"
    picture = save_comparison(run.pairs, run.folder / "gray", run.colors, run.names, path, run.evaluation)
    print_score(run.score, expected)
    for what, place in (("score", run.folder / "score.json"), ("picture", picture)):
        click.echo(printable(f"{what}: {place}"))
