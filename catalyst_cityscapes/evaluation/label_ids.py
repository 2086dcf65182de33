"""Train ids and label ids: the table between them, and predictions exported as label ids.

Networks predict train ids 0..18. The official script and the test server take label ids, of which these 19 count:
7, 8, 11, 12, 13, 17, 19..28, 31, 32, 33. A pixel without a prediction (255) becomes 0, `unlabeled`: the script accepts
it and counts it as missed, while 255 itself would be an index outside its matrix.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from semseg_ref.base.errors import DataError, InputError
from semseg_ref.base.files import replace_atomically
from semseg_ref.dataset import read_label

CLASSES = 19
NO_PREDICTION = 255
VOID_ID = 0


@dataclass(frozen=True)
class LabelTable:
    """The 19 evaluated classes of cityscapesScripts.

    Attributes:
        names: class names in the order of train ids.
        ids: uint8 [19], label id of each train id.
        train_id_of: uint8 [256], train id of each label id; 255 where the class is not evaluated.
    """

    names: tuple[str, ...]
    ids: np.ndarray
    train_id_of: np.ndarray

    @property
    def id_of(self) -> np.ndarray:
        """uint8 [256]: label id of each predicted value; `VOID_ID` for 255 (and for values no prediction may have)."""
        table = np.full(256, VOID_ID, np.uint8)
        table[:CLASSES] = self.ids
        return table


@cache
def label_table() -> LabelTable:
    """The table from cityscapesScripts' own label definitions.

    Raises:
        InputError: cityscapesScripts is not installed.
    """
    try:
        from cityscapesscripts.helpers.labels import labels
    except ImportError as error:
        raise InputError(
            f"cityscapesScripts cannot be imported ({error}); install it: uv pip install cityscapesscripts==2.3.0"
        ) from error
    evaluated = sorted((label for label in labels if not label.ignoreInEval), key=lambda label: label.trainId)
    if [label.trainId for label in evaluated] != list(range(CLASSES)):
        raise InputError("cityscapesScripts: its evaluated classes have not the train ids 0..18; was labels.py edited?")
    ids = np.array([label.id for label in evaluated], np.uint8)
    train_id_of = np.full(256, NO_PREDICTION, np.uint8)
    train_id_of[ids] = np.arange(CLASSES)
    return LabelTable(tuple(label.name for label in evaluated), ids, train_id_of)


def read_prediction(path: str | Path) -> np.ndarray:
    """A predicted image of train ids, uint8 [H, W], 0..18 or 255 (no prediction).

    Raises:
        DataError: unreadable, or other values: label ids, say.
    """
    prediction = read_label(path)
    values = np.flatnonzero(np.bincount(prediction.ravel(), minlength=256))
    wrong = [int(value) for value in values if CLASSES <= value != NO_PREDICTION]
    if wrong:
        shown = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
        are_ids = set(values.tolist()) <= {*label_table().ids.tolist(), VOID_ID}
        hint = "; these are label ids already" if are_ids else ""
        raise DataError(
            f"{path}: values {shown}, expected train ids 0..{CLASSES - 1} or {NO_PREDICTION} (no prediction){hint}"
        )
    return prediction


def to_label_ids(prediction: np.ndarray) -> np.ndarray:
    """Train ids uint8 [H, W] (0..18 or 255) as label ids uint8 [H, W]: the 19 evaluated ones, and 0 for 255."""
    exported = label_table().id_of[prediction]
    allowed = {VOID_ID, *label_table().ids.tolist()}
    if not set(np.unique(exported).tolist()) <= allowed:
        raise AssertionError(f"exported label ids {np.unique(exported)} are outside {sorted(allowed)}")
    return exported


def write_label_ids(label_ids: np.ndarray, path: Path) -> None:
    """Writes uint8 [H, W] as an 8-bit grey PNG, whole or not at all."""
    replace_atomically(path, lambda file: Image.fromarray(label_ids).save(file, format="PNG"))
