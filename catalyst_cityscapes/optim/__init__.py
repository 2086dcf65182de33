"""Parameter groups and optimisers that recipes may name."""

from catalyst_cityscapes.optim.decoupled_sgd import DecoupledSGD
from catalyst_cityscapes.optim.param_groups import no_bias_decay_groups, reference_groups
from catalyst_cityscapes.optim.rules import groups_by_rule

__all__ = ["DecoupledSGD", "groups_by_rule", "no_bias_decay_groups", "reference_groups"]
