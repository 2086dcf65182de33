"""`catalyst-dl demo`: a checkpoint's predictions for images, folders and videos."""

from __future__ import annotations

import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalyst_cityscapes.cli.arguments import recipe_options
from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.runs.checkpoints import trained_text
from catalyst_cityscapes.runs.find import chosen_checkpoint, newest_run
from semseg_ref.base.errors import InputError, printable

if TYPE_CHECKING:
    from catalyst_cityscapes.report.demonstration import Demonstrator
    from catalyst_cityscapes.report.media import Medium


@click.command()
@recipe_options
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--run", "run_folder", metavar="FOLDER", help="Run folder; its recipe and chosen checkpoint are used.")
@click.option("--checkpoint", metavar="FILE", help="Checkpoint: official, of this project, or a bare state dict.")
@click.option("--output", default="demo", metavar="FOLDER", show_default=True, help="Where the results go.")
@click.option(
    "--window", is_flag=True, help="One window over the whole picture, no flip: faster, not the test's numbers."
)
@click.option("--frames", type=click.IntRange(min=1), help="Only the first N frames of a video.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), show_default=True)
def demo(
    inputs: tuple[str, ...],
    configs: tuple[str, ...],
    settings: tuple[str, ...],
    trusted: tuple[str, ...],
    run_folder: str | None,
    checkpoint: str | None,
    output: str,
    window: bool,
    frames: int | None,
    device: str,
) -> None:
    """Predict images, folders and videos, by the test's own protocol.

    INPUT is an image, a folder or a video. Without --config and --checkpoint the network is that of --run, or of the
    newest run below exp/. Results of an image: NAME_overlay.png with a legend, NAME_color.png (palette) and
    NAME_gray.png (class ids); of a video: NAME_overlay.mp4 and NAME_color.mp4.
    """
    if not inputs:
        raise InputError("no INPUT: give images, folders or videos")
    if configs and run_folder:
        raise InputError("--run and --config: give one of them")
    if configs and checkpoint is None:
        raise InputError("--checkpoint FILE is missing; it goes with --config")
    from catalyst_cityscapes.recipe.loading import load_layers, resolve_recipe
    from catalyst_cityscapes.recipe.protocols import protocol_value
    from catalyst_cityscapes.report.media import find_media

    media = find_media(inputs, Path(output))
    folder = None if configs else Path(run_folder) if run_folder else newest_run(Path("exp"))
    recipe = resolve_recipe(load_layers(configs or [str(folder / RECIPE_FILE)], settings), trusted)
    path = Path(checkpoint) if checkpoint else chosen_checkpoint(recipe, folder)
    from catalyst_cityscapes.api import Predictor, Run
    from semseg_ref.base.files import create_folder

    predictor = Predictor(Run(folder or path.parent, recipe), device=device, window=window, checkpoint=path)
    section = recipe.protocol
    fixed = "fitted to each picture" if section.is_open else protocol_value(recipe).hash
    how = "one window, no flip" if window else f"protocol {section.name or ''} {fixed}"
    click.echo(printable(f"{recipe.experiment.name}, {path}, {trained_text(predictor.trained)}, {how}"))
    root = create_folder(output)
    for medium in media:
        stem = root / medium.stem
        create_folder(stem.parent)
        if medium.is_video:
            _predict_video(predictor.demonstrator, medium, stem, frames)
        else:
            _predict_image(predictor.demonstrator, medium, stem)


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}_{ending}")


def _predict_image(demonstrator: Demonstrator, medium: Medium, stem: Path) -> None:
    import numpy as np
    from PIL import Image

    from semseg_ref.base.files import replace_atomically
    from semseg_ref.dataset import read_image
    from semseg_ref.tester import save_prediction

    image = read_image(medium.path)
    start = time.perf_counter()
    prediction = demonstrator.predict(image)
    seconds = time.perf_counter() - start
    save_prediction(prediction, demonstrator.colors, _beside(stem, "gray.png"), _beside(stem, "color.png"))
    picture = Image.fromarray(demonstrator.picture(image.astype(np.uint8), prediction))
    path = _beside(stem, "overlay.png")
    replace_atomically(path, lambda file: picture.save(file, format="PNG"))
    size = f"{image.shape[0]} x {image.shape[1]}"
    click.echo(printable(f"{medium.path}: {size}, {seconds:.2f} s, {demonstrator.summary(prediction)} -> {path}"))


def _predict_video(demonstrator: Demonstrator, medium: Medium, stem: Path, frames: int | None) -> None:
    from catalyst_cityscapes.report.media import VideoReader, VideoWriter
    from catalyst_cityscapes.report.picture import colorize

    reader = VideoReader(medium.path)
    wanted = min(frames or reader.announced, reader.announced or frames or 0)
    start = time.perf_counter()
    with ExitStack() as stack:
        overlays, colors = (
            stack.enter_context(VideoWriter(_beside(stem, f"{kind}.mp4"), reader.rate)) for kind in ("overlay", "color")
        )
        for number, frame in enumerate(islice(reader, frames), start=1):
            prediction = demonstrator.predict(frame)
            overlays.write(demonstrator.picture(frame, prediction, all_classes=True))
            colors.write(colorize(prediction, demonstrator.colors))
            if number % 10 == 0 or number == wanted:
                of = f"/{wanted}" if wanted else ""
                seconds = (time.perf_counter() - start) / number
                click.echo(printable(f"{medium.path}: frame {number}{of}, {seconds:.2f} s/frame"))
    if frames is None and reader.read < reader.announced:
        said = f"only {reader.read} of the {reader.announced} frames that the file announces could be read"
        click.echo(printable(f"{medium.path}: warning: {said}"), err=True)
    done = f"{reader.read} frames at {reader.rate:g} a second -> {overlays.path}, {colors.path}"
    click.echo(printable(f"{medium.path}: {done}"))
