"""SegFormer: a MiT (mix transformer) under mmsegmentation's head (mmsegmentation 1.2.2)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from catalyst_cityscapes.models.mmseg.layers import ConvModule, Head, init_fan_out, init_head, linear_rates
from catalyst_cityscapes.models.mmseg.network import EncoderDecoder

VARIANTS: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "b0": (32, (2, 2, 2, 2)),
    "b1": (64, (2, 2, 2, 2)),
    "b2": (64, (3, 4, 6, 3)),
    "b3": (64, (3, 4, 18, 3)),
    "b4": (64, (3, 8, 27, 3)),
    "b5": (64, (3, 6, 40, 3)),
}
"""Width of the first stage, and how many blocks each stage has."""
HEADS = (1, 2, 5, 8)
"""Attention heads a stage; also how many times the first stage's width a stage is wide."""
REDUCTIONS = (8, 4, 2, 1)
"""By how much a stage's keys and values are brought down a side."""
EPS = 1e-6
CHANNELS = 256


class PatchEmbed(nn.Module):
    """An overlapping convolution that brings the size down, and a layer norm over the channels."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(inside, outside, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(outside, EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """float [N, inside, H, W] -> tokens float [N, h x w, outside] and (h, w)."""
        x = self.projection(x)
        return self.norm(x.flatten(2).transpose(1, 2)), (x.shape[2], x.shape[3])


class EfficientAttention(nn.Module):
    """torch's multi-head attention whose keys and values come from a coarser grid.

    Rows and columns that fill no whole cell of that grid are left out of it.
    """

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, reduction)
            self.norm = nn.LayerNorm(width, EPS)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens float [N, h x w, width] -> the same shape."""
        source = x
        if hasattr(self, "sr"):
            coarse = self.sr(as_image(x, size))
            source = self.norm(coarse.flatten(2).transpose(1, 2))
        source = source.transpose(0, 1)
        # With weights asked for torch multiplies and normalises plainly, as it did for the published numbers; without
        # them it takes a fused kernel, which rounds otherwise.
        out, _ = self.attn(x.transpose(0, 1), source, source, need_weights=True, average_attn_weights=False)
        return out.transpose(0, 1)


class MixFFN(nn.Module):
    """Two 1x1 convolutions with a depth-wise 3x3 one between them; entries `layers.0`, `.1` and `.4`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Identity(),  # a dropout of 0 there, which keeps the last convolution's number
            nn.Conv2d(hidden, width, 1),
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens float [N, h x w, width] -> the same shape."""
        return self.layers(as_image(x, size)).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Attention and convolutions, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPS)
        self.attn = EfficientAttention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, EPS)
        self.ffn = MixFFN(width, 4 * width)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens float [N, h x w, width] -> the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.ffn(self.norm2(x), size))


class MixVisionTransformer(nn.Module):
    """Four stages of blocks; entries `layers.<stage>.0` (embedding), `.1.<block>`, `.2` (layer norm).

    Args:
        variant: of `VARIANTS`.
        drop_path: rate of stochastic depth at the last block, 0..1.
    """

    least_side = max(4 * 2**stage * (reduction - 1) + 1 for stage, reduction in enumerate(REDUCTIONS))
    """Pixels; a stage of stride s, whose sides are rounded up, needs one whole cell of its coarser grid."""

    def __init__(self, variant: str, drop_path: float) -> None:
        super().__init__()
        base, depths = VARIANTS[variant]
        self.channels = tuple(base * heads for heads in HEADS)
        self.layers = nn.ModuleList()
        inside, rates = 3, linear_rates(drop_path, depths)
        for stage, width in enumerate(self.channels):
            embedding = PatchEmbed(inside, width, *((7, 4) if stage == 0 else (3, 2)))
            blocks = (Block(width, HEADS[stage], REDUCTIONS[stage], rate) for rate in rates[stage])
            self.layers.append(nn.ModuleList([embedding, nn.ModuleList(blocks), nn.LayerNorm(width, EPS)]))
            inside = width
        init_fan_out(self, is_divided_by_groups=True)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                # The attentions' output; their input projection keeps torch's Xavier draw.
                nn.init.trunc_normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor) -> list[Tensor]:
        """float [N, 3, H, W] -> the four stages' features, strides 4, 8, 16, 32."""
        features = []
        for embedding, blocks, norm in self.layers:
            x, size = embedding(x)
            for block in blocks:
                x = block(x, size)
            x = as_image(norm(x), size)
            features.append(x)
        return features


class SegformerHead(Head):
    """Each stage through a 1x1 convolution, batch norm and ReLU, joined at stride 4, first stage first.

    The authors' head has bare linear layers and joins the last stage first: weights are not interchangeable.

    Args:
        inside: channels of the four features.
        classes: number of classes K.
        dropout: before the classifier, 0..1.
        align_corners: of the features' resizing.
    """

    def __init__(self, inside: Sequence[int], classes: int, dropout: float, align_corners: bool) -> None:
        super().__init__(CHANNELS, classes, dropout, align_corners)
        self.convs = nn.ModuleList(ConvModule(channels, CHANNELS) for channels in inside)
        self.fusion_conv = ConvModule(len(inside) * CHANNELS, CHANNELS)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """A backbone's features -> logits float [N, K, h, w] at stride 4."""
        narrow = [conv(each) for conv, each in zip(self.convs, features, strict=True)]
        return self.classified(self.fusion_conv(self.joined(narrow)))


def as_image(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens float [N, h x w, C] -> float [N, C, h, w], contiguous."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *size).contiguous()


def segformer(variant: str, classes: int, align_corners: bool, dropout: float, drop_path: float) -> EncoderDecoder:
    """SegFormer of `VARIANTS`; random weights."""
    backbone = MixVisionTransformer(variant, drop_path)
    head = SegformerHead(backbone.channels, classes, dropout, align_corners)
    init_head(head)
    return EncoderDecoder(backbone, head)
