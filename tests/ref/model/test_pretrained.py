"""ImageNet weights: found, loaded whole or refused by name."""

import pytest
import torch
from torch import Tensor

from semseg_ref.base.errors import CheckpointError
from semseg_ref.model import PSPNet, ResNet, resnet50
from semseg_ref.model.resnet import load_pretrained

SMALL = (1, 1, 1, 1)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return ResNet(SMALL).state_dict()


def test_pretrained_folder_and_file(tmp_path, monkeypatch):
    torch.manual_seed(5)
    source = resnet50()
    folder = tmp_path / "initmodel"
    folder.mkdir()
    torch.save(source.state_dict(), folder / "resnet50_v2.pth")
    monkeypatch.chdir(tmp_path)
    expected = dict(source.named_parameters(prefix="x"))
    for pretrained in (True, str(folder / "resnet50_v2.pth"), folder / "resnet50_v2.pth"):
        model = PSPNet(classes=5, pretrained=pretrained)
        assert torch.equal(model.layer0[6].weight, source.conv3.weight)
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for name, value in getattr(model, stage).named_parameters():
                assert torch.equal(value, expected[f"x.{stage}.{name}"])


@pytest.mark.parametrize("pretrained", [True, "elsewhere/weights.pth"])
def test_pretrained_missing_file(tmp_path, monkeypatch, pretrained):
    monkeypatch.chdir(tmp_path)
    name = "initmodel/resnet101_v2.pth" if pretrained is True else pretrained
    with pytest.raises(CheckpointError, match=rf"{name}.*initmodel/README\.md"):
        PSPNet(layers=101, pretrained=pretrained)


@pytest.mark.parametrize("wrapping", ["bare", "module.", "state_dict", "state_dict and module."])
def test_pretrained_wrappings(tmp_path, weights, wrapping):
    state = {f"module.{k}": v for k, v in weights.items()} if "module." in wrapping else weights
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3, "state_dict": state} if "state_dict" in wrapping else state, path)
    model = ResNet(SMALL)
    load_pretrained(model, path)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_pretrained_tolerates_fc_and_batch_counters(tmp_path, weights):
    state = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    state["fc.weight"] = torch.zeros(10, 2048)
    del state["fc.bias"]
    state["fc.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "weights.pth")
    model = ResNet(SMALL)
    own_fc = model.fc.weight.clone()
    load_pretrained(model, tmp_path / "weights.pth")
    assert torch.equal(model.layer4[0].conv3.weight, weights["layer4.0.conv3.weight"])
    assert torch.equal(model.fc.weight, own_fc)


def test_pretrained_is_all_or_nothing(tmp_path, weights):
    state = dict(weights)
    del state["layer3.0.bn2.weight"]
    state["layer9.weight"] = torch.zeros(1)
    state["conv1.weight"] = torch.zeros(64, 3, 7, 7)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    model = ResNet(SMALL)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(model, path)
    message = str(caught.value)
    assert str(path) in message
    assert "1 missing: layer3.0.bn2.weight" in message
    assert "1 unexpected: layer9.weight" in message
    assert "1 of the wrong shape: conv1.weight [64, 3, 7, 7] instead of [64, 3, 3, 3]" in message
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_pretrained_names_only_a_few_of_many(tmp_path, weights):
    # With all of them there the prefix would be read (test_weight_names.py).
    some = {f"encoder.{k}": v for k, v in weights.items() if k != "layer4.0.conv2.weight"}
    torch.save(some, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"missing: conv1\.weight, .*, \.\.\.; .*unexpected: encoder\.") as caught:
        load_pretrained(ResNet(SMALL), tmp_path / "weights.pth")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"PK\x03\x04 cut"])
def test_damaged_checkpoint(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        load_pretrained(ResNet(SMALL), path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"state_dict": {"a": "b"}}])
def test_checkpoint_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth.*named tensors"):
        load_pretrained(ResNet(SMALL), tmp_path / "weights.pth")


class Payload:
    """Stands for any object that unpickling would build."""


def test_checkpoint_is_not_executed(tmp_path):
    torch.save({"state_dict": Payload()}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth: .*tensors"):
        load_pretrained(ResNet(SMALL), tmp_path / "weights.pth")
