"""mmsegmentation's networks, with its names and its function: `build("segformer_b0")`."""

from catalyst_cityscapes.models.mmseg.families import NAMES, build

__all__ = ["NAMES", "build"]
