"""The manifest of a prepared data set (`prepared.json` in its root), as far as a loader must know it.

`catalyst-dl prepare` writes it; a folder without one is not checked.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semseg_ref.base.errors import DataError

MANIFEST = "prepared.json"
ID_SPACE = "trainIds"
OTHER_ENCODINGS = ("_labelIds.png", "_instanceIds.png", "_instanceTrainIds.png", "_color.png")


def read_prepared(root: str | Path) -> dict[str, Any] | None:
    """The manifest in a data set's root, or None where there is none.

    Raises:
        DataError: it is damaged.
    """
    path = Path(root) / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged manifest ({error}); run catalyst-dl prepare again") from error
    if not isinstance(content, dict) or not isinstance(content.get("id_space"), str):
        raise DataError(f"{path}: no manifest of a prepared data set, 'id_space' is missing; run catalyst-dl prepare")
    return content


def check_prepared(
    root: str | Path,
    data_list: str | Path,
    labels: Iterable[str] = (),
    classes: int | None = None,
    ignore_index: int | None = None,
) -> None:
    """Stops what the manifest in `root` speaks against, before a pixel is read.

    Args:
        root: the data set's root; without a manifest nothing is checked.
        data_list: the list file, for the message.
        labels: label paths of that list; position + 1 is the line number.
        classes: number of classes in use, or None.
        ignore_index: value of unlabelled pixels in use, or None.

    Raises:
        DataError: labels in another id space than train ids; another number of classes or ignored value than in use;
            a list that names label ids, instances or colours.
    """
    manifest = read_prepared(root)
    if manifest is None:
        return
    path = os.path.join(root, MANIFEST)
    if manifest["id_space"] != ID_SPACE:
        raise DataError(
            f"{path}: the labels are '{manifest['id_space']}', training and scoring expect '{ID_SPACE}'; "
            f"make them with catalyst-dl prepare {manifest.get('dataset', 'DATASET')}"
        )
    for key, used in (("classes", classes), ("ignore_index", ignore_index)):
        known = manifest.get(key)
        if used is not None and known is not None and used != known:
            raise DataError(f"{path}: {key} is {known} in the prepared data set, {used} in the recipe (data.{key})")
    for number, label in enumerate(labels, start=1):
        if label.endswith(OTHER_ENCODINGS):
            raise DataError(
                f"{data_list}, line {number}: {label} is no image of train ids, expected *_labelTrainIds.png; "
                "catalyst-dl prepare writes the right lists"
            )
