"""What all networks of mmsegmentation are made of: convolution with norm and activation, resizing, heads."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvModule(nn.Module):
    """Convolution without a bias, norm, ReLU; sides stay as they are. Entries `conv.*` and `bn.*` or `gn.*`.

    Args:
        inside: input channels.
        outside: output channels.
        kernel: odd side of the kernel.
        dilation: of the kernel; the padding keeps the size.
        groups: of the convolution.
        norm: batch norm, group norm in 32 groups, or None: then the convolution has a bias.
        activation: False leaves the ReLU out.

    Source: mmsegmentation 1.2.2.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int = 1,
        dilation: int = 1,
        groups: int = 1,
        norm: Literal["bn", "gn"] | None = "bn",
        activation: bool = True,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(
            inside, outside, kernel, padding=padding, dilation=dilation, groups=groups, bias=norm is None
        )
        if norm == "bn":
            self.bn = nn.BatchNorm2d(outside)
        elif norm == "gn":
            self.gn = nn.GroupNorm(32, outside)
        self.norm_name = norm
        self.activation = nn.ReLU(inplace=True) if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """float [N, inside, H, W] -> float [N, outside, H, W]."""
        x = self.conv(x)
        if self.norm_name is not None:
            x = getattr(self, self.norm_name)(x)
        return self.activation(x)


class SeparableConvModule(nn.Module):
    """A depth-wise 3x3 and a point-wise 1x1 `ConvModule`: both with a norm and a ReLU of their own (section 5)."""

    def __init__(self, inside: int, outside: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvModule(inside, inside, 3, dilation, groups=inside)
        self.pointwise_conv = ConvModule(inside, outside)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, inside, H, W] -> float [N, outside, H, W]."""
        return self.pointwise_conv(self.depthwise_conv(x))


class Head(nn.Module):
    """A head's classifier, registered before the layers of the head itself: that is its place in the state dict.

    Args:
        channels: input channels of the classifier.
        classes: number of classes K.
        dropout: probability of dropping a channel before it, 0..1; 0 for none.
        align_corners: of the resizing inside the head.
    """

    def __init__(self, channels: int, classes: int, dropout: float, align_corners: bool) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.dropout = nn.Dropout2d(dropout) if dropout > 0 else nn.Identity()
        self.align_corners = align_corners

    def classified(self, x: Tensor) -> Tensor:
        """Features float [N, channels, h, w] -> logits float [N, K, h, w]."""
        return self.conv_seg(self.dropout(x))

    def resized(self, x: Tensor, like: Tensor) -> Tensor:
        """`x` float [N, C, h, w] at the height and width of `like`, bilinearly."""
        return resize(x, like.shape[-2:], self.align_corners)

    def joined(self, features: Sequence[Tensor]) -> Tensor:
        """All at the first one's size and stacked along the channels, in their order."""
        return torch.cat([self.resized(each, features[0]) for each in features], dim=1)


def resize(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """float [N, C, h, w] -> float [N, C, *size], bilinear without antialiasing; as it is where the size fits."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


def init_fan_out(module: nn.Module, is_divided_by_groups: bool = False) -> None:
    """All convolutions inside: N(0, 2 / (output channels x kernel's area)), bias 0 (section 10).

    Args:
        module: whose convolutions are drawn, in the order of the state dict.
        is_divided_by_groups: the fan-out of a depth-wise convolution counts one group, as in MiT and MSCAN; elsewhere
            it counts all, so that these start with far smaller weights.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * math.prod(layer.kernel_size)
            groups = layer.groups if is_divided_by_groups else 1
            nn.init.normal_(layer.weight, std=math.sqrt(2 * groups / fan_out))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_head(head: Head, is_classifier_drawn: bool = True) -> None:
    """A head's convolutions by fan-out, its classifier N(0, 0.01) with bias 0.

    Args:
        head: see above.
        is_classifier_drawn: False leaves the classifier at torch's uniform default, as OCRNet's two (section 0.5).
    """
    classifier = {name: value.clone() for name, value in head.conv_seg.state_dict().items()}
    init_fan_out(head)
    if is_classifier_drawn:
        nn.init.normal_(head.conv_seg.weight, std=0.01)
    else:
        head.conv_seg.load_state_dict(classifier)


def linear_rates(drop_path: float, depths: Sequence[int]) -> list[list[float]]:
    """Stochastic depth's rates, 0 at the first block to `drop_path` at the last, one list a stage; float32 values."""
    rates = torch.linspace(0, drop_path, sum(depths), device="cpu")
    return [part.tolist() for part in rates.split(list(depths))]
