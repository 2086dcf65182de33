"""Weights under other names: one prefix that makes all names fit is read and told; whatever is open is refused."""

import pytest
import torch

from catalyst_cityscapes.export.weights.inspection import read_weight_file
from semseg_ref.base.checkpoints.state_dict import load_state, load_weights, weights_in
from semseg_ref.base.errors import CheckpointError
from semseg_ref.model.resnet import ResNet, load_pretrained
from support.networks.small import SmallLogits


def network(seed: int = 0) -> SmallLogits:
    torch.manual_seed(seed)
    return SmallLogits(classes=3)


def renamed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in network().state_dict().items()}


def loaded(tmp_path, content) -> list[str]:
    """Reads a file into a network of other weights, which then has the right ones; what was told."""
    torch.save(content, tmp_path / "w.pth")
    model, told = network(seed=1), []
    load_weights(model, tmp_path / "w.pth", told.append)
    assert all(torch.equal(value, renamed("")[name]) for name, value in model.state_dict().items())
    return [line.removeprefix(f"{tmp_path / 'w.pth'}: ") for line in told]


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
def test_wrappers_of_torch_leave_no_trace(tmp_path, prefix):
    assert loaded(tmp_path, {"state_dict": renamed(prefix)}) == []


@pytest.mark.parametrize("prefix", ["model.", "net.", "network.", "model._orig_mod.", "a.b.c."])
def test_one_prefix_of_all_names_is_read_and_told(tmp_path, prefix):
    shown = prefix.replace("_orig_mod.", "")
    assert loaded(tmp_path, {"state_dict": renamed(prefix)}) == [f"names read without their prefix '{shown}'"]


def test_what_lies_beside_the_network_is_left_out_and_told(tmp_path):
    content = {"state_dict": {**renamed("model."), "criterion.weight": torch.ones(3)}}
    said = "names read without their prefix 'model.'; not of the network, left out: criterion.weight"
    assert loaded(tmp_path, content) == [said]


def test_a_compiled_part_of_a_network(tmp_path):
    state = {name.replace("layer0.", "layer0._orig_mod."): value for name, value in renamed("").items()}
    assert loaded(tmp_path, state) == []


@pytest.mark.parametrize("key", ["model", "network", "state_dict_ema", "ema"])
def test_other_keys_are_read_and_told(tmp_path, key):
    assert loaded(tmp_path, {"epoch": 3, key: renamed("module.")}) == [f"weights read from its key '{key}'"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": renamed(""), "ema": renamed("")}, r"several state dicts \(model, ema\); which is meant"),
        ({"state_dict": {**renamed("a."), **renamed("b.")}}, "several networks of these names, under 'a.', 'b.'"),
        ({"state_dict": {**renamed(""), **renamed("_orig_mod.")}}, "names both with and without '_orig_mod.'"),
        (
            {"state_dict": {name: value for name, value in renamed("model.").items() if "aux" not in name}},
            r"would fit without their prefix \(first: model\.layer0.*catalyst-dl weights inspect",
        ),
    ],
)
def test_what_is_open_is_refused(tmp_path, content, said):
    torch.save(content, tmp_path / "w.pth")
    model = network(seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=said):
        load_weights(model, tmp_path / "w.pth")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_whose_own_names_share_a_part_keeps_them():
    """`module.` is a wrapper's prefix, but 'c.' may be a network's only child."""
    model = torch.nn.Sequential()
    model.add_module("c", torch.nn.Conv2d(3, 2, 1))
    state = {name: torch.full_like(value, 7) for name, value in model.state_dict().items()}
    assert load_state(model, weights_in(state)) == ""
    assert model.c.bias.tolist() == [7, 7]


def test_the_same_names_for_pretrained_weights_and_for_inspect(tmp_path):
    blocks = (1, 1, 1, 1)
    torch.manual_seed(0)
    source = ResNet(blocks, num_classes=5)
    torch.save({"model": {f"backbone.{n}": v for n, v in source.state_dict().items()}}, tmp_path / "r.pth")
    target = ResNet(blocks, num_classes=7)
    load_pretrained(target, tmp_path / "r.pth")
    assert torch.equal(target.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
    file = read_weight_file(tmp_path / "r.pth")
    assert file.is_imagenet
    assert "conv1.weight" in file.weights
    assert file.wrapper == "state dict under 'model'"
