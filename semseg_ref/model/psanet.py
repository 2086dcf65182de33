"""PSANet: point-wise spatial attention in the place of the pyramid pooling (the reference's optional architecture)."""

import torch
from torch import Tensor, nn

from semseg_ref.base.checkpoints.architecture import DEEP_STEM
from semseg_ref.base.errors import OptionError
from semseg_ref.model.pspnet import (
    FEATURE_CHANNELS,
    OUTPUT_STRIDE,
    DilatedSegmenter,
    check_choice,
    conv_bn_relu,
    resize_bilinear,
)
from semseg_ref.model.resnet import Pretrained

COLLECT, DISTRIBUTE, BOTH = 0, 1, 2
REDUCED_CHANNELS = 512


def _check_mask(mask_h: int, mask_w: int) -> None:
    for name, size in (("mask_h", mask_h), ("mask_w", mask_w)):
        if size < 1 or size % 2 == 0:
            below = max(size - 1, 1)
            raise OptionError(f"{name}={size} is not possible: expected an odd size; nearest: {below}, {below + 2}")


def _window_index(length: int, mask: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Along one axis: which mask cell of source i lies on target a, and whether there is one; both [length, length]."""
    position = torch.arange(length, device=device)
    cell = position[:, None] - position[None, :] + (mask - 1) // 2
    return cell.clamp(0, mask - 1), (cell >= 0) & (cell < mask)


def _swap_source_target(affinity: Tensor) -> Tensor:
    """[N, h * w, h, w] over (target, source) -> the same over (source, target)."""
    return affinity.flatten(2).transpose(1, 2).reshape(affinity.shape)


def psa_mask(x: Tensor, psa_type: int = COLLECT, mask_h: int | None = None, mask_w: int | None = None) -> Tensor:
    """Spread attention masks, each centred on its own position, into an affinity between all positions.

    With half = (mask - 1) / 2, cell (u, v) of position (i, j) belongs to position (a, b) = (i + u - half_h,
    j + v - half_w). Cells outside the features are dropped, pairs without a cell get 0. Differentiable in `x`.

    Args:
        x: float [N, mask_h * mask_w, h, w].
        psa_type: 0 collect: `out[n, a * w + b, i, j]` is the cell; 1 distribute: `out[n, i * w + j, a, b]` is.
        mask_h: odd; None, together with `mask_w`: `2 * h - 1`, which reaches every position.
        mask_w: odd; None, together with `mask_h`: `2 * w - 1`.

    Returns:
        float [N, h * w, h, w].

    Raises:
        OptionError: another type, an even mask, one size without the other, or channels that are not the mask's cells.
    """
    check_choice("psa_type", psa_type, (COLLECT, DISTRIBUTE))
    count, channels, height, width = x.shape
    if (mask_h is None) != (mask_w is None):
        raise OptionError(f"mask_h={mask_h}, mask_w={mask_w} is not possible: expected both sizes or none")
    mask_h = 2 * height - 1 if mask_h is None else mask_h
    mask_w = 2 * width - 1 if mask_w is None else mask_w
    _check_mask(mask_h, mask_w)
    if channels != mask_h * mask_w:
        raise OptionError(f"{channels} channels are not a mask of {mask_h} x {mask_w}: expected {mask_h * mask_w}")

    row, row_inside = _window_index(height, mask_h, x.device)
    column, column_inside = _window_index(width, mask_w, x.device)
    # Axes a, b, i, j: target row and column, source row and column.
    cell = row[:, None, :, None] * mask_w + column[None, :, None, :]
    inside = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    shape = (height * width, height, width)
    gathered = x.gather(1, cell.reshape(shape).expand(count, *shape))
    affinity = gathered.masked_fill(~inside.reshape(shape), 0)
    return _swap_source_target(affinity) if psa_type == DISTRIBUTE else affinity


class PointwiseSpatialAttention(nn.Module):
    """Every position gathers from, and hands out to, the others by a learned mask; appended to the input.

    Args:
        in_channels: channels of the input.
        reduced_channels: channels in the attention branches.
        psa_type: 0 collect, 1 distribute, 2 both.
        compact: the attention has a channel for every position instead of a mask around each.
        shrink_factor: the attention works on features this much coarser.
        mask_h: height of the mask, odd; with `compact` the (shrunk) features' height.
        mask_w: width of the mask, likewise.
        normalization_factor: the attended features are divided by it; None: by `mask_h * mask_w`.
        psa_softmax: softmax over the affinities (including those that are 0).
    """

    resize = staticmethod(resize_bilinear)
    """(float [N, C, h, w], size) -> float [N, C, *size]; whoever carries a step out may put another function here."""

    def __init__(
        self,
        in_channels: int,
        reduced_channels: int,
        psa_type: int,
        compact: bool,
        shrink_factor: int,
        mask_h: int,
        mask_w: int,
        normalization_factor: float | None,
        psa_softmax: bool,
    ) -> None:
        super().__init__()
        self.psa_type = psa_type
        self.compact = compact
        self.shrink_factor = shrink_factor
        self.mask_h = mask_h
        self.mask_w = mask_w
        self.normalization_factor = mask_h * mask_w if normalization_factor is None else normalization_factor
        self.psa_softmax = psa_softmax

        def attention() -> nn.Sequential:
            return nn.Sequential(
                *conv_bn_relu(reduced_channels, reduced_channels, kernel_size=1),
                nn.Conv2d(reduced_channels, mask_h * mask_w, kernel_size=1, bias=False),
            )

        self.reduce = nn.Sequential(*conv_bn_relu(in_channels, reduced_channels, kernel_size=1))
        self.attention = attention()
        branches = 1
        if psa_type == BOTH:
            self.reduce_p = nn.Sequential(*conv_bn_relu(in_channels, reduced_channels, kernel_size=1))
            self.attention_p = attention()
            branches = 2
        self.proj = nn.Sequential(*conv_bn_relu(reduced_channels * branches, in_channels, kernel_size=1))

    def affinity(self, attention: Tensor, psa_type: int) -> Tensor:
        """Attention maps, float [N, mask_h * mask_w, h, w] -> affinities, float [N, h * w, h * w], (target, source).

        Raises:
            OptionError: compact, and `h x w` is not `mask_h x mask_w`.
        """
        height, width = attention.shape[-2:]
        if not self.compact:
            mask = psa_mask(attention, psa_type, self.mask_h, self.mask_w)
        elif (height, width) != (self.mask_h, self.mask_w):
            raise OptionError(
                f"compact attention of {self.mask_h} x {self.mask_w} positions does not fit features of "
                f"{height} x {width}: set mask_h={height}, mask_w={width}"
            )
        else:
            mask = _swap_source_target(attention) if psa_type == DISTRIBUTE else attention
        mask = mask.flatten(2)
        return torch.softmax(mask, dim=1) if self.psa_softmax else mask

    def _shrink(self, x: Tensor) -> Tensor:
        if self.shrink_factor == 1:
            return x
        return self.resize(x, [(length - 1) // self.shrink_factor + 1 for length in x.shape[-2:]])

    def _attend(self, x: Tensor, affinity: Tensor) -> Tensor:
        return torch.bmm(x.flatten(2), affinity).view(x.shape) * (1.0 / self.normalization_factor)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, in_channels, h, w] -> float [N, 2 * in_channels, h, w], input first."""
        if self.psa_type == BOTH:
            collected = self._shrink(self.reduce(x))
            distributed = self._shrink(self.reduce_p(x))
            affinity = self.affinity(self.attention(collected), COLLECT)
            affinity_p = self.affinity(self.attention_p(distributed), DISTRIBUTE)
            out = torch.cat([self._attend(collected, affinity), self._attend(distributed, affinity_p)], dim=1)
        else:
            reduced = self._shrink(self.reduce(x))
            out = self._attend(reduced, self.affinity(self.attention(reduced), self.psa_type))
        out = self.proj(out)
        if self.shrink_factor != 1:
            out = self.resize(out, x.shape[-2:])
        return torch.cat([x, out], dim=1)


class PSANet(DilatedSegmenter):
    """Point-wise spatial attention network.

    Args:
        layers: depth of the ResNet: 50, 101 or 152.
        dropout: probability of dropping a channel before each classifier's last convolution.
        classes: number of classes K, at least 2.
        zoom_factor: 1, 2, 4 or 8; 8 gives logits of the input's size.
        use_psa: with attention.
        psa_type: 0 collect, 1 distribute, 2 both.
        compact: the attention has a channel for every position; inputs then have one possible size, that of
            `mask_h` x `mask_w` shrunk features.
        shrink_factor: the attention works on features this much coarser; H - 1 and W - 1 of an input have to be
            multiples of 8 times this.
        mask_h: height of the mask, odd unless compact; 59 is that of an input of 465.
        mask_w: width of the mask, likewise.
        normalization_factor: the attended features are divided by it; None: by `mask_h * mask_w`.
        psa_softmax: softmax over the affinities.
        criterion: loss of both classifiers; None: mean cross entropy over the pixels that are not 255.
        pretrained: False, True (the file in `./initmodel`, see `Pretrained`) or a file.
        stem: "deep" (the reference's) or "torchvision" (one 7x7 convolution).

    Raises:
        OptionError: an argument outside its range.
        CheckpointError: ImageNet weights that are missing or do not fit.
    """

    def __init__(
        self,
        layers: int = 50,
        dropout: float = 0.1,
        classes: int = 2,
        zoom_factor: int = 8,
        use_psa: bool = True,
        psa_type: int = BOTH,
        compact: bool = False,
        shrink_factor: int = 2,
        mask_h: int = 59,
        mask_w: int = 59,
        normalization_factor: float | None = 1.0,
        psa_softmax: bool = True,
        criterion: nn.Module | None = None,
        pretrained: Pretrained = True,
        stem: str = DEEP_STEM,
    ) -> None:
        check_choice("psa_type", psa_type, (COLLECT, DISTRIBUTE, BOTH))
        if shrink_factor < 1:
            raise OptionError(f"shrink_factor={shrink_factor} is not possible: expected at least 1")
        if not compact:
            _check_mask(mask_h, mask_w)
        elif mask_h < 1 or mask_w < 1:
            raise OptionError(f"mask_h={mask_h}, mask_w={mask_w} is not possible: expected at least 1")
        super().__init__(layers, classes, zoom_factor, criterion, pretrained, stem)
        self.use_psa = use_psa
        channels = FEATURE_CHANNELS
        if use_psa:
            self.psa = PointwiseSpatialAttention(
                FEATURE_CHANNELS,
                REDUCED_CHANNELS,
                psa_type,
                compact,
                shrink_factor,
                mask_h,
                mask_w,
                normalization_factor,
                psa_softmax,
            )
            channels *= 2
        self._add_classifiers(channels, classes, dropout)

    @property
    def size_step(self) -> int:
        """Heights and widths of inputs have to be a multiple of this plus 1, so that shrunk features resize back."""
        return OUTPUT_STRIDE * self.psa.shrink_factor if self.use_psa else OUTPUT_STRIDE

    def context(self, features: Tensor) -> Tensor:
        """float [N, 2048, h, w] -> float [N, 4096, h, w], or unchanged without attention."""
        return self.psa(features) if self.use_psa else features
