"""cityscapesScripts' pixel-level evaluation, run in this process around its traps.

The script reads its settings from the environment when it is imported, keeps them in a module-wide object, looks for
predictions by itself, writes a JSON file into the data set, ends the process on errors, and needs `numpy.in1d`, which
numpy 2.4 removed. Here it gets explicit lists and a copy of its settings, and its errors become `DataError`.
"""

import contextlib
import copy
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from catalyst_cityscapes.evaluation.label_ids import label_table
from catalyst_cityscapes.evaluation.predictions import INSTANCE_IDS, LABEL_IDS, beside
from catalyst_cityscapes.runs.environment import installed_version
from semseg_ref.base.errors import DataError, InputError

MODULE = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
ENVIRONMENT = ("CITYSCAPES_DATASET", "CITYSCAPES_RESULTS", "CITYSCAPES_EXPORT_DIR")
PROGRESS = re.compile(r"Images Processed: (\d+)")
PACKAGE = "cityscapesscripts"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class OfficialScores:
    """What the script reports; nan where a class or category occurs neither in the labels nor in the predictions.

    Attributes:
        classes: IoU of each evaluated class by name; `class_instances` the instance-weighted iIoU (nan for stuff, empty
            without instance scores).
        categories: the same for the seven categories.
        means: `IoU class`, `iIoU class`, `IoU category`, `iIoU category`, each without the nan entries.
        confusion: int64 [34, 34] pixel counts, rows labels, columns predictions, by label id.
        text: what the script printed.
        version: of cityscapesScripts.
    """

    classes: dict[str, float]
    class_instances: dict[str, float]
    categories: dict[str, float]
    category_instances: dict[str, float]
    means: dict[str, float]
    confusion: np.ndarray
    text: str
    version: str


def official_module() -> ModuleType:
    """The script's module, imported whatever its environment variables say.

    Raises:
        InputError: not installed, or a numpy that it cannot work with.
    """
    hidden = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
    try:
        module = importlib.import_module(MODULE)
    except ImportError as error:
        raise InputError(
            f"cityscapesScripts cannot be imported ({error}); install it: uv pip install cityscapesscripts==2.3.0"
        ) from error
    finally:
        os.environ.update(hidden)
    if not hasattr(np, "in1d"):
        raise InputError(
            f"numpy {np.__version__} has no in1d, which cityscapesScripts {installed_version(PACKAGE)} calls for its "
            "instance scores; install numpy below 2.4: uv pip install 'numpy<2.4'"
        )
    return module


class _Listener(io.StringIO):
    """Keeps what the script prints and reports its progress."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        super().__init__()
        self._total, self._progress = total, progress
        self._terminal = sys.stdout

    def write(self, text: str) -> int:
        match = PROGRESS.search(text)
        if match is None:
            return super().write(text.replace("\b", "").replace("\r", ""))
        if self._progress is not None:
            with contextlib.redirect_stdout(self._terminal):
                self._progress(int(match[1]), self._total)
        return len(text)


def check_instances(label_ids: Sequence[Path]) -> None:
    """Raises DataError where the instance image of a label image is missing or would not be found by the script."""
    for path in label_ids:
        instances = beside(path, INSTANCE_IDS)
        if str(path).replace(LABEL_IDS, INSTANCE_IDS) != str(instances):
            raise DataError(
                f"{path}: a folder with '{LABEL_IDS}' in its name hides {instances.name} from the official script; "
                "rename the folder, or leave the instance scores out with --no-instances"
            )
        if not instances.is_file():
            raise DataError(
                f"{instances}: no such file; the instance scores (iIoU) need it (gtFine_trainvaltest.zip has it); "
                "--no-instances leaves them out"
            )


def run_official(
    pairs: Sequence[tuple[Path, Path]], instances: bool = True, progress: Progress | None = None
) -> OfficialScores:
    """Runs the official evaluation.

    Args:
        pairs: (prediction, label) files, both uint8 [H, W] of label ids; predictions 0..33.
        instances: with the instance-weighted scores, which need `*_instanceIds.png` beside the labels.
        progress: called with (images done, images).

    Raises:
        DataError: a missing instance file, or whatever the script refuses.
        InputError: see `official_module`.
    """
    module = official_module()
    if instances:
        check_instances([label for _, label in pairs])
    settings = copy.copy(module.args)
    settings.evalInstLevelScore = instances
    settings.JSONOutput, settings.quiet, settings.colorized = False, False, False
    settings.bold = settings.nocol = ""
    listener = _Listener(len(pairs), progress)
    predictions, labels = ([str(pair[i]) for pair in pairs] for i in (0, 1))
    try:
        with contextlib.redirect_stdout(listener):
            result = module.evaluateImgLists(predictions, labels, settings)
    except SystemExit as stop:
        message = [line for line in listener.getvalue().splitlines() if line.startswith("ERROR")]
        raise DataError(f"cityscapesScripts: {message[-1] if message else 'stopped without a message'}") from stop
    return _scores(result, instances, listener.getvalue())


def _scores(result: dict[str, Any], instances: bool, text: str) -> OfficialScores:
    evaluated = label_table().names
    categories = [name for name in result["categoryScores"] if name != "void"]
    means = {"IoU class": result["averageScoreClasses"], "IoU category": result["averageScoreCategories"]}
    if instances:
        means["iIoU class"] = result["averageScoreInstClasses"]
        means["iIoU category"] = result["averageScoreInstCategories"]
    return OfficialScores(
        classes={name: float(result["classScores"][name]) for name in evaluated},
        class_instances={name: float(result["classInstScores"][name]) for name in evaluated} if instances else {},
        categories={name: float(result["categoryScores"][name]) for name in categories},
        category_instances={n: float(result["categoryInstScores"][n]) for n in categories} if instances else {},
        means={name: float(value) for name, value in means.items()},
        confusion=np.array(result["confMatrix"], np.int64),
        text=text,
        version=installed_version(PACKAGE) or "unknown",
    )
