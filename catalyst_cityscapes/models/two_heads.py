"""What a network with a main and an auxiliary head tells the optimizer about itself."""

from typing import ClassVar


class TwoHeads:
    """Mix-in for `nn.Module`: names of child modules, in the order of the optimizer's parameter groups.

    A name whose child a network does not have (no pyramid pooling, say) is left out.
    """

    BACKBONE: ClassVar[tuple[str, ...]] = ()
    HEADS: ClassVar[tuple[str, ...]] = ()

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
