"""Components with one fault each, for the catalogue of planted faults: steps, schedules, networks, losses, metrics.

A recipe names them as `support.faults.components.CLASS` where this module is trusted.
"""

import random

import cv2
import numpy as np
import torch
from catalyst.callbacks import OptimizerCallback
from catalyst.core.callback import IMetricCallback, ISchedulerCallback
from torch import nn

from catalyst_cityscapes.callbacks.mean_iou import count_confusion
from semseg_ref.metric import areas_from_matrix, scores_from_areas
from support.networks.small import SmallLogits


# -- augmentation steps --------------------------------------------------------------------------------------------
class SmoothLabel:
    """Shrinks and enlarges the label with bilinear interpolation."""

    def __call__(self, image, label):
        h, w = label.shape
        small = cv2.resize(label, (w // 2, h // 2), interpolation=cv2.INTER_LINEAR)
        return image, cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)


class MirrorImageOnly:
    """Mirrors the image and forgets the label."""

    def __call__(self, image, label):
        return (image[:, ::-1].copy(), label) if random.random() < 0.5 else (image, label)


class HideClass:
    """Writes the ignore index over a class that is there."""

    def __call__(self, image, label):
        return image, np.where(label == 18, np.uint8(255), label)


class UnitRange:
    """Scales grey levels to 0..1 and leaves the statistics of 0..255."""

    def __call__(self, image, label):
        return image / np.float32(255), label


class Contrast:
    """Draws a contrast from 0.6 to 1.4."""

    def __call__(self, image, label):
        return image * np.float32(random.uniform(0.6, 1.4)), label


class SwapRedAndBlue:
    """Gives the channels as OpenCV reads them."""

    def __call__(self, image, label):
        return np.ascontiguousarray(image[..., ::-1]), label


def flip_all(image, label):
    """Mirrors every image; a function and no class."""
    return image[:, ::-1].copy(), label[:, ::-1].copy()


class AsMapping:
    """Returns by name."""

    def __call__(self, image, label):
        return {"image": image, "label": label}


class OwnGenerator:
    """Shifts grey levels by a generator that is copied into each worker."""

    def __init__(self):
        self.generator = np.random.default_rng(0)

    def __call__(self, image, label):
        return image + np.float32(self.generator.uniform(0, 20)), label


class SystemDraws:
    """Shifts grey levels by the operating system's random numbers, which no stream of a recipe seeds."""

    def __call__(self, image, label):
        return image + np.float32(random.SystemRandom().uniform(0, 20)), label


class Elastic:
    """Waves the rows."""

    def __call__(self, image, label):
        h, w = label.shape
        y, x = np.mgrid[:h, :w].astype(np.float32)
        y += 6 * np.sin(x / 9 + random.uniform(0, 6))
        warped = cv2.remap(image, x, y, cv2.INTER_LINEAR)
        return warped, cv2.remap(label, x, y, cv2.INTER_NEAREST, borderValue=255)


class Fails:
    """A step that does not take what it gets."""

    def __call__(self, image, label):
        return image.reshape(7, 7), label


class OnlyPadding:
    """Throws the image out of the canvas in half of the draws."""

    def __call__(self, image, label):
        if random.random() < 0.5:
            return image, label
        return np.full_like(image, 123.675), np.full_like(label, 255)


# -- schedules, groups, networks, losses, metrics ------------------------------------------------------------------
class TooFast(ISchedulerCallback):
    """Falls to 0 in an eighth of the training, as a schedule does that is stepped once a process."""

    def on_batch_end(self, runner):
        total = runner.num_epochs * runner.steps_per_epoch
        for group in runner.optimizer.param_groups:
            group["lr"] = 0.01 * group["lr_multiplier"] * max(1 - 8 * runner.optimizer_steps / total, 0)


class ByEpoch(ISchedulerCallback):
    """Poly, but written between epochs only."""

    def on_epoch_start(self, runner):
        for group in runner.optimizer.param_groups:
            share = 1 - (runner.epoch_step - 1) / runner.num_epochs
            group["lr"] = 0.01 * group["lr_multiplier"] * share**0.9


class Restart(ISchedulerCallback):
    """Falls, and starts again in the middle."""

    def on_batch_end(self, runner):
        total = runner.num_epochs * runner.steps_per_epoch
        done = 2 * (runner.optimizer_steps % (total // 2)) / total
        for group in runner.optimizer.param_groups:
            group["lr"] = 0.01 * group["lr_multiplier"] * (1 - done)


class WrappedLoss(nn.CrossEntropyLoss):
    """A loss of one's own around another, with class weights and no annotations."""

    def __init__(self, weight=None, inner=None):
        super().__init__(weight=weight, ignore_index=255)
        self.inner = inner


class OwnStep(OptimizerCallback):
    """Steps the optimiser, as the class that it is made from."""


class OneHead(SmallLogits):
    """Gives no auxiliary logits."""

    def forward(self, x):
        return super().forward(x)[0], None


class Frozen(SmallLogits):
    """Does not train its first layer."""

    def __init__(self, classes=19):
        super().__init__(classes)
        self.layer0.requires_grad_(False)


class WeightedLoss(nn.CrossEntropyLoss):
    """Weighs the classes."""

    def __init__(self, ignore_index):
        super().__init__(weight=torch.linspace(0.5, 2, 19), ignore_index=ignore_index)


class IgnoredAsLast(IMetricCallback):
    """mIoU that counts ignored pixels for the last class."""

    def on_loader_start(self, runner):
        self.matrix = torch.zeros(19, 19, dtype=torch.int64)

    def on_batch_end(self, runner):
        prediction, target = runner.batch["logits"].argmax(1), runner.batch["targets"].clamp(max=18)
        self.matrix += count_confusion(prediction, target, 19, 255)

    def on_loader_end(self, runner):
        runner.loader_metrics["iou"] = scores_from_areas(*areas_from_matrix(self.matrix.numpy())).mIoU
