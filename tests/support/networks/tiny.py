"""A network of a few hundred parameters whose classes follow the colours, for tests of what is around a network.

A recipe takes it with `_target_: support.networks.tiny.TinyLogits` where the package `support` is trusted.
"""

from torch import Tensor, nn

from catalyst_cityscapes.models.two_heads import TwoHeads
from semseg_ref.optimizer import BACKBONE, HEADS

WIDTH = 6


class TinyLogits(TwoHeads, nn.Module):
    """Two heads over five convolutions with batch norm; (main, aux) logits, aux None in eval mode."""

    BACKBONE = BACKBONE
    HEADS = HEADS

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        for index, name in enumerate((*BACKBONE, "ppm")):
            conv = nn.Conv2d(WIDTH if index else 3, WIDTH, 3, padding=1, bias=False)
            self.add_module(name, nn.Sequential(conv, nn.BatchNorm2d(WIDTH, momentum=1.0), nn.ReLU()))
        self.cls = nn.Conv2d(WIDTH, classes, 1)
        self.aux = nn.Conv2d(WIDTH, classes, 1)
        # It has to say many classes without being trained: large weights, and running means that are the last batch's.
        nn.init.normal_(self.cls.weight, std=3.0)
        nn.init.zeros_(self.cls.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        early = self.layer3(self.layer2(self.layer1(self.layer0(x))))
        main = self.cls(self.ppm(self.layer4(early)))
        return main, self.aux(early) if self.training else None
