"""The images of a recipe's list: decoded each time, whole or as far as the crop needs, or from the cache."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from catalyst_cityscapes.data.augmentation.crop_window import Window
from catalyst_cityscapes.data.decoded_cache import open_cache
from catalyst_cityscapes.data.plain_png import PlainPng, plain_png
from catalyst_cityscapes.prepare.progress_display import shown_progress
from catalyst_cityscapes.recipe.schema import Data
from semseg_ref.base.errors import DataError
from semseg_ref.dataset import SemData, check_label_values, check_list


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


class CropFirstSemData(SemData):
    """`SemData` whose transform works on a lazy sample: no row is decoded below those that it asks for.

    That is so for PNG pairs of the plainest kind (`plain_png`); others are read as `SemData` reads them. The draws and
    the bits are the same. Label values in rows that are not decoded are not checked.

    Args: see `SemData`; `transform` has `computed_from` (`augmentation.lazy_sample`).

    Raises:
        OptionError, DataError: see `SemData`.
    """

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image_path, label_path = self.data_list[index]
        image_file, label_file = plain_png(image_path, channels=3), plain_png(label_path, channels=1)
        if image_file is None or label_file is None or image_file[1:3] != label_file[1:3]:
            return super().__getitem__(index)
        return self.transform.computed_from(_FileSample(self, index, image_file, label_file))


class _FileSample:
    # A lazy sample of two files. It is read whole where that fails for the sake of the message, or because OpenCV takes
    # what the other decoder does not.
    def __init__(self, samples: SemData, index: int, image: PlainPng, label: PlainPng) -> None:
        self.size = label.height, label.width
        self._samples, self._index = samples, index
        self._files = {"image": image, "label": label}
        self._decoded: dict[str, np.ndarray] = {}

    def image(self, window: Window) -> np.ndarray:
        return self._rows("image", window)

    def label(self, window: Window) -> np.ndarray:
        return self._rows("label", window)

    def _rows(self, kind: str, window: Window) -> np.ndarray:
        rows = self._decoded.get(kind)
        if rows is None or len(rows) < window.rows.stop:
            rows = self._files[kind].rows(window.rows.stop)
            if rows is None or (kind == "label" and not self._has_valid(rows)):
                self._decoded = dict(zip(("image", "label"), self._samples.read(self._index), strict=True))
                rows = self._decoded[kind]
            self._decoded[kind] = rows
        return rows[window.slices]

    def _has_valid(self, label: np.ndarray) -> bool:
        samples = self._samples
        try:
            if samples.classes is not None:
                check_label_values(label, samples.classes, samples.ignore_label, samples.data_list[self._index][1])
        except DataError:
            return False
        return True


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
    kind = CropFirstSemData if getattr(transform, "crop_first", False) else SemData
    images = kind(split, data.root, data_list, transform, data.classes, data.ignore_index)
    check_list(images.data_list, data_list, data.root)
    return images
