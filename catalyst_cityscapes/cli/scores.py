"""`catalyst-dl scores`: score files side by side."""

import click


@click.command()
@click.argument("paths", nargs=-1, metavar="[RUN | FOLDER | score.json]...")
def scores(paths: tuple[str, ...]) -> None:
    """Put score files side by side; says so where they are not comparable.

    Without arguments: all scores below exp/. Folders are searched for score.json.
    """
    from catalyst_cityscapes.api import compare

    compare(paths or ("exp",), strict=False).print()
