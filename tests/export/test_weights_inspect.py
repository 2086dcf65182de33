"""`catalyst-dl weights inspect`: what a file is, and how it compares with a recipe."""

import hashlib

import numpy as np
import pytest
import torch

from catalyst_cityscapes.export.weights import read_weight_file
from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from semseg_ref.model import PSANet, resnet101
from support.weight_files import (
    RECIPE,
    catalyst_2020,
    hollow,
    prefixed,
    psa,
    psp,
    resnet,
    rows,
    run,
    torchvision_resnet50,
)


@pytest.mark.parametrize("zipped", [True, False])
def test_official_checkpoint(tmp_path, zipped):
    path = tmp_path / "train_epoch_200.pth"
    content = {"epoch": 200, "state_dict": prefixed(psp()), "optimizer": {"state": {}, "param_groups": []}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    code, out, _ = run("inspect", path, "--config", RECIPE)
    found = rows(out)
    assert code == 0
    assert found["format"] == ("torch zip archive" if zipped else "torch file of before 1.6")
    assert found["what"] == "official semseg checkpoint, names with 'module.'"
    assert found["network"] == "PSPNet-50, 19 classes, deep stem (three 3x3)"
    assert found["tensors"] == "370 (309 float32, 61 int64)"
    assert found["parameters"] == "49,080,038"  # the reference's own count, tests/goldens/keys_pspnet50.json
    assert found["complete"] == "yes, 370 of 370 tensors match"
    assert found["epoch"] == "200"
    assert found["besides"] == "optimizer (2 entries)"
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["matched"] == "370 of 370 tensors"
    assert "why" not in found


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_of_the_earlier_attempt(tmp_path, zipped):
    path = tmp_path / "best_full.pth"
    torch.save(catalyst_2020(psp()), path, _use_new_zipfile_serialization=zipped)
    content = read_checkpoint(path)
    assert content["valid_metrics"] == {"LCEend": 0.5}
    assert content["epoch_metrics"] == {"train_loss": 0.25}
    assert content["scheduler_state_dict"]["learning_rates"] == np.linspace(0.001, 0.01, 7).tolist()
    found = rows(run("inspect", path)[1])
    assert found["what"] == "Catalyst checkpoint, names without 'module.'"
    assert found["epoch"] == "180"
    assert found["complete"].startswith("yes, 370 of 370")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: psp(layers=101, classes=21), "PSPNet-101, 21 classes, deep stem (three 3x3)"),
        (lambda: psp(zoom_factor=1, stem="torchvision"), "PSPNet-50, 19 classes, torchvision stem (one 7x7)"),
        (lambda: psp(bins=(1, 2)), "PSPNet-50, 19 classes, deep stem (three 3x3), 2 pyramid branches"),
        (psa, "PSANet-50, 19 classes, deep stem (three 3x3), mask 89 x 89, collect and distribute"),
        (resnet, "ResNet-50, 1000 classes, deep stem (three 3x3)"),
        (lambda: resnet(resnet101, deep_base=False), "ResNet-101, 1000 classes, torchvision stem (one 7x7)"),
    ],
)
def test_networks_are_told_by_names_and_shapes(tmp_path, make, expected):
    torch.save(make(), tmp_path / "x.pth")
    found = read_weight_file(tmp_path / "x.pth")
    assert str(found.network) == expected
    assert found.completeness.fits
    assert found.is_imagenet == expected.startswith("ResNet")


def test_network_without_context_and_compact_attention(tmp_path):
    torch.save(psp(use_ppm=False), tmp_path / "plain.pth")
    assert str(read_weight_file(tmp_path / "plain.pth").network).startswith("network without context module-50, 19")
    with torch.device("meta"):
        compact = PSANet(classes=19, compact=True, mask_h=6, mask_w=8, psa_type=1, pretrained=False)
    torch.save(hollow(compact), tmp_path / "compact.pth")
    found = read_weight_file(tmp_path / "compact.pth")
    assert str(found.network).endswith("48 attention cells, one attention branch")
    assert found.completeness.fits


def test_project_checkpoint_and_foreign_network(tmp_path):
    torch.save({"epoch": 3, "state_dict": prefixed(psp()), "optimizer": {}, "callbacks": {}}, tmp_path / "ours.pth")
    assert read_weight_file(tmp_path / "ours.pth").what.startswith("checkpoint of this project")
    torch.save({"encoder.a": torch.zeros(2), "encoder.b": torch.zeros(2), "head.a": torch.ones(1)}, tmp_path / "x.pth")
    found = rows(run("inspect", tmp_path / "x.pth")[1])
    assert found["network"] == "unknown network (encoder.*: 2, head.*: 1)"
    assert found["complete"].startswith("not known")


def test_wrapper_without_prefix_is_named(tmp_path):
    torch.save({"epoch": 1, "state_dict": psp()}, tmp_path / "x.pth")
    assert read_weight_file(tmp_path / "x.pth").what == "state dict under 'state_dict', names without 'module.'"


def test_inspect_counts_and_explains_what_does_not_match(tmp_path):
    path = tmp_path / "voc.pth"
    torch.save(psp(layers=101, classes=21), path)
    out = run("inspect", path, "--config", RECIPE)[1]
    found = rows(out)
    assert found["matched"] == "366 of 370 tensors"
    assert found["unexpected"].startswith("306: layer3.6.conv1.weight")
    assert found["differing"].startswith("4: cls.4.weight [21, 512, 1, 1] instead of [19, 512, 1, 1]")
    whys = [line[11:] for line in out.splitlines() if line.startswith("why")]
    assert whys == ["depth 101 instead of depth 50", "21 classes instead of 19"]
    assert "layer3.9" not in out
    assert "layer3.9" in run("inspect", path, "--config", RECIPE, "--all")[1]
    fitting = rows(run("inspect", path, "--config", RECIPE, "--set", "model.layers=101", "data.classes=21")[1])
    assert fitting["matched"] == "676 of 676 tensors"


def test_inspect_sees_incomplete_and_damaged_weights(tmp_path):
    state = psp()
    del state["cls.4.weight"]
    state["layer4.0.conv1.weight"] = torch.full((512, 1024, 1, 1), torch.nan)
    torch.save(state, tmp_path / "x.pth")
    found = rows(run("inspect", tmp_path / "x.pth")[1])
    assert found["complete"].startswith("NO, ")
    assert "1 missing: cls.4.weight" in found["complete"]
    assert "no main classifier" in found["network"]
    assert found["damaged"] == "NaN or infinite values in 1 tensors, first: layer4.0.conv1.weight"


def test_imagenet_file_is_compared_with_the_backbone(tmp_path):
    path = tmp_path / "resnet50.pth"
    torch.save(torchvision_resnet50().state_dict(), path)
    found = rows(run("inspect", path, "--config", RECIPE)[1])
    assert found["what"].startswith("ImageNet initialisation")
    assert found["matched"] == "315 of 328 tensors"
    assert found["why"] == "torchvision stem (one 7x7) instead of deep stem (three 3x3)"
    found = rows(run("inspect", path, "--config", RECIPE, "swap/stem_torchvision")[1])
    assert found["matched"] == "318 of 318 tensors"
    assert found["not used"] == "2: fc.weight, fc.bias"
