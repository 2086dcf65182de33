"""PSPNet as the reference (hszhao/semseg) trains it, and the body it shares with PSANet.

Sizes: an input of H x W has features of (H - 1) / 8 + 1 by (W - 1) / 8 + 1 and logits of (H - 1) / 8 * zoom_factor + 1
by the same of W, so that with `zoom_factor=8` logits and input are the same size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semseg_ref.base.checkpoints.architecture import BLOCK_COUNTS, DEEP_STEM, TORCHVISION_STEM
from semseg_ref.base.errors import OptionError, did_you_mean
from semseg_ref.model.resnet import Pretrained, resnet50, resnet101, resnet152

BACKBONES = {50: resnet50, 101: resnet101, 152: resnet152}
FEATURE_CHANNELS = 2048
AUX_CHANNELS = 1024
OUTPUT_STRIDE = 8
ZOOM_FACTORS = (1, 2, 4, 8)
STEMS = (DEEP_STEM, TORCHVISION_STEM)


def check_choice(name: str, value: int, choices: Sequence[int]) -> None:
    """Raise OptionError unless `value` is one of `choices`; the message says which is nearest."""
    if value not in choices:
        valid = ", ".join(str(choice) for choice in choices)
        nearest = f"; nearest: {min(choices, key=lambda c: abs(c - value))}" if isinstance(value, int | float) else ""
        raise OptionError(f"{name}={value!r} is not possible: expected one of {valid}{nearest}")


def resize_bilinear(x: Tensor, size: Sequence[int]) -> Tensor:
    """float [N, C, h, w] -> float [N, C, *size], bilinear, corner pixels aligned."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def downsample_target(target: Tensor, zoom_factor: int) -> Tensor:
    """Shrink a training target to the size of the logits.

    The reference interpolates the indices as floats, with aligned corners. H - 1 and W - 1 being multiples of 8, every
    sample falls on a pixel, so this is plain subsampling.

    Args:
        target: int64 [N, H, W], class indices and ignore index.
        zoom_factor: 1, 2, 4 or 8; 8 returns `target` itself.

    Returns:
        int64 [N, (H - 1) / 8 * zoom_factor + 1, (W - 1) / 8 * zoom_factor + 1], contiguous.

    Raises:
        OptionError: another zoom factor, or a size that is not a multiple of 8 plus 1.
    """
    check_choice("zoom_factor", zoom_factor, ZOOM_FACTORS)
    check_size(target, OUTPUT_STRIDE)
    if zoom_factor == OUTPUT_STRIDE:
        return target
    step = OUTPUT_STRIDE // zoom_factor
    return target[..., ::step, ::step].contiguous()


def check_size(x: Tensor, step: int) -> None:
    """Raise OptionError unless height and width, the last two dimensions, are multiples of `step` plus 1."""
    for name, size in zip(("height", "width"), x.shape[-2:], strict=True):
        check_side(f"{name} {size} of an input {list(x.shape)}", size, step)


def check_side(name: str, size: int, step: int) -> None:
    """Raise OptionError, naming `name`, unless `size` pixels are a multiple of `step` plus 1."""
    if (size - 1) % step:
        below = (size - 1) // step * step + 1
        raise OptionError(
            f"{name} is not possible: it has to be a multiple of {step} plus 1; nearest: {below}, {below + step}"
        )


def dilate(stage: nn.Module, rate: int) -> None:
    """Replace the stride of a residual stage by dilation, in place.

    Every block gets the same rate, the first included, as in the reference. (torchvision's
    `replace_stride_with_dilation` leaves the first block at the rate of the stage before: another network.)
    """
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (rate, rate)


def conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    """Convolution without bias that keeps the size, batch norm, ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def pixel_classifier(in_channels: int, width: int, classes: int, dropout: float) -> nn.Sequential:
    """3x3 convolution to `width`, batch norm, ReLU, channel dropout, 1x1 convolution to `classes` with bias."""
    return nn.Sequential(
        *conv_bn_relu(in_channels, width, kernel_size=3),
        nn.Dropout2d(p=dropout),
        nn.Conv2d(width, classes, kernel_size=1),
    )


class DilatedSegmenter(nn.Module):
    """ResNet at output stride 8 with a main and an auxiliary classifier.

    A subclass adds its context module, then calls `_add_classifiers`: the order of registration is the order of the
    reference's checkpoints and of its optimizer's parameters.

    Args:
        layers: depth of the ResNet: 50, 101 or 152.
        classes: number of classes K, at least 2.
        zoom_factor: size of the logits, see the module's text: 1, 2, 4 or 8.
        criterion: `(logits, target) -> scalar loss`, for both classifiers; None: mean cross entropy over the pixels
            that are not 255.
        pretrained: ImageNet weights of the backbone, see `Pretrained`.
        stem: "deep", the reference's three 3x3 convolutions, or "torchvision", one 7x7, for which torchvision's
            ImageNet weights exist. The latter is not the reference's network: its checkpoints fit no official one.

    Raises:
        OptionError: an argument outside its range.
        CheckpointError: ImageNet weights that are missing or do not fit.
    """

    size_step = OUTPUT_STRIDE
    """Heights and widths of inputs have to be a multiple of this plus 1."""

    align_corners = True
    """How smaller logits (zoom_factor < 8) come to the size of the input."""

    resize = staticmethod(resize_bilinear)
    """(float [N, C, h, w], size) -> float [N, C, *size]; whoever carries a step out may put another function here."""

    def __init__(
        self,
        layers: int,
        classes: int,
        zoom_factor: int,
        criterion: nn.Module | None,
        pretrained: Pretrained,
        stem: str = DEEP_STEM,
    ) -> None:
        super().__init__()
        check_choice("layers", layers, tuple(BLOCK_COUNTS))
        check_choice("zoom_factor", zoom_factor, ZOOM_FACTORS)
        if classes < 2:
            raise OptionError(f"classes={classes} is not possible: expected at least 2")
        if stem not in STEMS:
            raise OptionError(f"stem={stem!r} is not possible{did_you_mean(str(stem), STEMS)}")
        self.zoom_factor = zoom_factor
        self.criterion = nn.CrossEntropyLoss(ignore_index=255) if criterion is None else criterion
        resnet = BACKBONES[layers](pretrained=pretrained, deep_base=stem == DEEP_STEM)
        self.layer0 = resnet.stem()
        self.layer1 = resnet.layer1
        self.layer2 = resnet.layer2
        self.layer3 = resnet.layer3
        self.layer4 = resnet.layer4
        dilate(self.layer3, rate=2)
        dilate(self.layer4, rate=4)

    def _add_classifiers(self, channels: int, classes: int, dropout: float) -> None:
        self.cls = pixel_classifier(channels, 512, classes, dropout)
        self.aux = pixel_classifier(AUX_CHANNELS, 256, classes, dropout)

    def context(self, features: Tensor) -> Tensor:
        """What the main classifier sees: float [N, 2048, h, w] -> float [N, C, h, w]. Here: the features alone."""
        return features

    def two_head_logits(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of both classifiers, for a training loop that computes the losses itself.

        Main classifier, its resize, auxiliary classifier, its resize: the order decides the dropout draws, and that
        in which gradients are summed.

        Args:
            x: float [N, 3, H, W], normalised; H - 1 and W - 1 multiples of `size_step`.

        Returns:
            Main and auxiliary logits, float [N, K, h, w], with h and w by `zoom_factor` (see the module's text).
            The auxiliary logits are None in eval mode.

        Raises:
            OptionError: H or W is not possible.
        """
        check_size(x, self.size_step)
        size = [(length - 1) // OUTPUT_STRIDE * self.zoom_factor + 1 for length in x.shape[-2:]]
        x = self.layer2(self.layer1(self.layer0(x)))
        aux_features = self.layer3(x)
        main = self.cls(self.context(self.layer4(aux_features)))
        if self.zoom_factor != 1:
            main = self.resize(main, size)
        if not self.training:
            return main, None
        aux = self.aux(aux_features)
        if self.zoom_factor != 1:
            aux = self.resize(aux, size)
        return main, aux

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """The reference's contract.

        Args:
            x: float [N, 3, H, W], normalised; H - 1 and W - 1 multiples of `size_step`.
            y: int64 [N, h, w], target of the size of the logits (`downsample_target`); training mode only.

        Returns:
            Eval mode: the main logits, float [N, K, h, w]. Training mode: the predicted classes, int64 [N, h, w], and
            the scalar losses of the main and the auxiliary classifier.

        Raises:
            OptionError: H or W is not possible, or the target is missing in training mode.
        """
        if self.training and y is None:
            raise OptionError("a network in training mode needs a target: call model(x, target), or model.eval() first")
        main, aux = self.two_head_logits(x)
        if aux is None:
            return main
        return main.argmax(dim=1), self.criterion(main, y), self.criterion(aux, y)


class PyramidPooling(nn.Module):
    """Average pooling to several grids, each reduced, resized back and appended to the input.

    In training mode bin 1 gives the batch norm one value per image and channel: a batch of 1 raises torch's ValueError.

    Args:
        in_channels: channels of the input.
        branch_channels: channels of each branch.
        bins: side length of each grid.
    """

    size_step = OUTPUT_STRIDE
    """Heights and widths of inputs have to be a multiple of this plus 1."""

    resize = staticmethod(resize_bilinear)
    """(float [N, C, h, w], size) -> float [N, C, *size]; whoever carries a step out may put another function here."""

    def __init__(self, in_channels: int, branch_channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), *conv_bn_relu(in_channels, branch_channels, kernel_size=1))
            for side in bins
        )

    def forward(self, x: Tensor) -> Tensor:
        """float [N, in_channels, h, w] -> float [N, in_channels + len(bins) * branch_channels, h, w], input first."""
        # Under a GPU's autocast a resize gives float32, and the whole concatenation would follow it.
        branches = (self.resize(branch(x), x.shape[-2:]).to(x.dtype) for branch in self.features)
        return torch.cat([x, *branches], dim=1)


