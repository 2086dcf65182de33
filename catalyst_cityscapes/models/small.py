"""The pyramid pooling head on a ResNet-18: small enough to learn from random weights on a CPU within minutes."""

from collections.abc import Sequence

from torch import Tensor, nn

from catalyst_cityscapes.models.segmenter import Segmenter
from semseg_ref import optimizer
from semseg_ref.base.errors import OptionError
from semseg_ref.model.pspnet import (
    OUTPUT_STRIDE,
    PyramidPooling,
    check_size,
    conv_bn_relu,
    dilate,
    pixel_classifier,
    resize_bilinear,
)

BLOCKS_PER_STAGE = 2


def deep_stem(width: int) -> nn.Sequential:
    """The reference's stem: three 3x3 convolutions, the first with stride 2, and a max pooling; stride 4 in all.

    Args:
        width: channels of the first two convolutions, 64 in the reference; the third has twice as many.
    """
    layers = [
        *conv_bn_relu(3, width, kernel_size=3),
        *conv_bn_relu(width, width, kernel_size=3),
        *conv_bn_relu(width, 2 * width, kernel_size=3),
    ]
    layers[0].stride = (2, 2)
    return nn.Sequential(*layers, nn.MaxPool2d(kernel_size=3, stride=2, padding=1))


def basic_stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """One stage of a ResNet-18, two blocks of two 3x3 convolutions.

    float [N, in_channels, h, w] -> float [N, channels, h / stride, w / stride] (sizes rounded up).
    """
    from torchvision.models.resnet import BasicBlock  # takes long to import, and most recipes need none of it

    shortcut = nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(channels)
    )
    rest = [BasicBlock(channels, channels) for _ in range(BLOCKS_PER_STAGE - 1)]
    return nn.Sequential(BasicBlock(in_channels, channels, stride, shortcut), *rest)


class SmallPSPNet(Segmenter, nn.Module):
    """PSPNet on a ResNet-18, with the reference's deep stem, dilations, pyramid, heads and names of children.

    Output stride 8 as there: stages three and four keep the size and are dilated by 2 and 4. Weights are random;
    convolutions of the backbone are drawn as the reference's ResNets draw theirs. Checkpoints of ResNet-50 and deeper
    do not fit.

    Args:
        classes: number of classes K, at least 2.
        width: channels of the first stage, 64 in a ResNet-18; the stages have 1, 2, 4 and 8 times as many.
        head_channels: width of the main classifier, 512 in the reference; most of the network's cost at 512.
        aux_channels: width of the auxiliary classifier, 256 in the reference.
        bins: grids of the pyramid pooling; their number has to divide `8 * width`.
        dropout: probability of dropping a channel before each classifier's last convolution.

    Raises:
        OptionError: an argument outside its range.
    """

    size_step = OUTPUT_STRIDE
    """Heights and widths of inputs have to be a multiple of this plus 1."""

    BACKBONE = optimizer.BACKBONE
    HEADS = optimizer.HEADS

    def __init__(
        self,
        classes: int = 19,
        width: int = 64,
        head_channels: int = 512,
        aux_channels: int = 256,
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        features = 8 * width
        if classes < 2:
            raise OptionError(f"classes={classes} is not possible: expected at least 2")
        for name, value in (("width", width), ("head_channels", head_channels), ("aux_channels", aux_channels)):
            if value < 1:
                raise OptionError(f"{name}={value} is not possible: expected at least 1")
        if not bins or features % len(bins) or min(bins) < 1:
            raise OptionError(
                f"bins={tuple(bins)} is not possible: expected 1, 2, 4 or another divisor of {features} (8 * width) "
                "numbers, each at least 1"
            )
        self.layer0 = deep_stem(width)
        self.layer1 = basic_stage(2 * width, width, stride=1)
        self.layer2 = basic_stage(width, 2 * width, stride=2)
        self.layer3 = basic_stage(2 * width, 4 * width, stride=2)
        self.layer4 = basic_stage(4 * width, features, stride=2)
        dilate(self.layer3, rate=2)
        dilate(self.layer4, rate=4)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.ppm = PyramidPooling(features, features // len(bins), bins)
        self.cls = pixel_classifier(2 * features, head_channels, classes, dropout)
        self.aux = pixel_classifier(4 * width, aux_channels, classes, dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of both classifiers.

        Args:
            x: float [N, 3, H, W], normalised; H - 1 and W - 1 multiples of 8.

        Returns:
            Main and auxiliary logits, float [N, K, H, W]; the latter None in eval mode.

        Raises:
            OptionError: H or W is not possible.
        """
        check_size(x, self.size_step)
        size = x.shape[-2:]
        aux_features = self.layer3(self.layer2(self.layer1(self.layer0(x))))
        main = resize_bilinear(self.cls(self.ppm(self.layer4(aux_features))), size)
        if not self.training:
            return main, None
        return main, resize_bilinear(self.aux(aux_features), size)
