"""The reference's augmentation, crop first: all draws come before the first pixel, then only the crop is computed."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from catalyst_cityscapes.data.augmentation.crop_window import (
    LARGEST_SIDE,
    Rotation,
    Span,
    Window,
    blur_source,
    blurred,
    mirrored,
    rows_needed,
    scaled_image,
    scaled_label,
    scaled_size,
)
from catalyst_cityscapes.data.augmentation.lazy_sample import LazySample
from catalyst_cityscapes.data.augmentation.window_check import UnequalWindows, unequal_windows
from semseg_ref.base.errors import DataError
from semseg_ref.transform import (
    MEAN,
    STD,
    Crop,
    Normalize,
    RandomGaussianBlur,
    RandomHorizontalFlip,
    RandRotate,
    RandScale,
)

BLUR_PROBABILITY = 0.5
"""Of the reference; its blur has no argument for it."""


class Draws(NamedTuple):
    """What is random about one sample.

    Attributes:
        factor: of the scale.
        size: (height, width) of the scaled canvas.
        angle: degrees, or None for no rotation.
        blur, flip: whether.
        top, left: of the crop in the canvas, after it was padded to the crop's size where it is smaller.
    """

    factor: float
    size: tuple[int, int]
    angle: float | None
    blur: bool
    flip: bool
    top: int
    left: int


class Plan(NamedTuple):
    """Which pixels of a sample are computed, and from which.

    Attributes:
        draws: what was drawn.
        size: (height, width) of the sample before scaling.
        window: the crop in the canvas before mirroring; `target`: where that lies in the result.
        rotation: of the canvas, or None.
        is_warped_whole: the whole canvas is rotated, and the window cut out of it.
        before_blur: the window of the rotated canvas that the blur needs.
        image_source, label_source: the windows of the scaled canvas that image and label are made of.
    """

    draws: Draws
    size: tuple[int, int]
    window: Window
    target: Window
    rotation: Rotation | None
    is_warped_whole: bool
    before_blur: Window
    image_source: Window
    label_source: Window


class CropFirst:
    """`semseg_ref.transform.train_transform` in one step: the same draws, the same bits, less work.

    It takes uint8 images as the decoder or the cache gives them (`takes_uint8`) and converts what it needs.

    Args:
        crop: (height, width) of the result.
        scale: [low, high] of the random factor.
        rotate: [low, high] in degrees.
        rotate_p: probability of the rotation.
        blur_radius: size of the blur's kernel, odd.
        flip_p: probability of the mirror.
        mean, std: of the normalisation, in grey levels, one value a channel; the mean also pads.
        ignore_index: pads the label.
        exact: on an OpenCV whose windows differ from the whole image (`window_check`; none from 4.5 to 4.11 is
            known), computes the whole image there. False takes the window all the same.

    Raises:
        InputError: a value that the reference's step does not take.
    """

    takes_uint8 = True
    crop_first = True

    def __init__(
        self,
        crop: Sequence[int],
        scale: Sequence[float] = (0.5, 2.0),
        rotate: Sequence[float] = (-10, 10),
        rotate_p: float = 0.5,
        blur_radius: int = 5,
        flip_p: float = 0.5,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] | None = STD,
        ignore_index: int = 255,
        exact: bool = True,
    ) -> None:
        self.scale = RandScale(tuple(scale))
        self.rotate = RandRotate(tuple(rotate), padding=tuple(mean), ignore_label=ignore_index, p=rotate_p)
        self.blur = RandomGaussianBlur(blur_radius)
        self.flip = RandomHorizontalFlip(flip_p)
        self.crop = Crop(tuple(crop), crop_type="rand", padding=tuple(mean), ignore_label=ignore_index)
        self.normalize = Normalize(mean, std)
        self.exact = exact
        self._padding = torch.tensor(list(mean), dtype=torch.float32)[:, None, None]

    def draw(self, height: int, width: int) -> Draws:
        """All random numbers of a sample [height, width], from python's `random`, in the reference's order."""
        low, high = self.scale.scale
        factor = low + (high - low) * random.random()
        size = scaled_size(height, width, factor)
        angle = None
        if random.random() < self.rotate.p:
            low, high = self.rotate.rotate
            angle = low + (high - low) * random.random()
        blur = random.random() < BLUR_PROBABILITY
        flip = random.random() < self.flip.p
        top = random.randint(0, max(size[0] - self.crop.crop_h, 0))
        left = random.randint(0, max(size[1] - self.crop.crop_w, 0))
        return Draws(factor, size, angle, blur, flip, top, left)

    def __call__(self, image: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment one sample.

        Args:
            image: uint8 [H, W, 3], RGB; float32 with the same values is taken too.
            label: uint8 [H, W], class indices and the ignore index.

        Returns:
            float32 tensor [3, h, w], normalised, and int64 tensor [h, w].

        Raises:
            DataError: arrays of other shapes or types.
        """
        _check(image, label)
        return self.computed(image, label, self.plan(*label.shape))

    def computed_from(self, sample: LazySample) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for a lazy sample, of which it takes the first rows down to the last one that the crop needs."""
        plan = self.plan(*sample.size)
        image, label = (Window(Span(0, rows), Span(0, sample.size[1])) for rows in self.rows(plan))
        return self.computed(sample.image(image), sample.label(label), plan)

    def plan(self, height: int, width: int) -> Plan:
        """Draws (see `draw`), and what they need of a sample [height, width]."""
        draws = self.draw(height, width)
        unequal = self._unequal
        window, target = self._window(draws)
        whole = Window(Span(0, draws.size[0]), Span(0, draws.size[1]))
        before_blur = window
        if draws.blur:
            before_blur = whole if unequal.blur else blur_source(window, draws.size, self.blur.radius)
        if draws.angle is None:
            return Plan(draws, (height, width), window, target, None, False, before_blur, before_blur, window)
        rotation = Rotation(draws.angle, *draws.size)
        if unequal.rotate or max(draws.size) > LARGEST_SIDE:
            return Plan(draws, (height, width), window, target, rotation, True, before_blur, whole, whole)
        sources = rotation.source(before_blur, interpolated=True), rotation.source(window, interpolated=False)
        return Plan(draws, (height, width), window, target, rotation, False, before_blur, *sources)

    def rows(self, plan: Plan) -> tuple[int, int]:
        """First rows of the image and of the label that `computed` looks at."""
        if self._unequal.scale:
            return plan.size[0], plan.size[0]
        factor = plan.draws.factor
        image, label = (rows_needed(plan.size, factor, source) for source in (plan.image_source, plan.label_source))
        return image, label

    def computed(self, image: np.ndarray, label: np.ndarray, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """The crop of a sample as planned; arguments as for the call, of image and label at least the first `rows`."""
        crop_h, crop_w = self.crop.crop_h, self.crop.crop_w
        is_whole = plan.target.rows.length == crop_h and plan.target.columns.length == crop_w
        tensor = torch.empty(3, crop_h, crop_w)
        classes = torch.empty(crop_h, crop_w, dtype=torch.int64)
        if not is_whole:
            tensor[:] = self._padding
            classes.fill_(self.crop.ignore_label)
        flip, slices = plan.draws.flip, plan.target.slices
        indices = self._label(label, plan)
        classes.numpy()[slices] = cv2.flip(indices, 1) if flip else indices
        piece = self._image(image, plan)
        if flip:
            piece = mirrored(piece)
        for channel, plane in enumerate(tensor.numpy()):
            cv2.extractChannel(piece, channel, dst=plane[slices])
        tensor.sub_(self.normalize.mean)
        if self.normalize.std is not None:
            tensor.div_(self.normalize.std)
        return tensor, classes

    @property
    def _unequal(self) -> UnequalWindows:
        return unequal_windows(self.blur.radius) if self.exact else UnequalWindows()

    def _window(self, draws: Draws) -> tuple[Window, Window]:
        # Where the crop lies in the canvas before mirroring, and where that lies in the result.
        height, width = draws.size
        rows, row_target = _visible(height, self.crop.crop_h, draws.top)
        columns, column_target = _visible(width, self.crop.crop_w, draws.left)
        if draws.flip:
            columns = columns.mirrored(width)
        return Window(rows, columns), Window(row_target, column_target)

    def _image(self, image: np.ndarray, plan: Plan) -> np.ndarray:
        factor = plan.draws.factor
        if self._unequal.scale:
            resized = cv2.resize(np.float32(image), None, fx=factor, fy=factor)
            piece = resized[plan.image_source.slices]
        else:
            piece = scaled_image(image, factor, plan.image_source, plan.size)
        if plan.is_warped_whole:
            piece = plan.rotation.whole_image(piece, self.rotate.padding)[plan.before_blur.slices]
        elif plan.rotation is not None:
            piece = plan.rotation.image(piece, plan.image_source, plan.before_blur, self.rotate.padding)
        if plan.draws.blur:
            return blurred(piece, plan.before_blur, plan.window, self.blur.radius)
        return piece

    def _label(self, label: np.ndarray, plan: Plan) -> np.ndarray:
        factor, ignore = plan.draws.factor, self.rotate.ignore_label
        if self._unequal.scale:
            scaled = cv2.resize(label, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
            piece = scaled[plan.label_source.slices]
        else:
            piece = scaled_label(label, factor, plan.label_source, plan.size)
        if plan.is_warped_whole:
            return plan.rotation.whole_label(piece, ignore)[plan.window.slices]
        if plan.rotation is not None:
            return plan.rotation.label(piece, plan.label_source, plan.window, ignore)
        return piece

    def __repr__(self) -> str:
        size = f"{self.crop.crop_h} x {self.crop.crop_w}"
        return f"CropFirst({size}, scale {self.scale.scale}, rotate {self.rotate.rotate}, exact={self.exact})"


def _visible(size: int, crop: int, offset: int) -> tuple[Span, Span]:
    # Along one axis: the part of the canvas in the crop, and its place in the crop.
    padding = max(crop - size, 0) // 2
    start = max(offset - padding, 0)
    stop = min(offset - padding + crop, size)
    return Span(start, stop), Span(start - offset + padding, stop - offset + padding)


def _check(image: np.ndarray, label: np.ndarray) -> None:
    shapes_fit = image.ndim == 3 and image.shape[2] == 3 and image.shape[:2] == label.shape
    if not shapes_fit or image.dtype not in (np.uint8, np.float32) or label.dtype != np.uint8:
        raise DataError(
            f"CropFirst: expected an image uint8 or float32 [H, W, 3] and a label uint8 [H, W], found {image.dtype} "
            f"{list(image.shape)} and {label.dtype} {list(label.shape)}"
        )
