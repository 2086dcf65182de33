"""mmsegmentation's DeepLabV3+ on ResNet-V1c (mmsegmentation 1.2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from catalyst_cityscapes.models.mmseg.layers import ConvModule, Head, SeparableConvModule, init_head
from catalyst_cityscapes.models.mmseg.network import EncoderDecoder
from catalyst_cityscapes.models.mmseg.pspnet import auxiliary_head
from catalyst_cityscapes.models.mmseg.resnet import ResNetV1c

WIDTHS = {"r18": (128, 12, 64), "r50": (512, 48, 256), "r101": (512, 48, 256)}
"""Channels of the main head, of the low-level features in it, and of the auxiliary head."""
DILATIONS = (12, 24, 36)


class DepthwiseSeparableASPPHead(Head):
    """Atrous spatial pyramid pooling of the last feature, then its joint with the first one at stride 4.

    Args:
        inside: channels of the last feature.
        low: channels of the first one.
        channels: of the head.
        low_channels: to which the first feature is brought.
        classes: number of classes K.
        dropout: before the classifier, 0..1.
        align_corners: of the resizing.
    """

    def __init__(
        self,
        inside: int,
        low: int,
        channels: int,
        low_channels: int,
        classes: int,
        dropout: float,
        align_corners: bool,
    ) -> None:
        super().__init__(channels, classes, dropout, align_corners)
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvModule(inside, channels))
        self.aspp_modules = nn.ModuleList(
            [ConvModule(inside, channels), *(SeparableConvModule(inside, channels, rate) for rate in DILATIONS)]
        )
        self.bottleneck = ConvModule((2 + len(DILATIONS)) * channels, channels, 3)
        self.c1_bottleneck = ConvModule(low, low_channels)
        self.sep_bottleneck = nn.Sequential(
            SeparableConvModule(channels + low_channels, channels), SeparableConvModule(channels, channels)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """A backbone's features -> logits float [N, K, h, w] at stride 4."""
        x = features[-1]
        parts = [self.resized(self.image_pool(x), x), *(branch(x) for branch in self.aspp_modules)]
        context = self.bottleneck(torch.cat(parts, dim=1))
        low = self.c1_bottleneck(features[0])
        return self.classified(self.sep_bottleneck(torch.cat([self.resized(context, low), low], dim=1)))


def deeplabv3plus(variant: str, classes: int, align_corners: bool, dropout: float) -> EncoderDecoder:
    """DeepLabV3+ on a ResNet-V1c of `WIDTHS`, with PSPNet's auxiliary head; random weights."""
    backbone = ResNetV1c(variant)
    channels, low, auxiliary = WIDTHS[variant]
    head = DepthwiseSeparableASPPHead(
        backbone.channels[3], backbone.channels[0], channels, low, classes, dropout, align_corners
    )
    init_head(head)
    return EncoderDecoder(backbone, head, auxiliary_head(backbone, auxiliary, classes, dropout, align_corners))
