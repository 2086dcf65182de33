"""A two-headed network of a few thousand parameters, for tests of everything around the network.

It has the modules of the reference's PSPNet (layer0..layer4, ppm, cls, aux), batch norm and dropout, and no stride. A
recipe takes it with `_target_: support.networks.small.SmallLogits` where the package `support` is trusted.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from catalyst_cityscapes.models.segmenter import Segmenter
from semseg_ref.model.pspnet import resize_bilinear
from semseg_ref.optimizer import BACKBONE, HEADS

WIDTH = 8


def _block(channels_in: int, batch_norm: bool) -> nn.Sequential:
    norm = [nn.BatchNorm2d(WIDTH)] if batch_norm else []
    return nn.Sequential(nn.Conv2d(channels_in, WIDTH, 3, padding=1, bias=not batch_norm), *norm, nn.ReLU())


class SmallNetwork(nn.Module):
    """The reference's contract: logits in eval mode, (prediction, main loss, aux loss) in training."""

    def __init__(self, classes: int = 19, dropout: float = 0.1, batch_norm: bool = True) -> None:
        super().__init__()
        for index, name in enumerate((*BACKBONE, "ppm")):
            self.add_module(name, _block(WIDTH if index else 3, batch_norm))
        self.cls = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(WIDTH, classes, 1))
        self.aux = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(WIDTH, classes, 1))

    def both_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Main and auxiliary logits, float [N, K, H, W]."""
        auxiliary = self.layer3(self.layer2(self.layer1(self.layer0(x))))
        return self.cls(self.ppm(self.layer4(auxiliary))), self.aux(auxiliary)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        main, auxiliary = self.both_logits(x)
        if not self.training:
            return main
        losses = (F.cross_entropy(logits, y, ignore_index=255) for logits in (main, auxiliary))
        return main.max(1)[1], *losses


class SmallLogits(Segmenter, SmallNetwork):
    """The Catalyst side's contract: (main, aux) logits, aux None in eval mode."""

    BACKBONE = BACKBONE
    HEADS = HEADS

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        main, auxiliary = self.both_logits(x)
        return main, auxiliary if self.training else None


class ResizingLogits(SmallLogits):
    """The same on a quarter of the pixels, with logits that are resized as the reference's are."""

    resize = staticmethod(resize_bilinear)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        main, auxiliary = super().forward(x[..., ::4, ::4])
        size = x.shape[-2:]
        return self.resize(main, size), None if auxiliary is None else self.resize(auxiliary, size)


class TinyLogits(SmallLogits):
    """The same with classes that follow the colours: it says many of them without being trained."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__(classes, dropout=0.0)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # running statistics are the last batch's
        nn.init.normal_(self.cls[1].weight, std=3.0)
        nn.init.zeros_(self.cls[1].bias)
