"""What this project's networks say about themselves: their heads, and how their logits meet the labels."""

from typing import ClassVar

from torch import Tensor

from catalyst_cityscapes.models.outputs import Resized
from semseg_ref.base.checkpoints.state_dict import Match


class Segmenter:
    """Mix-in for `nn.Module`: names of child modules, in the order of the optimizer's parameter groups.

    A name whose child a network does not have (no pyramid pooling, say) is left out. Logits are resized, and labels
    taken at the smaller logits' pixels, as the reference does; a network that does otherwise says so.
    """

    BACKBONE: ClassVar[tuple[str, ...]] = ()
    HEADS: ClassVar[tuple[str, ...]] = ()
    align_corners: bool = True
    resized_for_loss: Resized = "labels"

    def match_pretrained(self, weights: dict[str, Tensor]) -> Match | None:
        """How a file of pre-trained weights, without a wrapper's prefix, fits the network's backbone.

        None for a network that takes no such files, or whose files are recognised by the backbone's kind.
        """
        return None

    @property
    def backbone_names(self) -> tuple[str, ...]:
        """Children that start from pre-trained weights and get the base learning rate."""
        return tuple(name for name in self.BACKBONE if hasattr(self, name))

    @property
    def head_names(self) -> tuple[str, ...]:
        """Children that start from scratch; the reference trains them at ten times the base learning rate."""
        return tuple(name for name in self.HEADS if hasattr(self, name))

    @property
    def parameter_groups_spec(self) -> tuple[tuple[str, bool], ...]:
        """(name, is head) of each parameter group, backbone first. Together they hold every parameter once."""
        return tuple((n, False) for n in self.backbone_names) + tuple((n, True) for n in self.head_names)
