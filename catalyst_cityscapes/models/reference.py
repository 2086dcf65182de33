"""The reference's networks with logits as their output, so that the losses can be computed outside.

The reference computes its losses inside `forward`. These subclasses have no criterion, add no parameters and rename
none: a checkpoint of either loads into the other.
"""

from collections.abc import Sequence

from torch import Tensor

from catalyst_cityscapes.models.segmenter import Segmenter
from semseg_ref import optimizer
from semseg_ref.base.checkpoints.architecture import DEEP_STEM
from semseg_ref.model.psanet import PSANet
from semseg_ref.model.pspnet import PSPNet
from semseg_ref.model.resnet import Pretrained


class PSPNetLogits(Segmenter, PSPNet):
    """PSPNet whose forward returns (main, aux) logits.

    Args:
        layers: depth of the ResNet: 50, 101 or 152.
        bins: grids of the pyramid pooling.
        dropout: probability of dropping a channel before each classifier's last convolution.
        classes: number of classes K, at least 2.
        zoom_factor: 1, 2, 4 or 8; 8 gives logits of the input's size.
        use_ppm: with pyramid pooling.
        pretrained: False, True (the file in `./initmodel`, see `Pretrained`) or a file.
        stem: "deep" (the reference's) or "torchvision" (one 7x7 convolution).

    Raises:
        OptionError: an argument outside its range.
        CheckpointError: ImageNet weights that are missing or do not fit.
    """

    BACKBONE = optimizer.BACKBONE
    HEADS = optimizer.HEADS

    def __init__(
        self,
        layers: int = 50,
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        classes: int = 2,
        zoom_factor: int = 8,
        use_ppm: bool = True,
        pretrained: Pretrained = True,
        stem: str = DEEP_STEM,
    ) -> None:
        super().__init__(
            layers=layers,
            bins=bins,
            dropout=dropout,
            classes=classes,
            zoom_factor=zoom_factor,
            use_ppm=use_ppm,
            pretrained=pretrained,
            stem=stem,
        )
        del self.criterion  # a child without parameters would become an empty parameter group

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """float [N, 3, H, W] -> main and auxiliary logits, float [N, K, h, w]; the latter None in eval mode."""
        return self.two_head_logits(x)


class PSANetLogits(Segmenter, PSANet):
    """PSANet whose forward returns (main, aux) logits.

    Args:
        layers: depth of the ResNet: 50, 101 or 152.
        dropout: probability of dropping a channel before each classifier's last convolution.
        classes: number of classes K, at least 2.
        zoom_factor: 1, 2, 4 or 8; 8 gives logits of the input's size.
        use_psa: with attention.
        psa_type: 0 collect, 1 distribute, 2 both.
        compact: the attention has a channel for every position.
        shrink_factor: the attention works on features this much coarser.
        mask_h: height of the mask in cells, odd unless compact.
        mask_w: width of the mask in cells, likewise.
        normalization_factor: the attended features are divided by it; None: by `mask_h * mask_w`.
        psa_softmax: softmax over the affinities.
        pretrained: False, True (the file in `./initmodel`, see `Pretrained`) or a file.
        stem: "deep" (the reference's) or "torchvision" (one 7x7 convolution).

    Raises:
        OptionError: an argument outside its range.
        CheckpointError: ImageNet weights that are missing or do not fit.
    """

    BACKBONE = optimizer.BACKBONE
    HEADS = optimizer.HEADS

    def __init__(
        self,
        layers: int = 50,
        dropout: float = 0.1,
        classes: int = 2,
        zoom_factor: int = 8,
        use_psa: bool = True,
        psa_type: int = 2,
        compact: bool = False,
        shrink_factor: int = 2,
        mask_h: int = 59,
        mask_w: int = 59,
        normalization_factor: float | None = 1.0,
        psa_softmax: bool = True,
        pretrained: Pretrained = True,
        stem: str = DEEP_STEM,
    ) -> None:
        super().__init__(
            layers=layers,
            dropout=dropout,
            classes=classes,
            zoom_factor=zoom_factor,
            use_psa=use_psa,
            psa_type=psa_type,
            compact=compact,
            shrink_factor=shrink_factor,
            mask_h=mask_h,
            mask_w=mask_w,
            normalization_factor=normalization_factor,
            psa_softmax=psa_softmax,
            pretrained=pretrained,
            stem=stem,
        )
        del self.criterion  # a child without parameters would become an empty parameter group

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """float [N, 3, H, W] -> main and auxiliary logits, float [N, K, h, w]; the latter None in eval mode."""
        return self.two_head_logits(x)
