"""The reference's networks: PSPNet, PSANet and their ResNet backbones, with its entry names."""

from semseg_ref.model.psanet import PSANet, psa_mask
from semseg_ref.model.pspnet import PSPNet, downsample_target
from semseg_ref.model.resnet import ResNet, resnet50, resnet101, resnet152

__all__ = ["PSANet", "PSPNet", "ResNet", "downsample_target", "psa_mask", "resnet50", "resnet101", "resnet152"]
