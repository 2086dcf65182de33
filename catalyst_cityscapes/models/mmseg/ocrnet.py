"""OCRNet (object-contextual representations) on HRNet (mmsegmentation 1.2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from catalyst_cityscapes.models.mmseg.hrnet import HRNet, branches_head
from catalyst_cityscapes.models.mmseg.layers import ConvModule, Head, init_head
from catalyst_cityscapes.models.mmseg.network import CascadeEncoderDecoder

CHANNELS, KEY_CHANNELS = 512, 256


class ObjectAttention(nn.Module):
    """Each pixel's weighted sum of the regions' features, joined with its own.

    Args:
        channels: of pixels and regions.
        key_channels: of queries, keys and values.
    """

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.key_project = _two(channels, key_channels)
        self.query_project = _two(channels, key_channels)
        self.value_project = ConvModule(channels, key_channels)
        self.out_project = ConvModule(key_channels, channels)
        self.bottleneck = ConvModule(2 * channels, channels)

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Pixels float [N, C, h, w] and regions float [N, C, K, 1] -> float [N, C, h, w]."""
        query = self.query_project(pixels).flatten(2).transpose(1, 2)
        key = self.key_project(regions).flatten(2)
        value = self.value_project(regions).flatten(2).transpose(1, 2)
        similarity = torch.softmax(torch.matmul(query, key) * key.shape[1] ** -0.5, dim=-1)
        context = torch.matmul(similarity, value).transpose(1, 2)
        context = context.reshape(*context.shape[:2], *pixels.shape[-2:])
        return self.bottleneck(torch.cat([self.out_project(context), pixels], dim=1))


class OCRHead(Head):
    """Features of the K regions that the first head's logits show, given back to the pixels.

    Args:
        inside: channels of the four features together.
        classes: number of classes K.
        dropout: before the classifier, 0..1.
        align_corners: of the features' resizing.
    """

    def __init__(self, inside: int, classes: int, dropout: float, align_corners: bool) -> None:
        super().__init__(CHANNELS, classes, dropout, align_corners)
        self.object_context_block = ObjectAttention(CHANNELS, KEY_CHANNELS)
        self.bottleneck = ConvModule(inside, CHANNELS, 3)

    def forward(self, features: Sequence[Tensor], first: Tensor) -> Tensor:
        """A backbone's features and the first head's logits [N, K, h, w] -> logits float [N, K, h, w] at stride 4."""
        pixels = self.bottleneck(self.joined(features))
        # Of each class over all pixels, so that a region's feature is a mean of its pixels'.
        shares = torch.softmax(first.flatten(2), dim=2)
        regions = torch.matmul(shares, pixels.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(3)
        return self.classified(self.object_context_block(pixels, regions.contiguous()))


def _two(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(ConvModule(inside, outside), ConvModule(outside, outside))


def ocrnet(variant: str, classes: int, align_corners: bool, dropout: float) -> CascadeEncoderDecoder:
    """OCRNet on an HRNet of `hrnet.VARIANTS`; random weights, both classifiers torch's uniform ones."""
    backbone = HRNet(variant)
    first = branches_head(backbone.channels, classes, align_corners, dropout)
    second = OCRHead(sum(backbone.channels), classes, dropout, align_corners)
    for head in (first, second):
        init_head(head, is_classifier_drawn=False)
    return CascadeEncoderDecoder(backbone, first, second)
