"""The official augmentation as a recipe holds it, and how a run builds it; shared by the augmentation tests."""

import random

import hydra_slayer
import numpy as np
import torch
import yaml
from omegaconf import OmegaConf

from catalyst_cityscapes.recipe.loading import CONFIGS, overlay
from support.golden.inputs import rec_image, rec_label

SWAP = CONFIGS / "swap"
MEAN = [123.675, 116.28, 103.53]
CROP = (97, 129)
OFFICIAL = f"""
data:
  crop: [97, 129]
  ignore_index: 255
augmentation:
  _target_: catalyst_cityscapes.data.augmentation.Pipeline
  order: [scale, rotate, blur, flip, crop, to_tensor, normalize]
  steps:
    scale: {{_target_: semseg_ref.transform.RandScale, scale: [0.5, 2.0]}}
    rotate: {{_target_: semseg_ref.transform.RandRotate, rotate: [-10, 10], padding: {MEAN}, ignore_label: 255, p: 0.5}}
    blur: {{_target_: semseg_ref.transform.RandomGaussianBlur, radius: 5}}
    flip: {{_target_: semseg_ref.transform.RandomHorizontalFlip, p: 0.5}}
    crop:
      _target_: semseg_ref.transform.Crop
      size: ${{data.crop}}
      crop_type: rand
      padding: {MEAN}
      ignore_label: 255
    to_tensor: {{_target_: semseg_ref.transform.ToTensor}}
    normalize: {{_target_: semseg_ref.transform.Normalize, mean: {MEAN}, std: [58.395, 57.12, 57.375]}}
"""


def sample(seed=3, h=128, w=192):
    return rec_image(seed, h, w).astype(np.float32), rec_label(seed + 1, h, w, 5)


def build(*overlays):
    """The augmentation of the official recipe with overlays (names of swap files, or YAML text), as a run builds it."""
    content = yaml.safe_load(OFFICIAL)
    for text in overlays:
        path = SWAP / f"{text}.yml"
        content = overlay(content, yaml.safe_load(text if "\n" in text else path.read_text()))
    resolved = OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    return hydra_slayer.get_from_params(**resolved["augmentation"])


def seeded(seed, pipeline, image, label):
    random.seed(seed)
    return pipeline(image, label)


def equal(a, b):
    return all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(a, b, strict=True))
