"""Augmentation as a recipe node: named steps in a stated order, and the arms that swap one or all of them.

`Pipeline` runs the reference's own steps (`semseg_ref.transform`) or any with the same call. The steps of the earlier
Catalyst attempt are in `catalyst_2020`, one deviation each. `AlbumentationsPipeline` draws from the reference's
distributions with another library. `CropFirst` gives the reference's bits and computes the crop only.
"""

from catalyst_cityscapes.data.augmentation.albumentations_pipeline import AlbumentationsPipeline
from catalyst_cityscapes.data.augmentation.catalyst_2020 import BoxBlur, ShiftScaleRotate, SmallestMaxSize
from catalyst_cityscapes.data.augmentation.crop_first import CropFirst
from catalyst_cityscapes.data.augmentation.pipeline import Pipeline

__all__ = ["AlbumentationsPipeline", "BoxBlur", "CropFirst", "Pipeline", "ShiftScaleRotate", "SmallestMaxSize"]
