"""The fully convolutional head: HRNet's, OCRNet's first one, and the auxiliary one of PSPNet and DeepLabV3+."""

from collections.abc import Sequence

from torch import Tensor, nn

from catalyst_cityscapes.models.mmseg.layers import ConvModule, Head


class FCNHead(Head):
    """One convolution and a classifier, on one feature or on several brought to the first one's size.

    Args:
        inside: channels of the features together.
        channels: of the convolution.
        indices: of the features that the head takes.
        kernel: side of the convolution.
        classes: number of classes K.
        dropout: before the classifier, 0..1.
        align_corners: of the features' resizing.

    Source: mmsegmentation 1.2.2.
    """

    def __init__(
        self,
        inside: int,
        channels: int,
        indices: Sequence[int],
        kernel: int,
        classes: int,
        dropout: float,
        align_corners: bool,
    ) -> None:
        super().__init__(channels, classes, dropout, align_corners)
        self.indices = tuple(indices)
        self.convs = nn.Sequential(ConvModule(inside, channels, kernel))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """A backbone's features -> logits float [N, K, h, w] at the size of the first one taken."""
        return self.classified(self.convs(self.joined([features[index] for index in self.indices])))
