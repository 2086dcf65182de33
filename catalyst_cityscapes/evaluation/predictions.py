"""Where predictions lie, and which ground truth belongs to them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from catalyst_cityscapes.evaluation.label_ids import CLASSES
from catalyst_cityscapes.recipe.loading import read_yaml
from catalyst_cityscapes.recipe.places import RECIPE_FILE
from catalyst_cityscapes.recipe.schema import Data
from semseg_ref.base.errors import DataError, InputError

LABEL_IDS, TRAIN_IDS, INSTANCE_IDS = "labelIds", "labelTrainIds", "instanceIds"
FRAME = re.compile(r"^([^_]+_\d{6}_\d{6})(?:[_.]|$)")


def check_run_folder(folder: Path) -> Path:
    """`folder`, when it holds a run.

    Raises:
        InputError: no such folder, or one without a recipe; names the runs beside it.
    """
    if (folder / RECIPE_FILE).is_file():
        return folder
    beside = sorted(path.parent.name for path in folder.absolute().parent.glob(f"*/{RECIPE_FILE}"))
    hint = f"; runs in {folder.absolute().parent}: {', '.join(beside[-8:])}" if beside else ""
    kind = f"a folder without {RECIPE_FILE}" if folder.is_dir() else "no such folder"
    raise InputError(f"{folder}: no such run ({kind}){hint}")


def data_of_run(run: Path) -> Data:
    """The data section of a run's recipe; the rest, whose targets may need trust, is not looked at.

    Raises:
        InputError: unreadable, or no Cityscapes run.
    """
    path = run / RECIPE_FILE
    try:
        data = Data.model_validate(read_yaml(path).get("data"))
    except ValidationError as error:
        detail = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, ('data', *detail['loc'])))}: {detail['msg']}") from error
    if data.classes != CLASSES:
        raise InputError(f"{path}: data.classes: {data.classes}; the official scorer is Cityscapes', {CLASSES} classes")
    return data


def predictions_in(folder: Path) -> Path:
    """The folder of grey PNGs: `folder/gray`, or `folder` itself.

    Raises:
        InputError: neither holds a PNG.
    """
    for candidate in (folder / "gray", folder):
        if any(candidate.glob("*.png")):
            return candidate
    kind = "no PNG files in it or in its gray/" if folder.is_dir() else "no such folder"
    raise InputError(f"{folder}: no predictions ({kind})")


def newest_predictions(run: Path, split: str) -> Path:
    """The folder of a run's newest predictions of a split: `result/epoch_N/SPLIT/PROTOCOL/gray`.

    Raises:
        InputError: there are none.
    """
    folders = [folder for folder in run.glob(f"result/*/{split}/*/gray") if any(folder.glob("*.png"))]
    if not folders:
        option = " --split test" if split == "test" else ""
        raise InputError(
            f"{run}: no predictions of split {split} in this run; make them first: catalyst-dl test --run {run}{option}"
        )
    return max(folders, key=lambda folder: (folder.stat().st_mtime, str(folder)))


def frame_of(name: str | Path) -> str | None:
    """`CITY_SEQUENCE_FRAME`, the part that all files of one Cityscapes frame share; None for other names."""
    match = FRAME.match(Path(name).name)
    return match[1] if match else None


def find_ground_truth(root: Path, split: str) -> dict[str, Path]:
    """`*_gtFine_labelIds.png` of each frame of a split, by frame, in the order of names.

    Raises:
        DataError: there are none; says what the folder holds instead.
    """
    folder = root / "gtFine" / split
    found = {frame_of(path): path for path in sorted(folder.glob(f"*/*_gtFine_{LABEL_IDS}.png"))}
    if found and None not in found:
        return found
    if None in found:
        raise DataError(f"{found[None]}: expected a name CITY_123456_123456_gtFine_{LABEL_IDS}.png")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; --root must be the Cityscapes folder that holds gtFine/")
    train_ids = len(list(folder.glob(f"*/*_{TRAIN_IDS}.png")))
    hint = f" (it holds {train_ids} *_{TRAIN_IDS}.png, which the official script does not read)" if train_ids else ""
    raise DataError(
        f"{folder}: no *_gtFine_{LABEL_IDS}.png{hint}; they come with gtFine_trainvaltest.zip, unpacked below {root}"
    )


def label_ids_of(labels: Sequence[str], classes: int) -> list[Path]:
    """`*_labelIds.png` beside the `*_labelTrainIds.png` of a list.

    Raises:
        DataError: the list is not Cityscapes', or a file is missing.
    """
    found = [Path(label.replace(f"_{TRAIN_IDS}.png", f"_{LABEL_IDS}.png")) for label in labels]
    for label, path in zip(labels, found, strict=True):
        if classes != CLASSES or frame_of(path) is None or not path.name.endswith(f"_{LABEL_IDS}.png"):
            raise DataError(f"{label}: the official scorer is Cityscapes' own ({CLASSES} classes, *_{TRAIN_IDS}.png)")
        if not path.is_file():
            raise DataError(
                f"{path}: no such file; the official scorer reads it (it comes with gtFine_trainvaltest.zip)"
            )
    return found


def match_predictions(folder: Path, ground_truth: Mapping[str, Path], partial: bool = False) -> list[tuple[Path, Path]]:
    """(prediction, labelIds) of every frame of the ground truth, by the official rule `FRAME*.png`.

    Args:
        folder: PNG files of predictions.
        ground_truth: label file of each frame.
        partial: frames without a prediction are left out instead of being an error.

    Raises:
        DataError: a frame with several or without any prediction, a prediction without a frame.
    """
    predictions: dict[str, Path] = {}
    for path in sorted(folder.glob("*.png")):
        frame = frame_of(path)
        if frame not in ground_truth:
            raise DataError(f"{path}: no frame of the ground truth has this name; predictions of another split or set?")
        if frame in predictions:
            raise DataError(f"{predictions[frame]} and {path.name}: two predictions of one frame")
        predictions[frame] = path
    missing = [frame for frame in ground_truth if frame not in predictions]
    if missing and not (partial and predictions):
        raise DataError(
            f"{folder}: {len(missing)} of {len(ground_truth)} frames have no prediction (first: {missing[0]}); "
            "--partial scores those that have one, which is no official score"
        )
    return [(predictions[frame], label) for frame, label in ground_truth.items() if frame in predictions]


def beside(label_ids: Path, kind: str) -> Path:
    """The file of another kind (`labelTrainIds`, `instanceIds`) of the same frame."""
    return label_ids.with_name(label_ids.name.replace(f"_{LABEL_IDS}.", f"_{kind}."))
