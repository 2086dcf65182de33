"""The images of a recipe's list, decoded each time or from the cache; the pixels are the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from catalyst_cityscapes.data.decoded_cache import open_cache
from catalyst_cityscapes.data.preparation.progress_display import shown_progress
from catalyst_cityscapes.recipe.schema import Data
from semseg_ref.dataset import SemData, check_list


class CachedSemData(SemData):
    """`SemData` that reads decoded images; its arguments, and the cache's folder.

    The cache is opened, and built where it is not complete, when the data set is made.

    Raises:
        InputError: see `SemData`, `check_list` and `open_cache`.
    """

    def __init__(
        self,
        split: str,
        data_root: str,
        data_list: str | Path,
        transform: Callable[[Any, Any], tuple[Any, Any]] | None,
        classes: int,
        ignore_label: int,
        cache: str | Path,
    ) -> None:
        super().__init__(split, data_root, data_list, transform, classes, ignore_label)
        check_list(self.data_list, data_list, data_root)
        with shown_progress() as progress:
            self.entries = open_cache(cache, self.data_list, classes, ignore_label, progress=progress)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [H, W, 3], RGB, and label uint8 [H, W]; read-only for a transform that takes uint8."""
        image, label = self.entries[index].read()
        return image, label if getattr(self.transform, "takes_uint8", False) else label.copy()


def image_set(
    split: str, data: Data, transform: Callable[[Any, Any], tuple[Any, Any]] | None, use_cache: bool = True
) -> SemData:
    """The images and labels of a recipe's list, all of them there.

    Args:
        split: train or val.
        data: the recipe's section.
        transform: see `SemData`.
        use_cache: False decodes, whatever the recipe says: for a look at a few images.

    Raises:
        InputError: see `SemData`, `check_list` and `open_cache`.
    """
    data_list = data.train_list if split == "train" else data.val_list
    if use_cache and data.cache is not None:
        return CachedSemData(split, data.root, data_list, transform, data.classes, data.ignore_index, data.cache)
    images = SemData(split, data.root, data_list, transform, data.classes, data.ignore_index)
    check_list(images.data_list, data_list, data.root)
    return images
