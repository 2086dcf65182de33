"""PSPNet of segmentation-models-pytorch with an auxiliary head: the arm with another implementation and any encoder."""

import importlib
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catalyst_cityscapes.models.segmenter import Segmenter
from semseg_ref.base.errors import InputError, did_you_mean
from semseg_ref.model.pspnet import pixel_classifier

ENCODER_DEPTHS = (3, 4, 5)
DILATED_STRIDES = (8, 16)
PROBE_SIZE = 64
DOWNLOAD_HINT = (
    "; pre-trained weights come from the Hugging Face Hub and need the network unless they are cached; "
    "set encoder_weights to null to train from scratch"
)


def import_smp() -> ModuleType:
    """segmentation_models_pytorch.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except ImportError as error:
        raise InputError(
            f"model: segmentation_models_pytorch cannot be imported ({error}); install it with "
            "`pip install 'catalyst-cityscapes[zoo]'`"
        ) from error


def drop_unused(encoder: nn.Module) -> None:
    """Replace children of an encoder that its last two features do not depend on by identities, in place.

    At a depth below 5 the library keeps the deeper stages. They would cost memory, count as parameters, and stop
    DistributedDataParallel, which waits for a gradient of every parameter. Unused parts of a used child are frozen.
    """
    training = encoder.training
    encoder.eval()
    features = encoder(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))[-2:]
    torch.autograd.backward([feature.sum() for feature in features])
    for name, child in list(encoder.named_children()):
        parameters = list(child.parameters())
        if parameters and all(p.grad is None for p in parameters):
            setattr(encoder, name, nn.Identity())
    for parameter in encoder.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    encoder.zero_grad(set_to_none=True)
    encoder.train(training)


class SmpPSPNet(Segmenter, nn.Module):
    """The library's PSPNet, its logits resized to the input, and the reference's kind of auxiliary head.

    With the library's default depth of 3 this is a much lighter network than the reference's (an encoder cut after its
    second stage, stride 8, no dilation). `encoder_depth=5, output_stride=8` is the nearest to the reference: stages
    three and four dilated, the auxiliary head on the stage before the last. It is still another network: 7x7 stem,
    dilation set the library's way, no batch norm in the branch of bin 1, 1x1 bottleneck after the pyramid.

    The library refuses sizes that its stride does not divide, as 713. Its PSPNet does not need that, so any size goes.

    Args:
        encoder: the library's name of the encoder, as `resnet50` or `tu-convnext_tiny`.
        classes: number of classes K, at least 2.
        encoder_weights: None for random initialisation. Any other value is a name of the library's, downloaded from the
            Hugging Face Hub unless it is in the local cache.
        encoder_depth: stages of the encoder in use, 3 to 5; features have stride 2 ** depth.
        output_stride: 8 or 16 dilates the deeper stages to this stride; None leaves the encoder as it is.
        psp_channels: channels after the pyramid.
        aux_channels: width of the auxiliary head, 256 in the reference.
        dropout: probability of dropping a channel before each head's last convolution.

    Raises:
        InputError: the library is missing, an argument is outside its range, or the weights cannot be downloaded.
    """

    BACKBONE = ("encoder",)
    HEADS = ("decoder", "segmentation_head", "aux")

    def __init__(
        self,
        encoder: str = "resnet50",
        classes: int = 19,
        encoder_weights: str | None = None,
        encoder_depth: int = 3,
        output_stride: int | None = None,
        psp_channels: int = 512,
        aux_channels: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        smp = import_smp()
        if classes < 2:
            raise InputError(f"SmpPSPNet: classes={classes}: expected at least 2")
        if encoder_depth not in ENCODER_DEPTHS:
            raise InputError(f"SmpPSPNet: encoder_depth={encoder_depth}: expected one of {ENCODER_DEPTHS}")
        if output_stride is not None and output_stride not in DILATED_STRIDES:
            raise InputError(f"SmpPSPNet: output_stride={output_stride}: expected null or one of {DILATED_STRIDES}")
        if not encoder.startswith("tu-") and encoder not in (names := smp.encoders.get_encoder_names()):
            raise InputError(f"SmpPSPNet: no encoder '{encoder}'{did_you_mean(encoder, names)}")
        try:
            network = smp.PSPNet(
                encoder_name=encoder,
                encoder_weights=encoder_weights,
                encoder_depth=encoder_depth,
                psp_out_channels=psp_channels,
                psp_dropout=dropout,
                classes=classes,
                upsampling=1,
            )
            if output_stride is not None and output_stride < 2**encoder_depth:
                network.encoder.make_dilated(output_stride)
        except (KeyError, ValueError, RuntimeError, OSError) as error:
            hint = "" if encoder_weights is None else DOWNLOAD_HINT
            raise InputError(
                f"SmpPSPNet: encoder='{encoder}', encoder_weights={encoder_weights!r}: {error!r}{hint}"
            ) from error
        drop_unused(network.encoder)
        self.encoder = network.encoder
        self.decoder = network.decoder
        self.segmentation_head = network.segmentation_head
        self.aux = pixel_classifier(self.encoder.out_channels[-2], aux_channels, classes, dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """float [N, 3, H, W] -> main and auxiliary logits, float [N, K, H, W]; the latter None in eval mode."""
        features = self.encoder(x)
        main = self._resize(self.segmentation_head(self.decoder(features)), x)
        if not self.training:
            return main, None
        return main, self._resize(self.aux(features[-2]), x)

    @staticmethod
    def _resize(logits: Tensor, x: Tensor) -> Tensor:
        return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=True)