class PSPNet(DilatedSegmenter):
    """Pyramid scene parsing network.

    Args:
        layers: depth of the ResNet: 50, 101 or 152.
        bins: grids of the pyramid pooling; their number has to divide 2048.
        dropout: probability of dropping a channel before each classifier's last convolution.
        classes: number of classes K, at least 2.
        zoom_factor: 1, 2, 4 or 8; 8 gives logits of the input's size.
        use_ppm: with pyramid pooling.
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
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        classes: int = 2,
        zoom_factor: int = 8,
        use_ppm: bool = True,
        criterion: nn.Module | None = None,
        pretrained: Pretrained = True,
        stem: str = DEEP_STEM,
    ) -> None:
        if not bins or FEATURE_CHANNELS % len(bins) or min(bins) < 1:
            raise OptionError(
                f"bins={tuple(bins)} is not possible: expected 1, 2, 4 or another divisor of {FEATURE_CHANNELS} "
                "numbers, each at least 1"
            )
        super().__init__(layers, classes, zoom_factor, criterion, pretrained, stem)
        self.use_ppm = use_ppm
        channels = FEATURE_CHANNELS
        if use_ppm:
            self.ppm = PyramidPooling(FEATURE_CHANNELS, FEATURE_CHANNELS // len(bins), bins)
            channels *= 2
        self._add_classifiers(channels, classes, dropout)

    def context(self, features: Tensor) -> Tensor:
        """float [N, 2048, h, w] -> float [N, 4096, h, w], or unchanged without pyramid pooling."""
        return self.ppm(features) if self.use_ppm else features
