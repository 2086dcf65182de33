"""Any backbone of timm with a fully convolutional head (Long et al. 2015) on its features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from catalyst_cityscapes.models.outputs import Outputs, Resized
from catalyst_cityscapes.models.segmenter import Segmenter
from semseg_ref.base.errors import InputError, did_you_mean
from semseg_ref.model.pspnet import pixel_classifier


class TimmFCN(Segmenter, nn.Module):
    """A backbone's last features under a head of a 3x3 convolution, batch norm, dropout and a classifier.

    Logits have the features' size (stride 32 as a rule); the loss and the test resize them.

    Args:
        backbone: timm's name of it, as `resnet18` or `convnext_tiny`; one that gives features (`features_only`).
        classes: number of classes K, at least 2.
        pretrained: False for random weights; True takes timm's from the Hugging Face Hub, or its cache; a path takes
            those of a file, in timm's names.
        head_channels: width of the main head's convolution.
        aux: with an auxiliary head on the features before the last.
        aux_channels: its width.
        dropout: probability of dropping a channel before each head's last convolution.
        output_stride: 8 or 16 dilates the last stages, where the backbone can; null leaves it as it is.
        options: further arguments of timm's `create_model`.

    Raises:
        InputError: timm is missing, knows no such backbone, refuses an argument, or cannot fetch the weights.
    """

    BACKBONE = ("backbone",)
    HEADS = ("head", "aux")
    align_corners = False
    resized_for_loss: Resized = "logits"

    def __init__(
        self,
        backbone: str,
        classes: int = 19,
        pretrained: bool | str = False,
        head_channels: int = 256,
        aux: bool = True,
        aux_channels: int = 256,
        dropout: float = 0.1,
        output_stride: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise InputError(f"TimmFCN: classes={classes}: expected at least 2")
        self.backbone = _features(backbone, pretrained, output_stride, dict(options or {}))
        channels = self.backbone.feature_info.channels()
        self.head = pixel_classifier(channels[-1], head_channels, classes, dropout)
        if aux:
            self.aux = pixel_classifier(channels[-2], aux_channels, classes, dropout)

    def forward(self, x: Tensor) -> Outputs:
        """float [N, 3, H, W] -> logits float [N, K, h, w]; in training the auxiliary ones too, of their own size."""
        # Some transformers keep the channels last, and say so.
        is_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
        before, last = (f.permute(0, 3, 1, 2) if is_last else f for f in self.backbone(x)[-2:])
        main = self.head(last)
        return (main, self.aux(before)) if self.training and hasattr(self, "aux") else (main,)


def _features(name: str, pretrained: bool | str, output_stride: int | None, options: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"TimmFCN: timm cannot be imported ({error}); install it with `pip install 'catalyst-cityscapes[zoo]'`"
        ) from error
    if not timm.is_model(name.split(".")[0]):
        raise InputError(f"TimmFCN: timm has no backbone '{name}'{did_you_mean(name, timm.list_models())}")
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise InputError(f"TimmFCN: pretrained: {pretrained}: no such file")
        options = {**options, "pretrained_cfg_overlay": {"file": pretrained}}
    if output_stride is not None:
        options["output_stride"] = output_stride
    try:
        return timm.create_model(name, pretrained=bool(pretrained), features_only=True, **options)
    except Exception as error:  # timm's backbones refuse in their own ways
        hint = "; pretrained: false trains from scratch" if pretrained else ""
        raise InputError(f"TimmFCN: backbone '{name}': {type(error).__name__}: {error}{hint}") from error
