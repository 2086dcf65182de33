"""The reference's ResNet backbone: bottleneck blocks behind a deep stem of three 3x3 convolutions.

The entry names are those of the reference's ImageNet weights (`conv1`, `bn1`, ... `layer1` .. `layer4`, `fc`), so
that its initialisation files load without renaming.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from semseg_ref.base.checkpoints.architecture import BLOCK_COUNTS, identify
from semseg_ref.base.checkpoints.state_dict import Match, match, named_as, read_checkpoint, reasons, weights_in
from semseg_ref.base.errors import CheckpointError

EXPANSION = 4
INIT_FOLDER = Path("initmodel")

Pretrained = bool | str | Path | None
"""False, None: random weights. A path: that file.

True: in the current folder `initmodel/resnet{depth}_v2.pth`, or `initmodel/resnet{depth}_torchvision.pth` for
torchvision's stem.
"""


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with batch norm, added to a shortcut.

    The 3x3 convolution carries the stride. The shortcut is the identity, or a 1x1 convolution with batch norm where
    the stride or the number of channels changes.

    Args:
        in_channels: channels of the input.
        width: channels of the two inner convolutions; the output has `4 * width`.
        stride: 1 or 2.
        project: shortcut by convolution instead of identity.
    """

    def __init__(self, in_channels: int, width: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """float [N, in_channels, h, w] -> float [N, 4 * width, h / stride, w / stride] (sizes rounded up)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """Classification network that the segmentation networks take their backbone from.

    Every convolution is drawn from N(0, 2 / (out_channels * kh * kw)) (Kaiming, fan out), batch norms start at weight 1
    and bias 0, the linear layer keeps torch's default.

    Args:
        block_counts: number of bottleneck blocks in `layer1` .. `layer4`.
        num_classes: outputs of `fc`.
        deep_base: stem of three 3x3 convolutions with 128 output channels (the reference's ImageNet weights);
            False: the usual single 7x7 convolution with 64, as torchvision's ResNets have it.
    """

    def __init__(self, block_counts: Sequence[int], num_classes: int = 1000, deep_base: bool = True) -> None:
        super().__init__()
        self.deep_base = deep_base
        if deep_base:
            self.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.conv2 = nn.Conv2d(64, 64, kernel_size=3, stride=1, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(64)
            self.conv3 = nn.Conv2d(64, 128, kernel_size=3, stride=1, padding=1, bias=False)
            self.bn3 = nn.BatchNorm2d(128)
        else:
            self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels = 128 if deep_base else 64
        for stage, count in enumerate(block_counts):
            width = 64 * 2**stage
            blocks = [Bottleneck(channels, width, stride=1 if stage == 0 else 2, project=True)]
            channels = width * EXPANSION
            blocks += [Bottleneck(channels, width) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self) -> nn.Sequential:
        """The layers before `layer1` as one sequence, sharing this network's modules."""
        layers = [self.conv1, self.bn1, self.relu]
        if self.deep_base:
            layers += [self.conv2, self.bn2, self.relu, self.conv3, self.bn3, self.relu]
        return nn.Sequential(*layers, self.maxpool)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, 3, H, W], normalised -> class logits, float [N, num_classes]."""
        x = self.stem()(x)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def match_backbone(own: dict[str, Tensor], state: dict[str, Tensor]) -> Match:
    """Compares ImageNet weights with a backbone's.

    Two things may differ: `fc.*` may be absent, additional or of another shape, because no segmentation network uses
    it; and `num_batches_tracked` may be absent, because files from before torch 0.4.1 lack it and nothing reads it at a
    fixed momentum.
    """
    wanted = {name: value for name, value in own.items() if not name.startswith("fc.")}
    found = {name: value for name, value in state.items() if not name.startswith("fc.")}
    result = match(wanted, found)
    return replace(
        result,
        missing=[name for name in result.missing if not name.endswith(".num_batches_tracked")],
        unused=[name for name in state if name not in found],
    )


def _whole_network(state: dict[str, torch.Tensor]) -> str:
    if not identify(state).is_segmentation:
        return ""
    return "; to start from a whole segmentation network (fine-tuning, other classes too) set experiment.weights to it"


def load_pretrained(model: ResNet, path: str | Path) -> None:
    """Fill a backbone with ImageNet weights, all of them or none; `match_backbone` says what may differ.

    The reference loads with `strict=False`, and so trains from half-random weights when names do not fit.

    Args:
        model: the backbone, before a segmentation network takes it apart.
        path: a state dict of `torch.save` or safetensors, also one wrapped as `weights_in` accepts it (`state_dict`,
            `module.`).

    Raises:
        CheckpointError: the file cannot be read, or a name or shape differs; `model` is unchanged then.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file (in {Path.cwd()}); see initmodel/README.md for where to get it")
    own = model.state_dict()
    needed = {n: v for n, v in own.items() if not n.startswith("fc.") and not n.endswith(".num_batches_tracked")}
    state = named_as(needed, weights_in(read_checkpoint(path), path), path).weights
    result = match_backbone(own, state)
    if not result.fits:
        raise CheckpointError(
            f"{path}: these are not the weights of this backbone; {result}{reasons(state, own)}; "
            f"see initmodel/README.md{_whole_network(state)}"
        )
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    model.load_state_dict({**own, **fitting}, strict=True)


def _resnet(depth: int, pretrained: Pretrained, deep_base: bool, num_classes: int) -> ResNet:
    model = ResNet(BLOCK_COUNTS[depth], num_classes=num_classes, deep_base=deep_base)
    if pretrained is True:
        load_pretrained(model, INIT_FOLDER / f"resnet{depth}_{'v2' if deep_base else 'torchvision'}.pth")
    elif pretrained not in (False, None):
        load_pretrained(model, pretrained)
    return model


def resnet50(pretrained: Pretrained = False, deep_base: bool = True, num_classes: int = 1000) -> ResNet:
    """ResNet-50. `pretrained` as in `Pretrained`; raises CheckpointError where `load_pretrained` does."""
    return _resnet(50, pretrained, deep_base, num_classes)


def resnet101(pretrained: Pretrained = False, deep_base: bool = True, num_classes: int = 1000) -> ResNet:
    """ResNet-101. `pretrained` as in `Pretrained`; raises CheckpointError where `load_pretrained` does."""
    return _resnet(101, pretrained, deep_base, num_classes)


def resnet152(pretrained: Pretrained = False, deep_base: bool = True, num_classes: int = 1000) -> ResNet:
    """ResNet-152. `pretrained` as in `Pretrained`; raises CheckpointError where `load_pretrained` does."""
    return _resnet(152, pretrained, deep_base, num_classes)
