"""Every head of a network has a weight: one that has none is refused and not left out."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from catalyst_cityscapes.callbacks import AuxLossWeighting
from catalyst_cityscapes.losses import mmseg_loss, supervised_losses
from catalyst_cityscapes.models.resizing import Resizing
from semseg_ref.base.errors import OptionError

Named = namedtuple("Named", ("a", "b", "c"))
HEADS = tuple(torch.zeros(1, 2, 3, 3) for _ in range(3))
TARGET = torch.zeros(1, 3, 3, dtype=torch.int64)


@pytest.mark.parametrize("given", [1, 2])
def test_a_head_without_a_weight_is_refused(given):
    criterion = nn.CrossEntropyLoss()
    with pytest.raises(OptionError, match=f"2 auxiliary heads, and there are {given - 1} weights"):
        supervised_losses([criterion] * 3, HEADS, TARGET, [1.0] * given, Resizing())
    with pytest.raises(OptionError, match=f"mmseg_loss: 3 heads, {given} weights and 3 names"):
        mmseg_loss(Named(*HEADS), TARGET, [1.0] * given, False)
    with pytest.raises(OptionError, match="3 weights and 2 names"):
        mmseg_loss(HEADS, TARGET, [1.0] * 3, False)
    with pytest.raises(OptionError, match=r"callbacks\.aux_loss\.weight: .*there are 1 weights"):
        AuxLossWeighting(0.4).losses_of(criterion, HEADS, TARGET, Resizing())


def test_fewer_heads_than_weights_are_those_of_eval_mode():
    assert list(AuxLossWeighting([0.4, 0.2]).losses_of(nn.CrossEntropyLoss(), HEADS[:1], TARGET, Resizing())) == [
        "main_loss",
        "loss",
    ]
