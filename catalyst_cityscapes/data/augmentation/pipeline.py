"""A pipeline of named steps, so that an overlay can swap one of them by its name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from catalyst_cityscapes.data.augmentation.adapters import adapted
from catalyst_cityscapes.data.augmentation.lazy_sample import DecodedSample, LazySample, whole
from catalyst_cityscapes.recipe.role import Role
from semseg_ref.base.errors import InputError, did_you_mean
from semseg_ref.transform import Transform


class Pipeline:
    """Applies named steps in a stated order to an image and its label.

    Steps may be of several families, mixed freely: `semseg_ref.transform`, `mmseg`, torchvision's `transforms.v2` and
    albumentations (`adapters`). All randomness is that of the steps, which draw from python's, numpy's or torch's
    global generator: a loader that seeds those for each sample fixes the result, whatever the worker. With the official
    steps the result is bitwise that of `semseg_ref.transform.train_transform`.

    Args:
        order: names of the steps, first to last.
        steps: callables `(image, label) -> (image, label)` by name. A step that is None is left out, so that an
            overlay can drop one with `name: null`; its name may then stay in `order` or go.
        crop_first: computes only the pixels that the crop keeps, with the same draws and bits, for steps that say how
            (`lazy_sample`); the first one that does not, and those after it, get whole what is computed by then. It
            changes nothing where that is the first step, else images come as uint8.

    Raises:
        InputError: a name in `order` twice or without a step, a step that is not in `order`, or no callable.
    """

    ROLE = Role(
        "augmentation",
        affects="augmentation",
        arguments={"crop_first": Role("speed", affects="speed", resume=True, control=True, counted=False)},
    )

    def __init__(self, order: Sequence[str], steps: Mapping[str, Transform | None], crop_first: bool = False) -> None:
        for name, count in Counter(order).items():
            if count > 1:
                raise InputError(f"augmentation.order: step '{name}' is named {count} times; each step runs once")
            if name not in steps:
                raise InputError(
                    f"augmentation.order: no step '{name}' in augmentation.steps{did_you_mean(name, steps)}"
                )
        for name, step in steps.items():
            if step is None:
                continue
            if name not in order:
                raise InputError(
                    f"augmentation.steps: step '{name}' is not in augmentation.order, so it would never run"
                    f"{did_you_mean(name, order)}"
                )
            if not callable(step):
                raise InputError(
                    f"augmentation.steps.{name}: expected a node with `_target_`, or null to leave the step out; "
                    f"found {step!r}"
                )
        self.steps: dict[str, Transform] = {name: adapted(step) for name in order if (step := steps[name]) is not None}
        self.crop_first = crop_first and hasattr(next(iter(self.steps.values()), None), "lazily")
        self.takes_uint8 = self.crop_first

    def __call__(self, image: Any, label: Any) -> tuple[Any, Any]:
        """Augment one sample.

        Args:
            image: float32 array [H, W, 3], RGB 0..255; uint8 with `crop_first`.
            label: uint8 array [H, W], class indices and the ignore index.

        Returns:
            With the official steps: float32 tensor [3, h, w], normalised, and int64 tensor [h, w].
        """
        if self.crop_first:
            return self.computed_from(DecodedSample(np.asarray(image), np.asarray(label)))
        for step in self.steps.values():
            image, label = step(image, label)
        return image, label

    def computed_from(self, sample: LazySample) -> tuple[Any, Any]:
        """The same for a lazy sample, of which each step computes what the next one asks for as long as it can."""
        steps = iter(self.steps.values())
        step = next(steps, None)
        while hasattr(step, "lazily"):
            sample = step.lazily(sample)
            step = next(steps, None)
        image, label = whole(sample)
        while step is not None:
            image, label = step(image, label)
            step = next(steps, None)
        return image, label

    def __repr__(self) -> str:
        return f"Pipeline({' > '.join(self.steps)})"
