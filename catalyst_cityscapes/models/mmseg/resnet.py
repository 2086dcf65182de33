"""ResNet-V1c with output stride 8: the backbone of PSPNet and DeepLabV3+ (mmsegmentation 1.2.2).

The blocks are torchvision's, which are the same functions with the same names; of a dilated basic block, which it does
not have, only the first convolution is another.
"""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from catalyst_cityscapes.models.mmseg.layers import init_fan_out

Block = BasicBlock | Bottleneck

BLOCKS: dict[str, tuple[type[Block], tuple[int, int, int, int]]] = {
    "r18": (BasicBlock, (2, 2, 2, 2)),
    "r50": (Bottleneck, (3, 4, 6, 3)),
    "r101": (Bottleneck, (3, 4, 23, 3)),
}
"""Kind of residual block and how many a stage."""
WIDTHS, STRIDES, DILATIONS = (64, 128, 256, 512), (1, 2, 1, 1), (1, 1, 2, 4)


class ResNetV1c(nn.Module):
    """Stem of three 3x3 convolutions (32, 32, 64), four stages, the last two dilated.

    The first block of a dilated stage has half its dilation ("contracted"), where the reference's has all of it.

    Args:
        depth: `r18`, `r50` or `r101`.
    """

    def __init__(self, depth: str) -> None:
        super().__init__()
        kind, counts = BLOCKS[depth]
        self.stem = nn.Sequential(*_conv(3, 32, 2), *_conv(32, 32), *_conv(32, 64))
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside = 64
        for stage, (count, width) in enumerate(zip(counts, WIDTHS, strict=True)):
            blocks = []
            for index in range(count):
                dilation = max(DILATIONS[stage] // 2, 1) if index == 0 else DILATIONS[stage]
                blocks.append(residual_block(kind, inside, width, STRIDES[stage] if index == 0 else 1, dilation))
                inside = width * kind.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.channels = tuple(width * kind.expansion for width in WIDTHS)
        init_fan_out(self)
        for block in self.modules():
            # Every residual block starts as its shortcut.
            if isinstance(block, (BasicBlock, Bottleneck)):
                nn.init.zeros_((block.bn3 if isinstance(block, Bottleneck) else block.bn2).weight)

    def forward(self, x: Tensor) -> list[Tensor]:
        """float [N, 3, H, W] -> the four stages' features, strides 4, 8, 8, 8; a side n gives (n - 1) // 2 + 1."""
        x = self.maxpool(self.stem(x))
        features = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


def residual_block(kind: type[Block], inside: int, width: int, stride: int = 1, dilation: int = 1) -> Block:
    """One block of torchvision's, with a 1x1 convolution as its shortcut where channels or stride change.

    Args:
        kind: of block; `Bottleneck` has 4 x width output channels.
        inside: input channels.
        width: of the 3x3 convolutions.
        stride: of the first 3x3 convolution.
        dilation: of that convolution alone; a basic block's second one has none.
    """
    outside = width * kind.expansion
    shortcut = None
    if stride != 1 or inside != outside:
        shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
    if kind is Bottleneck:
        return Bottleneck(inside, width, stride, shortcut, dilation=dilation)
    block = BasicBlock(inside, width, stride, shortcut)
    if dilation > 1:
        block.conv1 = nn.Conv2d(inside, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return block


def _conv(inside: int, outside: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
