"""SegNeXt: MSCAN, a convolutional attention network (mmsegmentation 1.2.2), under its head."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from catalyst_cityscapes.models.mmseg.hamburger import LightHamHead
from catalyst_cityscapes.models.mmseg.layers import init_fan_out, init_head, linear_rates
from catalyst_cityscapes.models.mmseg.network import EncoderDecoder


@dataclass(frozen=True)
class Size:
    """An MSCAN's size.

    Args:
        widths: channels of the four stages.
        depths: blocks in each.
        head_channels: width of the published head.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    head_channels: int


VARIANTS = {
    "t": Size((32, 64, 160, 256), (3, 3, 5, 2), 256),
    "s": Size((64, 128, 320, 512), (2, 2, 4, 2), 256),
    "b": Size((64, 128, 320, 512), (3, 3, 12, 3), 512),
    # From the paper's table 2 (Guo et al. 2022); no golden of it.
    "l": Size((64, 128, 320, 512), (3, 5, 27, 3), 1024),
}
MLP_RATIOS = (8, 8, 4, 4)
STRIPS = (7, 11, 21)
"""Lengths of the strips that stand for large kernels."""


class SpatialGatingUnit(nn.Module):
    """A map of weights from a 5x5 and three pairs of strips, all depth-wise, times the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(width, width, 5, padding=2, groups=width)
        for index, length in enumerate(STRIPS):
            half = length // 2
            across = nn.Conv2d(width, width, (1, length), padding=(0, half), groups=width)
            down = nn.Conv2d(width, width, (length, 1), padding=(half, 0), groups=width)
            self.add_module(f"conv{index}_1", across)
            self.add_module(f"conv{index}_2", down)
        self.conv3 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, width, h, w] -> the same shape."""
        centre = self.conv0(x)
        total = centre
        for index in range(len(STRIPS)):
            total = total + getattr(self, f"conv{index}_2")(getattr(self, f"conv{index}_1")(centre))
        return self.conv3(total) * x


class Attention(nn.Module):
    """The gate between two 1x1 convolutions, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(width, width, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = SpatialGatingUnit(width)
        self.proj_2 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, width, h, w] -> the same shape."""
        return self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x)))) + x


class Mlp(nn.Module):
    """Two 1x1 convolutions with a depth-wise 3x3 one between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, hidden, 1)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, width, h, w] -> the same shape."""
        return self.fc2(self.act(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    """Attention and convolutions, each behind a batch norm, scaled by channel, beside a shortcut."""

    def __init__(self, width: int, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.layer_scale_1 = nn.Parameter(torch.full((width,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((width,), 0.01))
        self.norm1 = nn.BatchNorm2d(width)
        self.attn = Attention(width)
        self.drop_path = StochasticDepth(drop_path, "row")
        self.norm2 = nn.BatchNorm2d(width)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, width, h, w] -> the same shape."""
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """A convolution to half the size, and a batch norm."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.proj = _halved(inside, outside)
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, inside, H, W] -> float [N, outside, h, w]."""
        return self.norm(self.proj(x))


class Stem(nn.Module):
    """Two such convolutions and norms, a GELU between them."""

    def __init__(self, outside: int) -> None:
        super().__init__()
        half = outside // 2
        self.proj = nn.Sequential(
            _halved(3, half), nn.BatchNorm2d(half), nn.GELU(), _halved(half, outside), nn.BatchNorm2d(outside)
        )

    def forward(self, x: Tensor) -> Tensor:
        """float [N, 3, H, W] -> float [N, outside, h, w] at stride 4."""
        return self.proj(x)


class MSCAN(nn.Module):
    """Four stages: `patch_embed<i>`, `block<i>`, `norm<i>` with i from 1; every convolution has a bias.

    Args:
        variant: of `VARIANTS`.
        drop_path: rate of stochastic depth at the last block, 0..1.
    """

    def __init__(self, variant: str, drop_path: float) -> None:
        super().__init__()
        size = VARIANTS[variant]
        self.channels = size.widths
        rates = linear_rates(drop_path, size.depths)
        for stage, (width, ratio) in enumerate(zip(size.widths, MLP_RATIOS, strict=True)):
            embedding = PatchEmbed(size.widths[stage - 1], width) if stage else Stem(width)
            self.add_module(f"patch_embed{stage + 1}", embedding)
            self.add_module(
                f"block{stage + 1}", nn.ModuleList(Block(width, ratio * width, rate) for rate in rates[stage])
            )
            self.add_module(f"norm{stage + 1}", nn.LayerNorm(width))
        init_fan_out(self, is_divided_by_groups=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """float [N, 3, H, W] -> the four stages' features, strides 4, 8, 16, 32."""
        features = []
        for stage in range(1, 5):
            x = getattr(self, f"patch_embed{stage}")(x)
            for block in getattr(self, f"block{stage}"):
                x = block(x)
            # The norm is over the channels, which it wants last.
            x = getattr(self, f"norm{stage}")(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
            features.append(x)
        return features


def _halved(inside: int, outside: int) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, 2, 1)


def segnext(
    variant: str,
    classes: int,
    align_corners: bool,
    dropout: float,
    drop_path: float,
    head_channels: int | None,
) -> EncoderDecoder:
    """SegNeXt of `VARIANTS`; random weights. `head_channels` None takes the published width of the head."""
    backbone = MSCAN(variant, drop_path)
    channels = head_channels or VARIANTS[variant].head_channels
    head = LightHamHead(backbone.channels[1:], channels, classes, dropout, align_corners)
    init_head(head)
    return EncoderDecoder(backbone, head)
