"""Which children of a network are heads, for parameter groups: as it says, or by its library's names."""

from collections.abc import Sequence

from torch import nn

from semseg_ref.optimizer import group_modules

PRETRAINED_PARTS = ("backbone", "encoder")
"""What torchvision's and segmentation_models_pytorch's networks call the part that starts from ImageNet's weights."""


def head_names(network: nn.Module) -> Sequence[str]:
    """Names of the child modules that are heads; none where nobody knows.

    A network's own `head_names`; or the reference's names; or, where one child is a backbone by its library's name
    (that of transformers is in `base_model_prefix`), all the others.
    """
    said = getattr(network, "head_names", None) or group_modules(network)[1]
    children = [name for name, _ in network.named_children()]
    backbones = {*PRETRAINED_PARTS, getattr(network, "base_model_prefix", None)} & set(children)
    if backbones and not set(said) - {"aux"}:
        return [name for name in children if name not in backbones]
    return said
