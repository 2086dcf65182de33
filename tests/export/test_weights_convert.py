"""`catalyst-dl weights convert`: the same weights in another form, whole or not at all."""

import hashlib

import pytest
import torch

from catalyst_cityscapes.export.weights import convert, read_weight_file
from semseg_ref.base.checkpoints.state_dict import load_weights, read_checkpoint, weights_in
from semseg_ref.base.errors import InputError
from semseg_ref.model import PSPNet
from support.weight_files import catalyst_2020, prefixed, psp, refusal, resnet, rows, run, same


def test_safetensors_and_back_to_the_bit(tmp_path, official):
    middle, back = tmp_path / "x.safetensors", tmp_path / "new" / "back.pth"
    code, out, _ = run("convert", official, middle)
    assert code == 0
    assert rows(out)["to"] == f"{middle}: safetensors, 370 of 370 tensors"
    assert rows(out)["left out"] == "optimizer"
    found = read_weight_file(middle)
    assert (found.epoch, found.format) == (7, "safetensors")
    assert found.others["source_sha256"] == hashlib.sha256(official.read_bytes()).hexdigest()
    done = convert(middle, back)
    assert done.form == "official"
    assert "without optimizer no run can resume" in done.notes[0]
    before, after = read_checkpoint(official), read_checkpoint(back)
    assert after["epoch"] == 7
    assert same(before["state_dict"], after["state_dict"])  # the order too, which safetensors does not keep
    # Every command that reads a checkpoint reads this file.
    model = PSPNet(layers=50, classes=19, pretrained=False)
    assert load_weights(model, middle)["epoch"] == 7
    assert same(model.state_dict(), weights_in(before))
    assert not list(tmp_path.glob("**/*.tmp"))


def test_official_from_the_earlier_attempt(tmp_path):
    source, target = tmp_path / "best.pth", tmp_path / "official.pth"
    torch.save(catalyst_2020(psp()), source)
    out = rows(run("convert", source, target, "--to", "official")[1])
    assert "optimizer_state_dict" in out["left out"]
    assert "without optimizer no run can resume" in out["note"]
    content = read_checkpoint(target)
    assert set(content) == {"epoch", "state_dict"}
    assert content["epoch"] == 180
    assert same(weights_in(content), psp())
    target.unlink()


def test_official_keeps_epoch_and_optimizer_and_drops_what_it_does_not_have(tmp_path):
    source, target = tmp_path / "last.pth", tmp_path / "official.pth"
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"epoch": 3, "state_dict": prefixed(psp()), "optimizer": optimizer, "callbacks": {}}, source)
    done = convert(source, target, "official")
    assert done.left_out == ["callbacks"]
    assert done.notes == []
    content = read_checkpoint(target)
    assert list(content) == ["epoch", "state_dict", "optimizer"]
    assert torch.equal(content["optimizer"]["state"][0]["momentum_buffer"], torch.ones(3))
    target.unlink()


@pytest.mark.parametrize("stem", ["deep", "torchvision"])
def test_imagenet_init_from_a_segmentation_checkpoint(tmp_path, stem):
    source, target = tmp_path / "x.pth", tmp_path / "init.pth"
    state = psp(stem=stem)
    torch.save(state, source)
    done = convert(source, target, "imagenet-init")
    assert done.left_out == ["ppm.*", "cls.*", "aux.*"]
    model = PSPNet(classes=3, stem=stem, pretrained=target)
    backbone = {name: value for name, value in model.state_dict().items() if name.startswith("layer")}
    assert same(backbone, {name: value for name, value in state.items() if name.startswith("layer")})
    target.unlink()


def test_bare(tmp_path):
    torch.save({"epoch": 1, "state_dict": prefixed(resnet(deep_base=False))}, tmp_path / "x.pth")
    done = convert(tmp_path / "x.pth", tmp_path / "bare.pth", "bare")
    assert done.left_out == ["epoch"]
    assert same(read_checkpoint(tmp_path / "bare.pth"), resnet(deep_base=False))


def test_foreign_networks_keep_their_names(tmp_path):
    state = {"b.weight": torch.arange(4.0), "a.bias": torch.tensor(True)}
    torch.save(state, tmp_path / "x.pth")
    done = convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    assert "was not checked" in done.notes[0]
    assert weights_in(read_checkpoint(tmp_path / "x.safetensors")).keys() == state.keys()
    message = refusal("convert", tmp_path / "x.pth", tmp_path / "y.pth", "--to", "official")
    assert "none of the official code's segmentation networks; --to bare" in message
    message = refusal("convert", tmp_path / "x.pth", tmp_path / "y.pth", "--to", "imagenet-init")
    assert "has no backbone" in message
    assert not (tmp_path / "y.pth").exists()


def test_imagenet_file_is_no_official_checkpoint(tmp_path):
    torch.save(resnet(), tmp_path / "x.pth")
    assert "--to imagenet-init or safetensors" in refusal(
        "convert", tmp_path / "x.pth", tmp_path / "y.pth", "--to", "official"
    )


@pytest.mark.parametrize("form", ["official", "bare", "safetensors", "imagenet-init"])
def test_nothing_is_converted_half(tmp_path, form):
    state = psp()
    del state["layer4.2.bn3.weight"], state["aux.4.bias"]
    torch.save(state, tmp_path / "x.pth")
    target = tmp_path / ("y.safetensors" if form == "safetensors" else "y.pth")
    message = refusal("convert", tmp_path / "x.pth", target, "--to", form)
    assert "nothing is written: 368 of 370 tensors match; 2 missing: layer4.2.bn3.weight, aux.4.bias" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pth"]


def test_existing_files_are_kept_unless_overwrite(tmp_path):
    source, target = tmp_path / "x.pth", tmp_path / "y.pth"
    torch.save({"a": torch.zeros(2)}, source)
    target.write_text("precious")
    assert f"{target}: exists already; --overwrite" in refusal("convert", source, target, "--to", "bare")
    assert target.read_text() == "precious"
    assert run("convert", source, target, "--to", "bare", "--overwrite")[0] == 0
    assert torch.equal(read_checkpoint(target)["a"], torch.zeros(2))
    before = source.read_bytes()
    assert "is the file to convert" in refusal("convert", source, source, "--to", "bare", "--overwrite")
    assert source.read_bytes() == before


def test_targets_that_cannot_be(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth")
    (tmp_path / "file").touch()
    for target, form, message in (
        ("y.pth", "safetensors", r"is named *.safetensors"),
        ("y.safetensors", "bare", r"is named *.pth"),
        (".", "bare", "is a folder"),
        ("file/y.pth", "bare", "cannot be written"),
    ):
        assert message in refusal("convert", tmp_path / "x.pth", tmp_path / target, "--to", form)


def test_interrupted_conversion_leaves_the_old_file(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth")
    (tmp_path / "y.pth").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left"):
        convert(tmp_path / "x.pth", tmp_path / "y.pth", "bare", overwrite=True)
    assert (tmp_path / "y.pth").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
