"""HRNet with the fully convolutional head (mmsegmentation 1.2.2).

The residual blocks are torchvision's, which are the same functions with the same names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from catalyst_cityscapes.models.mmseg.fcn import FCNHead
from catalyst_cityscapes.models.mmseg.layers import init_fan_out, init_head, resize
from catalyst_cityscapes.models.mmseg.network import EncoderDecoder
from catalyst_cityscapes.models.mmseg.resnet import residual_block


@dataclass(frozen=True)
class Size:
    """An HRNet's size.

    Args:
        width: of the branch at stride 4; each further branch is twice as wide.
        blocks: residual blocks in the first stage and in every branch of a module.
        modules: of stages 2, 3 and 4, which have 2, 3 and 4 branches.
    """

    width: int
    blocks: int
    modules: tuple[int, int, int]

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Of the four branches."""
        return self.width, 2 * self.width, 4 * self.width, 8 * self.width


VARIANTS = {"w18s": Size(18, 2, (1, 3, 2)), "w18": Size(18, 4, (1, 4, 3)), "w48": Size(48, 4, (1, 4, 3))}


class Upsampled(nn.Module):
    """Bilinear enlargement by a whole factor; the size that is wanted in the end may be another (see `HRModule`)."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """float [N, C, h, w] -> float [N, C, factor h, factor w]."""
        return F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)


class HRModule(nn.Module):
    """Residual blocks in each branch, then each branch's sum with all others brought to its size and width.

    Where sides are no multiples of 32 a coarser branch is interpolated twice: by its factor, then to the size.

    Args:
        channels: of each branch.
        blocks: residual blocks in each.
    """

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(residual_block(BasicBlock, width, width) for _ in range(blocks))) for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def forward(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """One float [N, C, h, w] a branch -> the same shapes."""
        branches = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        fused = []
        for own, layers in zip(branches, self.fuse_layers, strict=True):
            parts = [resize(layer(x), own.shape[-2:], False) for layer, x in zip(layers, branches, strict=True)]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            fused.append(F.relu(total))
        return fused


class HRNet(nn.Module):
    """A stem to stride 4, bottlenecks, and three stages that each add a branch of half the size.

    Args:
        variant: of `VARIANTS`.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        size = VARIANTS[variant]
        self.channels = size.channels
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(
            *(residual_block(Bottleneck, 256 if index else 64, 64) for index in range(size.blocks))
        )
        before: Sequence[int] = (256,)
        for stage, modules in enumerate(size.modules, start=2):
            channels = size.channels[:stage]
            self.add_module(f"transition{stage - 1}", _transition(before, channels))
            self.add_module(f"stage{stage}", nn.Sequential(*(HRModule(channels, size.blocks) for _ in range(modules))))
            before = channels
        init_fan_out(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """float [N, 3, H, W] -> the four branches' features, strides 4, 8, 16, 32."""
        x = F.relu(self.bn1(self.conv1(x)))
        branches = [self.layer1(F.relu(self.bn2(self.conv2(x))))]
        for stage in (2, 3, 4):
            transitions = getattr(self, f"transition{stage - 1}")
            # The branch that is added starts from the coarsest one before.
            sources = [*branches, branches[-1]]
            branches = [layer(source) for layer, source in zip(transitions, sources, strict=True)]
            branches = getattr(self, f"stage{stage}")(branches)
        return branches


def _transition(before: Sequence[int], channels: Sequence[int]) -> nn.ModuleList:
    layers: list[nn.Module] = []
    for index, width in enumerate(channels):
        if index >= len(before):
            layers.append(nn.Sequential(nn.Sequential(*_conv(before[-1], width, 3, 2), nn.ReLU(inplace=True))))
        elif before[index] != width:
            layers.append(nn.Sequential(*_conv(before[index], width, 3), nn.ReLU(inplace=True)))
        else:
            layers.append(nn.Identity())
    return nn.ModuleList(layers)


def _exchange(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch to another's width, and to its size where sides divide."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(*_conv(channels[source], channels[target], 1), Upsampled(2 ** (source - target)))
    steps = []
    for index in range(source, target):
        is_last = index == target - 1
        layers = _conv(channels[source], channels[target] if is_last else channels[source], 3, 2)
        steps.append(nn.Sequential(*layers) if is_last else nn.Sequential(*layers, nn.ReLU(inplace=True)))
    return nn.Sequential(*steps)


def _conv(inside: int, outside: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outside)


def branches_head(channels: Sequence[int], classes: int, align_corners: bool, dropout: float) -> FCNHead:
    """The head on all four branches joined at stride 4: one 1x1 convolution as wide as they are together."""
    width = sum(channels)
    return FCNHead(width, width, range(len(channels)), 1, classes, dropout, align_corners)


def hrnet(variant: str, classes: int, align_corners: bool, dropout: float) -> EncoderDecoder:
    """HRNet of `VARIANTS` with its head; random weights."""
    backbone = HRNet(variant)
    head = branches_head(backbone.channels, classes, align_corners, dropout)
    init_head(head)
    return EncoderDecoder(backbone, head)
