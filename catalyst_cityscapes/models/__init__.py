"""Networks as a training loop sees them: `model(x)` gives logits, main first; the losses are computed outside.

What a network of anybody's may return and say about itself is in `outputs`. This project's name their children for the
optimizer's groups (`segmenter`): `backbone_names`, `head_names` and, in order, `parameter_groups_spec`.
"""

from catalyst_cityscapes.models.auxiliary_head import with_auxiliary_head
from catalyst_cityscapes.models.reference import PSANetLogits, PSPNetLogits
from catalyst_cityscapes.models.segmenter import Segmenter
from catalyst_cityscapes.models.small import SmallPSPNet
from catalyst_cityscapes.models.smp import SmpPSPNet
from catalyst_cityscapes.models.timm_fcn import TimmFCN

__all__ = [
    "PSANetLogits",
    "PSPNetLogits",
    "Segmenter",
    "SmallPSPNet",
    "SmpPSPNet",
    "TimmFCN",
    "with_auxiliary_head",
]
