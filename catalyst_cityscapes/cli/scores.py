"""`catalyst-dl scores`: score files side by side."""

import click


@click.command()
@click.argument("paths", nargs=-1, metavar="[RUN | FOLDER | score.json]...")
@click.option("--protocols", is_flag=True, help="A column a score: what its protocol does, from image to classes.")
def scores(paths: tuple[str, ...], protocols: bool) -> None:
    """Put score files side by side; says so where they are not comparable.

    Without arguments: all scores below exp/. Folders are searched for score.json.
    """
    from catalyst_cityscapes.api import compare

    found = compare(paths or ("exp",), strict=False)
    if protocols:
        found.print_protocols()
    else:
        found.print()
