"""`catalyst-dl submit`: the zip file for the Cityscapes test server, written and verified."""

from pathlib import Path

import click

from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.runs.find import newest_run
from semseg_ref.base.errors import InputError, printable


@click.command()
@click.option("--run", "run_folder", metavar="FOLDER", help="Run folder: its newest predictions of split test.")
@click.option("--predictions", metavar="FOLDER", help="Predictions instead: PNGs of train ids, or a folder with gray/.")
@click.option("--label-ids", metavar="FOLDER", help="PNGs of label ids instead, which are only checked and packed.")
@click.option("--verify", metavar="ZIP", help="Only verify this zip file.")
@click.option("--list", "list_file", metavar="FILE", help="Test list, one image a line; default: the recipe's.")
@click.option("--root", metavar="FOLDER", help="Folder of the list's paths; default: the recipe's data.root.")
@click.option("--output", metavar="ZIP", help="Default: submission.zip beside gray/.")
@click.option("--allow-void", is_flag=True, help="Accept pixels without a prediction; the server counts them as wrong.")
def submit(
    run_folder: str | None,
    predictions: str | None,
    label_ids: str | None,
    verify: str | None,
    list_file: str | None,
    root: str | None,
    output: str | None,
    allow_void: bool,
) -> None:
    """Write the test server's zip file: label-id PNGs named after the test images, all verified.

    The predictions come from `catalyst-dl test --split test`. List and root default to those of the recipe of --run, of
    the run that the predictions lie in, or of the newest run.
    """
    sources = {"--run": run_folder, "--predictions": predictions, "--label-ids": label_ids, "--verify": verify}
    given = [option for option, value in sources.items() if value]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)}: give one of them")
    from catalyst_cityscapes.evaluation.predictions import (
        check_run_folder,
        data_of_run,
        newest_predictions,
        predictions_in,
    )
    from catalyst_cityscapes.evaluation.submission import (
        TEST_IMAGES,
        expected_submission,
        verify_submission,
        write_submission,
    )
    from semseg_ref.base.files import file_sha256
    from semseg_ref.dataset import make_dataset

    source = predictions or label_ids or verify
    run = check_run_folder(Path(run_folder)) if run_folder else _run_above(source)
    if list_file is None or root is None:
        run = run or (newest_run(Path("exp")) if source is None else None)
        if run is None:
            raise InputError("--list FILE and --root FOLDER are missing: these files lie in no run folder")
        data = data_of_run(run)
        list_file, root = list_file or data.test_list, root or data.root
        if list_file is None:
            raise InputError(f"{run / RECIPE_FILE}: data.test_list: not set; give --list FILE")
    expected = expected_submission(make_dataset("test", root, list_file))
    if verify:
        path = Path(verify)
        count = verify_submission(path, expected, allow_void)
    else:
        if label_ids:
            folder = predictions_in(Path(label_ids))
        else:
            folder = predictions_in(Path(predictions)) if predictions else newest_predictions(run, "test")
        path = Path(output) if output else folder.parent / "submission.zip"
        write_submission(folder, expected, path, are_label_ids=bool(label_ids), allow_void=allow_void)
        count = len(expected.sizes)
    size = path.stat().st_size
    verified = f"{count} images, {size:,} bytes, names, sizes and label ids verified, sha256 {file_sha256(path)}"
    click.echo(printable(f"{path}: {verified}"))
    if not expected.is_real:
        refused = f"the Cityscapes test set has {TEST_IMAGES} images, {list_file} has {count}; the server refuses this"
        click.echo(printable(f"note: {refused}"))


def _run_above(folder: str | None) -> Path | None:
    """The run folder that holds `folder`, if any."""
    if folder is None:
        return None
    return next((path for path in Path(folder).absolute().parents if (path / RECIPE_FILE).is_file()), None)
