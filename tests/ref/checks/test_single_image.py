"""Batches of a single image: only networks with batch norm on 1 x 1 maps refuse them, and before the first step."""

import pytest
import torch
from torch import nn

from catalyst_cityscapes.models.reference import PSPNetLogits
from catalyst_cityscapes.train.loaders import check_smallest_batch
from semseg_ref.base.errors import OptionError
from semseg_ref.checks.batch import needs_several_images, smallest_batch
from semseg_ref.model import PSPNet
from support.runs.toy import SMALL, toy_recipe

CROP = (33, 33)


class Global(nn.Module):
    """Batch norm after pooling to `side` x `side`."""

    def __init__(self, side=1, norm=nn.BatchNorm2d):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(side), norm(4), nn.Dropout(0.5))

    def forward(self, x):
        return self.layers(x), None


class Asking(Global):
    """A network that needs numbers in its forward pass."""

    def forward(self, x):
        return super().forward(x * float(x.mean()))


@pytest.mark.parametrize(
    ("network", "refused"),
    [
        (Global(), True),
        (Global(2), False),
        (Global(1, nn.Identity), False),
        (Global(1, lambda channels: nn.GroupNorm(2, channels)), False),
        (Global(1, nn.InstanceNorm2d), False),  # torch has another complaint here, about another layer
        (Asking(), False),
    ],
    ids=["batch-norm", "2x2", "no-norm", "group-norm", "instance-norm", "unknown"],
)
def test_which_networks_refuse_one_image(network, refused):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    network.eval()
    assert needs_several_images(network, CROP) == refused
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    if refused:
        network.train()
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            network(torch.zeros(1, 3, *CROP))


def test_the_reference_network_refuses_one_image_with_pyramid_pooling_only():
    arguments = {"layers": 50, "classes": 3, "pretrained": False}
    assert needs_several_images(PSPNetLogits(**arguments), CROP)
    assert needs_several_images(PSPNet(**arguments), CROP, with_target=True)
    assert not needs_several_images(PSPNet(**arguments, use_ppm=False), CROP, with_target=True)


@pytest.mark.parametrize(
    ("samples", "batch", "drop_last", "expected"),
    [(4, 3, False, 1), (4, 3, True, 3), (5, 3, False, 2), (6, 3, False, 3), (5, 1, True, 1)],
)
def test_smallest_batch(samples, batch, drop_last, expected):
    assert smallest_batch(samples, batch, drop_last) == expected


@pytest.mark.parametrize(
    ("settings", "samples", "world", "message"),
    [
        (("sampling.batch_size=1",), 5, 1, r"batch_size: 1 makes batches of a single image, .*make it at least 2"),
        (("sampling.batch_size=2",), 5, 2, r"batch_size: 2 .*single image in each of 2 processes.* at least 4"),
        (("sampling.batch_size=1", "sampling.per_process=true"), 5, 2, r"batch_size: 1 .* at least 2"),
        (("sampling.drop_last=false",), 5, 1, r"drop_last: false leaves a last batch .*\(5 images in batches of 2\)"),
        (("sampling.drop_last=false",), 6, 1, None),
        ((), 5, 1, None),
    ],
)
def test_the_batch_is_told_before_the_training(settings, samples, world, message):
    recipe = toy_recipe("city", *SMALL, *settings)
    check_smallest_batch(recipe, Global(2), samples, world)
    if message is None:
        check_smallest_batch(recipe, Global(), samples, world)
    else:
        with pytest.raises(OptionError, match=message):
            check_smallest_batch(recipe, Global(), samples, world)
