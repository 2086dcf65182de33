"""SegNeXt's head: a matrix decomposition of the features, "Hamburger" (mmsegmentation 1.2.2)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catalyst_cityscapes.models.mmseg.layers import ConvModule, Head

RANK, TRAIN_STEPS, EVAL_STEPS, EPS = 16, 6, 7, 1e-6


class NMF2D(nn.Module):
    """Non-negative matrix factorisation: features as bases times coefficients, in a few multiplicative rounds.

    The bases start from uniform numbers that every forward draws anew, in eval mode too, from torch's default
    generator of the CPU; `torch.manual_seed` before a forward pins them. All rounds are differentiated.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features float [N, C, h, w], not negative -> what bases and coefficients make of them, the same shape."""
        shape = x.shape
        x = x.flatten(2)
        bases = torch.rand(shape[0], shape[1], RANK, dtype=torch.float32, device="cpu").to(x)
        bases = F.normalize(bases, dim=1)
        coefficients = torch.softmax(torch.bmm(x.transpose(1, 2), bases), dim=-1)
        for _ in range(TRAIN_STEPS if self.training else EVAL_STEPS):
            coefficients = _coefficients(x, bases, coefficients)
            inner = torch.bmm(coefficients.transpose(1, 2), coefficients)
            bases = bases * torch.bmm(x, coefficients) / (torch.bmm(bases, inner) + EPS)
        coefficients = _coefficients(x, bases, coefficients)
        return torch.bmm(bases, coefficients.transpose(1, 2)).view(shape)


def _coefficients(x: Tensor, bases: Tensor, coefficients: Tensor) -> Tensor:
    """One round for x float [N, C, P], bases [N, C, R] and coefficients [N, P, R]."""
    inner = torch.bmm(bases.transpose(1, 2), bases)
    return coefficients * torch.bmm(x.transpose(1, 2), bases) / (torch.bmm(coefficients, inner) + EPS)


class Hamburger(nn.Module):
    """The factorisation between two 1x1 convolutions, beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ham_in = ConvModule(channels, channels, norm=None)
        self.ham = NMF2D()
        self.ham_out = ConvModule(channels, channels, norm="gn", activation=False)

    def forward(self, x: Tensor) -> Tensor:
        """float [N, channels, h, w] -> the same shape."""
        return F.relu(x + self.ham_out(self.ham(self.ham_in(x))))


class LightHamHead(Head):
    """Stages 2 to 4 joined at stride 8, the factorisation, a convolution, the classifier.

    Args:
        inside: channels of the stages taken.
        channels: of the head, a multiple of 32.
        classes: number of classes K.
        dropout: before the classifier, 0..1.
        align_corners: of the features' resizing.
    """

    random_at_test = True

    def __init__(self, inside: Sequence[int], channels: int, classes: int, dropout: float, align_corners: bool) -> None:
        super().__init__(channels, classes, dropout, align_corners)
        self.squeeze = ConvModule(sum(inside), channels, norm="gn")
        self.hamburger = Hamburger(channels)
        self.align = ConvModule(channels, channels, norm="gn")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """A backbone's four features -> logits float [N, K, h, w] at stride 8."""
        return self.classified(self.align(self.hamburger(self.squeeze(self.joined(features[1:])))))
