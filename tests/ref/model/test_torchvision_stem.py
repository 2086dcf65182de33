"""The variant with torchvision's 7x7 stem."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.errors import CheckpointError, InputError
from semseg_ref.model import PSANet, PSPNet, resnet50
from support.weight_files import RECIPE, psp, resnet


def test_every_backbone_tensor_is_torchvisions(from_torchvision):
    theirs, _, ours = from_torchvision
    state, own = theirs.state_dict(), ours.state_dict()
    names = {"layer0.0": "conv1", "layer0.1": "bn1"}
    used = set()
    for name, value in own.items():
        if not name.startswith("layer"):
            continue
        stem = name.rpartition(".")[0]
        source = f"{names[stem]}.{name.rpartition('.')[2]}" if stem in names else name
        assert torch.equal(value, state[source]), name
        used.add(source)
    assert set(state) - used == {"fc.weight", "fc.bias"}


def test_forward_is_torchvisions_up_to_the_dilation(from_torchvision):
    theirs, _, ours = from_torchvision
    x = torch.from_numpy(np.random.RandomState(1).standard_normal((1, 3, 65, 97)).astype(np.float32))
    with torch.no_grad():
        stem = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        assert torch.equal(ours.layer0(x), stem)
        second = theirs.layer2(theirs.layer1(stem))
        assert torch.equal(ours.layer2(ours.layer1(ours.layer0(x))), second)
        # Undilated, the rest is torchvision's too: the whole difference is the reference's dilation.
        dilated = ours.layer3(second)
        assert dilated.shape == (1, 1024, 9, 13)
        plain = resnet50(from_torchvision[1], deep_base=False).eval()
        assert torch.equal(plain(x), theirs(x))


def test_stem_changes_no_name_of_the_rest():
    deep, torchvision = psp(), psp(stem="torchvision")
    later = [name for name in deep if not name.startswith("layer0.")]
    assert [name for name in torchvision if not name.startswith("layer0.")] == later
    assert [name for name in torchvision if name.startswith("layer0.")] == list(deep)[:6]


def test_default_file_of_the_torchvision_stem(tmp_path, monkeypatch, from_torchvision):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"initmodel/resnet50_torchvision\.pth: no such file"):
        PSPNet(stem="torchvision")
    Path("initmodel").mkdir()
    os.link(from_torchvision[1], "initmodel/resnet50_torchvision.pth")
    recipe = load_recipe([RECIPE, "swap/stem_torchvision"])
    assert recipe.model["pretrained"] is True
    model = PSANet(stem="torchvision", psa_type=0, mask_h=5, mask_w=5)
    assert torch.equal(model.layer0[0].weight, from_torchvision[0].conv1.weight)


def test_stem_is_refused_by_name():
    with pytest.raises(InputError, match="stem='torchvison' is not possible; did you mean 'torchvision'"):
        PSPNet(stem="torchvison", pretrained=False)


def test_wrong_stem_says_so(tmp_path, from_torchvision):
    with pytest.raises(
        CheckpointError, match=r"10 missing: conv2\.weight.*torchvision stem \(one 7x7\) instead of deep"
    ):
        PSPNet(pretrained=from_torchvision[1])
    torch.save(resnet(), tmp_path / "deep.pth")
    with pytest.raises(CheckpointError, match=r"deep stem \(three 3x3\) instead of torchvision stem"):
        PSPNet(stem="torchvision", pretrained=tmp_path / "deep.pth")


def test_control_arm_takes_the_stem():
    from catalyst_cityscapes.recipe.translation import recipe_to_official
    from semseg_ref.model.build import build_network

    cfg = recipe_to_official(load_recipe([RECIPE, "swap/stem_torchvision"]))
    with torch.device("meta"):
        assert build_network(cfg, pretrained=False).layer0[0].kernel_size == (7, 7)
        assert build_network(recipe_to_official(load_recipe([RECIPE])), pretrained=False).layer0[0].kernel_size == (
            3,
            3,
        )
