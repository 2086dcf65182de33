"""The pyramid pooling head on a ResNet-18: the reference's parts in another size."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from catalyst_cityscapes.models import PSPNetLogits, SmallPSPNet
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from semseg_ref.base.checkpoints.architecture import PSP, identify
from semseg_ref.base.checkpoints.state_dict import load_state
from semseg_ref.base.errors import CheckpointError, InputError, OptionError
from support.golden.inputs import rec_input

TINY = {"classes": 5, "width": 4, "head_channels": 8, "aux_channels": 6}


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize(("height", "width"), [(33, 33), (65, 33), (33, 97)])
def test_logits_have_the_size_of_the_input(height, width):
    model = SmallPSPNet(**TINY)
    x = torch.from_numpy(rec_input(1, (2, 3, height, width)))
    main, aux = model.train()(x)
    assert main.shape == aux.shape == (2, 5, height, width)
    (main.sum() + aux.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        main, aux = model.eval()(x)
        # One image alone is predicted as beside another.
        torch.testing.assert_close(model(x[:1])[0], main[:1])
    assert main.shape == (2, 5, height, width)
    assert aux is None


def test_features_are_an_eighth_of_the_input():
    model = SmallPSPNet(**TINY).eval()
    x = torch.zeros(1, 3, 65, 97)
    sizes = []
    for name in model.backbone_names:
        x = getattr(model, name)(x)
        sizes.append((x.shape[1], *x.shape[2:]))
    assert sizes == [(8, 17, 25), (4, 17, 25), (8, 9, 13), (16, 9, 13), (32, 9, 13)]
    assert model.ppm(x).shape == (1, 64, 9, 13)


@pytest.fixture(scope="module")
def full_width():
    """Stages as wide as a ResNet-18's."""
    return SmallPSPNet(width=64)


def test_stem_is_the_references(full_width):
    reference = PSPNetLogits(classes=5, pretrained=False)
    full_width.layer0.load_state_dict(reference.layer0.state_dict(), strict=True)
    x = torch.from_numpy(rec_input(2, (2, 3, 33, 33)))
    torch.testing.assert_close(full_width.layer0.eval()(x), reference.layer0.eval()(x), rtol=0, atol=0)
    assert [name for name, _ in full_width.named_children()] == [name for name, _ in reference.named_children()]
    assert full_width.parameter_groups_spec == reference.parameter_groups_spec
    for head in ("ppm", "cls", "aux"):
        assert shapes(getattr(full_width, head)).keys() == shapes(getattr(reference, head)).keys()


def test_stages_are_those_of_a_resnet18_and_dilated_as_the_references(full_width):
    standard = resnet18(weights=None)
    for stage in ("layer2", "layer3", "layer4"):
        assert shapes(getattr(full_width, stage)) == shapes(getattr(standard, stage))
    reference = PSPNetLogits(classes=5, pretrained=False)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        ours, theirs = (
            {
                (m.dilation, m.padding)
                for m in getattr(model, stage).modules()
                if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
            }
            for model in (full_width, reference)
        )
        assert ours == theirs


def test_groups_hold_every_parameter_once():
    model = SmallPSPNet(**TINY)
    assert model.head_names == ("ppm", "cls", "aux")
    grouped = [p for name, _ in model.parameter_groups_spec for p in getattr(model, name).parameters()]
    assert [id(p) for p in grouped] == [id(p) for p in model.parameters()]


def test_weights_survive_a_state_dict():
    torch.manual_seed(0)
    first, second = SmallPSPNet(**TINY).eval(), SmallPSPNet(**TINY).eval()
    x = torch.from_numpy(rec_input(3, (1, 3, 33, 33)))
    with torch.no_grad():
        assert not torch.equal(first(x)[0], second(x)[0])
        second.load_state_dict(first.state_dict(), strict=True)
        assert torch.equal(first(x)[0], second(x)[0])


def test_a_checkpoint_of_a_deeper_network_is_refused_in_words():
    deep, small = PSPNetLogits(classes=19, pretrained=False).state_dict(), SmallPSPNet(width=64)
    found = identify(small.state_dict())
    assert (found.family, found.blocks, found.bottleneck, found.depth) == (PSP, (2, 2, 2, 2), False, None)
    with pytest.raises(CheckpointError, match="depth 50 instead of 2-2-2-2 basic"):
        load_state(small, deep, "deep.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "classes=1 is not possible: expected at least 2"),
        ({"width": 0}, "width=0 is not possible: expected at least 1"),
        ({"head_channels": 0}, "head_channels=0 is not possible"),
        ({"aux_channels": -3}, "aux_channels=-3 is not possible"),
        ({"width": 4, "bins": (1, 2, 3)}, r"another divisor of 32 \(8 \* width\)"),
        ({"bins": ()}, "bins=\\(\\) is not possible"),
        ({"bins": (0, 1)}, "each at least 1"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(OptionError, match=message):
        SmallPSPNet(**options)


def test_sizes_that_do_not_fit():
    with pytest.raises(InputError, match="width 64 of an input"):
        SmallPSPNet(**TINY).eval()(torch.zeros(1, 3, 65, 64))


def test_the_quickstarts_recipe_is_the_official_one_in_small():
    recipe, official = load_recipe(["toy/pspnet18"]), load_recipe(["cityscapes/pspnet50"])
    network = build(recipe.model, "model")
    assert isinstance(network, SmallPSPNet)
    assert sum(p.numel() for p in network.parameters()) < 4e6
    assert recipe.engine.precision == "fp32"
    assert recipe.callbacks.keys() == official.callbacks.keys()
    assert recipe.callbacks["poly_lr"]["power"] == official.callbacks["poly_lr"]["power"]
    assert recipe.callbacks["aux_loss"] == official.callbacks["aux_loss"]
    assert recipe.augmentation["order"] == official.augmentation["order"]
    assert recipe.protocol.name == official.protocol.name
