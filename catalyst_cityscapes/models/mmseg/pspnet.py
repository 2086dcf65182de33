"""mmsegmentation's PSPNet: pyramid pooling on ResNet-V1c (mmsegmentation 1.2.2).

Another function than the reference's: narrower stem, contracted dilation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from catalyst_cityscapes.models.mmseg.fcn import FCNHead
from catalyst_cityscapes.models.mmseg.layers import ConvModule, Head, init_head
from catalyst_cityscapes.models.mmseg.network import EncoderDecoder
from catalyst_cityscapes.models.mmseg.resnet import ResNetV1c

WIDTHS = {"r18": (128, 64), "r50": (512, 256), "r101": (512, 256)}
"""Channels of the main and of the auxiliary head."""
BINS = (1, 2, 3, 6)


class PSPHead(Head):
    """Means over grids of 1, 2, 3 and 6 cells a side, beside the features themselves.

    Args:
        inside: channels of the last feature.
        channels: of each grid's convolution and of the one after them.
        classes: number of classes K.
        dropout: before the classifier, 0..1.
        align_corners: of the grids' resizing.
    """

    def __init__(self, inside: int, channels: int, classes: int, dropout: float, align_corners: bool) -> None:
        super().__init__(channels, classes, dropout, align_corners)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), ConvModule(inside, channels)) for side in BINS
        )
        self.bottleneck = ConvModule(inside + len(BINS) * channels, channels, 3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """A backbone's features -> logits float [N, K, h, w] at stride 8."""
        x = features[-1]
        pooled = [self.resized(grid(x), x) for grid in self.psp_modules]
        return self.classified(self.bottleneck(torch.cat([x, *pooled], dim=1)))


def pspnet(variant: str, classes: int, align_corners: bool, dropout: float) -> EncoderDecoder:
    """PSPNet on a ResNet-V1c of `WIDTHS`, with the auxiliary head on its third stage; random weights."""
    backbone = ResNetV1c(variant)
    channels, auxiliary = WIDTHS[variant]
    head = PSPHead(backbone.channels[3], channels, classes, dropout, align_corners)
    init_head(head)
    return EncoderDecoder(backbone, head, auxiliary_head(backbone, auxiliary, classes, dropout, align_corners))


def auxiliary_head(backbone: ResNetV1c, channels: int, classes: int, dropout: float, align_corners: bool) -> FCNHead:
    """The head on the third stage's features that training alone needs, also DeepLabV3+'s."""
    head = FCNHead(backbone.channels[2], channels, (2,), 3, classes, dropout, align_corners)
    init_head(head)
    return head
