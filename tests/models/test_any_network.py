"""Networks of four libraries, named in a recipe as their users write them, and what each says about itself."""

import copy

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from catalyst_cityscapes.models import TimmFCN, with_auxiliary_head
from catalyst_cityscapes.models.outputs import (
    SizeRule,
    align_corners_of,
    check_sides,
    outputs_of,
    resized_for_loss,
    size_rule_of,
)
from catalyst_cityscapes.models.parts import head_names
from catalyst_cityscapes.models.reference import PSPNetLogits
from catalyst_cityscapes.recipe.nodes.targets import build, resolve_target, without_pretrained
from semseg_ref.base.errors import InputError, OptionError

CLASSES = 5
UNET = {
    "_target_": "segmentation_models_pytorch.Unet", "encoder_name": "mobilenet_v2", "encoder_weights": "imagenet",
    "encoder_depth": 3, "decoder_channels": [16, 8, 8], "classes": CLASSES,
}  # fmt: skip
SEGFORMER = {
    "_target_": "transformers.SegformerForSemanticSegmentation",
    "config": {
        "_target_": "transformers.SegformerConfig", "num_labels": CLASSES, "hidden_sizes": [8, 8, 8, 8],
        "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1], "decoder_hidden_size": 8,
    },
}  # fmt: skip
LRASPP = {"_target_": "torchvision.models.segmentation.lraspp_mobilenet_v3_large", "num_classes": CLASSES}
TIMM = {"_target_": "catalyst_cityscapes.models.TimmFCN", "backbone": "resnet10t", "classes": CLASSES}
UNET_WITH_AUX = {
    "_target_": "catalyst_cityscapes.models.with_auxiliary_head", "network": UNET, "layer": "encoder", "index": -2,
    "classes": CLASSES, "channels": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("node", "sizes", "heads"),
    [
        (UNET, [64], ["decoder", "segmentation_head"]),
        (SEGFORMER, [16], ["decode_head"]),
        (LRASPP, [64], ["classifier"]),
        ({**TIMM, "head_channels": 8, "aux_channels": 8}, [2, 4], ["head", "aux"]),
        ({**TIMM, "head_channels": 8, "aux": False, "output_stride": 8}, [8], ["head"]),
        (UNET_WITH_AUX, [64, 16], ["decoder", "segmentation_head", "aux"]),
    ],
    ids=["smp", "transformers", "torchvision", "timm", "timm without aux", "smp with aux"],
)
def test_a_network_as_its_users_write_it(node, sizes, heads):
    # Without its weights, which would be fetched: this is how a checkpoint is scored.
    network = build(without_pretrained(node), "model").train()
    outputs = outputs_of(network(torch.randn(2, 3, 64, 64)))
    assert [tuple(each.shape) for each in outputs] == [(2, CLASSES, size, size) for size in sizes]
    sum(each.sum() for each in outputs).backward()
    assert list(head_names(network)) == heads
    assert not align_corners_of(network)
    assert resized_for_loss(network) == "logits"
    assert outputs_of(network.eval()(torch.randn(1, 3, 64, 64)))[0].shape == (1, CLASSES, sizes[0], sizes[0])


def unet() -> nn.Module:
    return build(without_pretrained(UNET), "model")


def test_an_auxiliary_head_leaves_the_network_as_it_is():
    torch.manual_seed(3)
    bare, x = unet(), torch.randn(2, 3, 64, 64)
    network = with_auxiliary_head(copy.deepcopy(bare), "encoder", CLASSES, index=-2, channels=8)
    assert {name for name in network.state_dict() if not name.startswith("aux.")} == bare.state_dict().keys()
    assert type(network).__name__ == "Unet"
    assert torch.equal(network.eval()(x)[0], bare.eval()(x))
    other = copy.deepcopy(network).train()
    other(x)[1].sum().backward()
    assert other.encoder.get_parameter("features.0.0.weight").grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.tap.feature is None


