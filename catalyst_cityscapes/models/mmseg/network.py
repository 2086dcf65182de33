"""A backbone and its heads as one network, with mmsegmentation's names: `backbone`, `decode_head`, `auxiliary_head`."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from catalyst_cityscapes.models.mmseg.layers import Head
from catalyst_cityscapes.models.mmseg.pretrained import match_backbone
from catalyst_cityscapes.models.outputs import Outputs, Resized, SizeRule
from catalyst_cityscapes.models.segmenter import Segmenter
from semseg_ref.base.checkpoints.state_dict import Match


class EncoderDecoder(Segmenter, nn.Module):
    """A head on a backbone's features, and an auxiliary one where there is one.

    Args:
        backbone: float [N, 3, H, W] -> four features, from stride 4 on.
        decode_head: the four features -> logits float [N, K, h, w].
        auxiliary_head: the same, for training only; or None.
    """

    BACKBONE = ("backbone",)
    HEADS = ("decode_head", "auxiliary_head")
    resized_for_loss: Resized = "logits"

    def __init__(self, backbone: nn.Module, decode_head: Head, auxiliary_head: Head | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.decode_head = decode_head
        if auxiliary_head is not None:
            self.auxiliary_head = auxiliary_head
        # Any side from the backbone's smallest one on; what a protocol pads to is its own business.
        self.size_rule = SizeRule(1, least=getattr(backbone, "least_side", 1))
        self.align_corners = decode_head.align_corners
        self.random_at_test = getattr(decode_head, "random_at_test", False)

    def forward(self, x: Tensor) -> Outputs:
        """float [N, 3, H, W] -> logits float [N, K, h, w], not resized; in training the auxiliary ones too."""
        features = self.backbone(x)
        return self._all(features) if self.training else (self._main(features),)

    def all_logits(self, x: Tensor) -> Outputs:
        """The logits of all heads, main first, in eval mode too."""
        return self._all(self.backbone(x))

    def match_pretrained(self, weights: dict[str, Tensor]) -> Match:
        """As `pretrained.match_backbone`."""
        return match_backbone(self.backbone, weights)

    def _main(self, features: Sequence[Tensor]) -> Tensor:
        return self.decode_head(features)

    def _all(self, features: Sequence[Tensor]) -> Outputs:
        main = self._main(features)
        return (main, self.auxiliary_head(features)) if hasattr(self, "auxiliary_head") else (main,)


class CascadeOutputs(NamedTuple):
    """Logits float [N, K, h, w] of both heads in training, under mmsegmentation's names of them."""

    decode_1: Tensor
    decode_0: Tensor


class CascadeEncoderDecoder(EncoderDecoder):
    """A second head that is also given the first one's logits (OCRNet). `decode_head.0` and `.1`.

    In training the first head runs twice, once for its loss and once for the second head: its batch norm counts two
    updates a step, and the gradient reaches it by both ways (section 0.4). Outputs: the second head's, the first's.

    Args:
        backbone: as above.
        first: the four features -> logits.
        second: the four features and the first one's logits -> logits.
    """

    def __init__(self, backbone: nn.Module, first: Head, second: Head) -> None:
        super().__init__(backbone, second)
        self.decode_head = nn.ModuleList([first, second])

    def _main(self, features: Sequence[Tensor]) -> Tensor:
        return self.decode_head[1](features, self.decode_head[0](features))

    def _all(self, features: Sequence[Tensor]) -> Outputs:
        own = self.decode_head[0](features)
        given = self.decode_head[0](features) if self.training else own
        return CascadeOutputs(self.decode_head[1](features, given), own)
