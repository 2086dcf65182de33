"""Networks as a training loop sees them: `model(x) -> (main, aux)` logits, the losses are computed outside.

`aux` is None in eval mode. Every network names its children for the optimizer's groups: `backbone_names`,
`head_names` and, in order, `parameter_groups_spec`.
"""

from catalyst_cityscapes.models.reference import PSANetLogits, PSPNetLogits
from catalyst_cityscapes.models.small import SmallPSPNet
from catalyst_cityscapes.models.smp import SmpPSPNet
from catalyst_cityscapes.models.two_heads import TwoHeads

__all__ = ["PSANetLogits", "PSPNetLogits", "SmallPSPNet", "SmpPSPNet", "TwoHeads"]
