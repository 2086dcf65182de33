"""`catalyst-dl report`: one self-contained HTML file about a run."""

from pathlib import Path

import click

from catalyst_cityscapes.cli.arguments import output_file
from semseg_ref.base.errors import printable


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--output", metavar="FILE", help="The HTML file; default: report.html in the run folder.")
@click.option("--score", "score_file", metavar="FILE", help="The score.json to show in detail; default: the newest.")
def report(run_folder: str, output: str | None, score_file: str | None) -> None:
    """Write a run's report as one HTML file that works offline.

    RUN is a run folder. The report holds the score with its protocol, the learning curves, the classes, the confusions,
    the ten worst and ten best frames, the recipe and the environment; what the run does not have yet, it says.
    """
    from catalyst_cityscapes.report.run_record import read_run, read_score
    from semseg_ref.base.files import replace_atomically

    folder = Path(run_folder)
    record = read_run(folder)
    path = output_file(output or str(folder / "report.html"), ".html")
    score = record.scores[0] if record.scores else None
    if score_file is not None:
        score = read_score(Path(score_file), record.notes)
    from catalyst_cityscapes.report.page import render_report, to_bytes

    content = to_bytes(render_report(record, score))
    replace_atomically(path, lambda file: file.write(content))
    shown = "no test score yet" if score is None else f"mIoU {score.content.mIoU:.4f}, {score.path}"
    click.echo(printable(f"{record.name}: {shown}"))
    for note in record.notes:
        click.echo(printable(f"note: {note}"))
    click.echo(printable(f"report: {path} ({len(content) / 1e6:.1f} MB)"))