def test_an_auxiliary_head_draws_no_random_number_but_its_own_weights():
    torch.manual_seed(5)
    expected = nn.Conv2d(24, 8, 3, bias=False).weight
    network = unet()
    torch.manual_seed(5)
    assert torch.equal(with_auxiliary_head(network, "encoder", CLASSES, index=-2, channels=8).aux[0].weight, expected)


@pytest.mark.parametrize(
    ("layer", "index", "message"),
    [
        ("encoda", None, "no module 'encoda'; did you mean 'encoder"),
        ("encoder", None, "layer encoder gives list, expected a feature map"),
        ("encoder", 9, "layer encoder, index 9: list index out of range"),
        ("segmentation_head.0", 0, r"gives \[5, 128, 128\], expected a feature map"),
    ],
)
def test_an_auxiliary_head_on_nothing_is_refused(layer, index, message):
    with pytest.raises(InputError, match=message):
        with_auxiliary_head(unet(), layer, CLASSES, index)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet18d2"}, "timm has no backbone 'resnet18d2'; did you mean 'resnet18d'"),
        ({"backbone": "resnet18", "pretrained": "none.pth"}, "pretrained: none.pth: no such file"),
        ({"backbone": "resnet18", "options": {"nonsense": 1}}, "backbone 'resnet18': TypeError: .*nonsense"),
        ({"backbone": "resnet18", "classes": 1}, "classes=1: expected at least 2"),
    ],
)
def test_timm_says_what_it_does_not_take(arguments, message):
    with pytest.raises(InputError, match=message):
        TimmFCN(**arguments)


def test_networks_say_what_sides_they_take():
    fpn = smp.FPN("mobilenet_v2", encoder_weights=None, classes=CLASSES)
    assert size_rule_of(fpn) == SizeRule(32)
    assert size_rule_of(PSPNetLogits(pretrained=False)) == SizeRule(8, rest=1)
    assert size_rule_of(unet()) is None
    check_sides(fpn, (64, 128), "data.crop")
    with pytest.raises(OptionError, match=r"^data\.crop: 65 is not possible: .*multiple of 32; nearest: 64, 96$"):
        check_sides(fpn, (64, 65), "data.crop")
    assert [SizeRule(32).at_least(side) for side in (1, 32, 33)] == [32, 32, 64]
    assert [SizeRule(8, rest=1).at_least(side) for side in (1, 9, 10)] == [1, 9, 17]
    assert [SizeRule(1, least=29).at_least(side) for side in (1, 29, 30)] == [29, 29, 30]
    assert [SizeRule(32, least=40).at_least(side) for side in (1, 64, 65)] == [64, 64, 96]
    own = nn.Identity()
    own.size_rule = SizeRule(32, least=40)
    with pytest.raises(OptionError, match=r"^data\.crop: 32 is too small for the network; nearest: 64$"):
        check_sides(own, (64, 32), "data.crop")
    own.size_rule = 16
    with pytest.raises(OptionError, match=r"protocol\.crop: 8 is not possible: .*multiple of 16; nearest: 16$"):
        check_sides(own, (8, 16), "protocol.crop")


@pytest.mark.parametrize(
    "name",
    [
        "transformers.pipeline",
        "transformers.Trainer",
        "transformers.AutoTokenizer",
        "transformers.modeling_utils.PreTrainedModel",
        "transformers.models.segformer.modeling_segformer.eager_attention_forward",
        "transformers.models.segformer.modeling_segformer.torch.load",
        "transformers.SegformerImageProcessor",
        "transformers.SegformerForSemanticSegmentation.from_pretrained",
    ],
)
def test_of_transformers_only_networks_and_configurations_may_be_named(name):
    with pytest.raises(InputError, match=r"outside the allowed packages|is not a class"):
        resolve_target(name)
    assert resolve_target("transformers.SegformerConfig").__name__ == "SegformerConfig"
