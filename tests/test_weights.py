"""Weight files: recognised, compared with recipes, converted whole, verified; whatever is wrong is said in one line."""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import Tensor, nn

from catalyst_cityscapes.cli import main
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.weights import convert, fit_recipe, read_weight_file, recipe_network, verify
from semseg_ref.checkpoint import load_weights, read_checkpoint, weights_in
from semseg_ref.errors import CheckpointError, InputError
from semseg_ref.model import PSANet, PSPNet, resnet50, resnet101

RECIPE = "cityscapes/pspnet50"


def hollow(model: nn.Module) -> dict[str, Tensor]:
    """Names and shapes of a network made on the meta device, one number in each tensor: files of a few 100 kB."""
    state = {}
    for index, (name, value) in enumerate(model.state_dict().items()):
        start = 0 if value.dtype == torch.int64 else 0.01 + index * 1e-5
        number = torch.tensor(start, dtype=value.dtype, device="cpu")
        state[name] = number.expand(value.shape)
    return state


def psp(**changes: object) -> dict[str, Tensor]:
    with torch.device("meta"):
        return hollow(PSPNet(**{"layers": 50, "classes": 19, "pretrained": False, **changes}))


def psa() -> dict[str, Tensor]:
    with torch.device("meta"):
        return hollow(PSANet(layers=50, classes=19, mask_h=89, mask_w=89, pretrained=False))


def resnet(make=resnet50, **changes: object) -> dict[str, Tensor]:
    with torch.device("meta"):
        return hollow(make(**changes))


def torchvision_resnet50() -> nn.Module:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(3)
    return torchvision.models.resnet50(weights=None)


def prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in state.items()}


def earlier_attempt(state: dict[str, Tensor]) -> dict:
    """What Catalyst 20.06 wrote with `OneCycleLRWithWarmup`: numpy scalars as metrics, numpy arrays as the schedule."""
    return {
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": np.float64(0.01), "params": [0]}]},
        "scheduler_state_dict": {"learning_rates": np.linspace(0.001, 0.01, 7), "lr_range": (0.01, 0.0001)},
        "epoch_metrics": {"train_loss": np.float32(0.25)},
        "valid_metrics": {"LCEend": np.float64(0.5)},
        "checkpoint_data": {},
        "stage": "stage1",
        "epoch": 180,
    }


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["weights", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def refusal(*arguments: object) -> str:
    """The one line of a refused command."""
    code, _, err = run(*arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    return err


def rows(output: str) -> dict[str, str]:
    return {line[:11].strip(): line[11:] for line in output.splitlines()}


# ---------------------------------------------------------------- inspect


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
    torch.save(earlier_attempt(psp()), path, _use_new_zipfile_serialization=zipped)
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


# ---------------------------------------------------------------- torchvision's stem


@pytest.fixture(scope="module")
def from_torchvision(tmp_path_factory):
    """torchvision's ResNet-50, its file, and our PSPNet that starts from it."""
    theirs = torchvision_resnet50().eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh statistics of 0 and 1 would hide a mix-up
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    path = tmp_path_factory.mktemp("torchvision") / "resnet50-0676ba61.pth"
    torch.save(theirs.state_dict(), path)
    ours = PSPNet(layers=50, classes=5, stem="torchvision", pretrained=path).eval()
    return theirs, path, ours


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


# ---------------------------------------------------------------- convert


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A whole PSPNet-50 as an official checkpoint of its real size."""
    torch.manual_seed(1)
    model = PSPNet(layers=50, classes=19, pretrained=False)
    path = tmp_path_factory.mktemp("official") / "train_epoch_7.pth"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    torch.save({"epoch": 7, "state_dict": prefixed(model.state_dict()), "optimizer": optimizer.state_dict()}, path)
    return path


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


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
    torch.save(earlier_attempt(psp()), source)
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


# ---------------------------------------------------------------- verify


def test_verify_says_the_same_of_each_form(tmp_path, official):
    middle = tmp_path / "x.safetensors"
    convert(official, middle)
    recipe = load_recipe([RECIPE])
    first, second = verify(official, recipe), verify(middle, recipe)
    assert (first.matched, first.network) == (370, "PSPNetLogits")
    assert first.output.shape == (1, 19, 97, 97)
    assert first.sha256 == second.sha256
    network = recipe_network(recipe)
    load_weights(network, middle)
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((1, 3, 97, 97)).astype(np.float32))
    with torch.no_grad():
        assert torch.allclose(network(x)[0], first.output, rtol=1e-4, atol=1e-4)
    lines = dict(first.lines())
    assert lines["loaded"] == "370 of 370 tensors into PSPNetLogits, strictly"
    assert lines["sha256"].startswith(first.sha256)


def test_verify_of_an_initialisation_runs_the_backbone(from_torchvision):
    _, path, ours = from_torchvision
    code, out, _ = run("verify", path, "--config", RECIPE, "swap/stem_torchvision")
    assert code == 0
    assert rows(out)["loaded"] == "318 of 318 tensors into the backbone of PSPNetLogits, strictly"
    result = verify(path, load_recipe([RECIPE, "swap/stem_torchvision"]))
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((1, 3, 97, 97)).astype(np.float32))
    with torch.no_grad():
        expected = ours.layer4(ours.layer3(ours.layer2(ours.layer1(ours.layer0(x)))))
    assert torch.allclose(result.output, expected, rtol=1e-4, atol=1e-4)


def test_verify_refuses_what_does_not_fit(tmp_path, from_torchvision):
    torch.save(psp(classes=11), tmp_path / "camvid.pth")
    message = refusal("verify", tmp_path / "camvid.pth", "--config", RECIPE)
    assert "366 of 370 tensors match" in message
    assert "cls.4.weight [11, 512, 1, 1] instead of [19, 512, 1, 1]" in message
    assert "11 classes instead of 19" in message
    assert "stem (one 7x7) instead of deep" in refusal("verify", from_torchvision[1], "--config", RECIPE)


def test_verify_refuses_broken_numbers(tmp_path):
    state = psp()
    state["cls.4.bias"] = torch.full((19,), torch.inf)
    torch.save(state, tmp_path / "x.pth")
    assert "the network's output is not finite" in refusal("verify", tmp_path / "x.pth", "--config", RECIPE)


def test_verify_checksum(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"a": torch.zeros(2)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for digits in (digest, digest[:8], digest.upper()):
        assert run("verify", path, "--sha256", digits)[0] == 0
    other = f"{int(digest[0], 16) ^ 1:x}{digest[1:]}"
    assert f"sha256 is {digest}, expected {other}" in refusal("verify", path, "--sha256", other)
    for wrong in ("abc", "xyz" * 5, digest + "0"):
        assert "expected 8 to 64 hexadecimal digits" in refusal("verify", path, "--sha256", wrong)
    assert "no such file" in refusal("verify", tmp_path / "y.pth", "--sha256", digest)
    assert "give --config RECIPE" in refusal("verify", path)
    assert "works with --config" in refusal("verify", path, "--set", "data.classes=3")


# ---------------------------------------------------------------- files that are not what they should be


class Payload:
    """Unpickling it would create a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_pickled_code_never_runs(tmp_path, zipped, name):
    marker, path = tmp_path / "marker", tmp_path / name
    torch.save({"state_dict": {"a": Payload(marker)}}, path, _use_new_zipfile_serialization=zipped)
    for command in (
        ("inspect", path),
        ("inspect", path, "--config", RECIPE),
        ("convert", path, tmp_path / "y.pth"),
        ("verify", path, "--config", RECIPE),
    ):
        message = refusal(*command)
        assert str(path) in message
        assert "asks for posix.mkdir); pickled code is never run" in message
    assert not marker.exists()
    assert not (tmp_path / "y.pth").exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # so the file was hostile indeed


@pytest.mark.parametrize("state", [("|", "O"), ("<", "V8"), ("<", "M8")])
def test_numpy_arrays_of_other_than_numbers_are_refused(tmp_path, state):
    array = {"O": np.array([1, "a"], dtype=object), "V8": np.zeros(1, "V8"), "M8": np.zeros(1, "M8[s]")}[state[1]]
    torch.save({"state_dict": {"a": array}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="pickled code is never run"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"epoch 3\n", "not a checkpoint of tensors and plain values, but a text file"),
        (b"<!DOCTYPE html><html>Google Drive - Virus scan warning", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n\0\0", "some other file (it starts with the bytes 89 50 4e 47)"),
        (b"PK\x03\x04 cut", "damaged, or no torch checkpoint"),
        (b"\x80\x02}q\x00.", "damaged, or no torch checkpoint"),
        (b"\x10\0\0\0\0\0\0\0{}", "damaged, or no safetensors file"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    found = refusal("inspect", path)
    assert f"error: {path}: " in found
    assert message in found


def test_folders_and_missing_files(tmp_path):
    (tmp_path / "good.safetensors").touch()
    assert f"{tmp_path}: is a folder, expected a checkpoint file; in {tmp_path}: good.safetensors" in refusal(
        "inspect", tmp_path
    )
    assert f"x.pth: no such checkpoint; in {tmp_path}: good.safetensors" in refusal("inspect", tmp_path / "x.pth")
    assert "there is no folder" in refusal("convert", tmp_path / "no" / "x.pth", tmp_path / "y.pth")


@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
def test_truncated_files(tmp_path, kind):
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / "cut.pth"
    state = {f"layer.{i}": torch.randn(50) for i in range(8)}
    if kind == "safetensors":
        save_file(state, whole)
    else:
        torch.save({"epoch": 1, "state_dict": state}, whole, _use_new_zipfile_serialization=kind == "zip")
    data = whole.read_bytes()
    assert weights_in(read_checkpoint(whole)).keys() == state.keys()
    for share in np.linspace(0.02, 0.999, 25):
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError, match=r"cut\.pth: "):
            read_checkpoint(cut)
    assert f"error: {cut}: damaged" in refusal("inspect", cut)


def test_flipped_bytes_give_a_message_or_weights_but_no_other_error(tmp_path):
    whole, path = tmp_path / "whole.pth", tmp_path / "x.pth"
    torch.save(earlier_attempt({"a": torch.zeros(3)}), whole, _use_new_zipfile_serialization=False)
    data, rng = whole.read_bytes(), np.random.RandomState(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(data)
        for position in rng.randint(0, len(data), 3):
            changed[position] = rng.randint(256)
        path.write_bytes(changed)
        try:
            weights_in(read_checkpoint(path), path)
        except CheckpointError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 1}, {"state_dict": {}}, {1: torch.zeros(1)}])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    assert "x.pth: holds no state dict" in refusal("inspect", tmp_path / "x.pth")


def test_names_of_which_only_some_have_the_prefix(tmp_path):
    state = psp()
    mixed = {**dict(list(prefixed(state).items())[:9]), **dict(list(state.items())[9:])}
    torch.save({"state_dict": mixed}, tmp_path / "x.pth")
    assert "9 of 370 names start with 'module.', the others do not" in refusal("inspect", tmp_path / "x.pth")
    torch.save({"state_dict": prefixed(prefixed(state))}, tmp_path / "y.pth")
    assert read_weight_file(tmp_path / "y.pth").completeness.fits


@pytest.mark.parametrize("value", [torch.zeros(2, device="meta"), torch.zeros(2).to_sparse()])
def test_tensors_that_are_not_plain_are_refused(tmp_path, value):
    torch.save({"state_dict": {"a": torch.zeros(1), "b": value}}, tmp_path / "x.pth")
    assert "x.pth: b is no plain tensor" in refusal("inspect", tmp_path / "x.pth")


def test_integers_in_the_place_of_weights_do_not_fit(tmp_path):
    state = psp()
    state["cls.4.bias"] = torch.zeros(19, dtype=torch.int64)
    state["aux.4.bias"] = torch.zeros(19, dtype=torch.float16)
    torch.save(state, tmp_path / "x.pth")
    fit = fit_recipe(read_weight_file(tmp_path / "x.pth"), recipe_network(load_recipe([RECIPE])))
    assert fit.match.differing == {"cls.4.bias": "torch.int64 instead of torch.float32"}


def test_safetensors_whose_header_length_looks_like_a_pickle(tmp_path):
    path = tmp_path / "x.safetensors"
    for padding in range(700):
        save_file({"a": torch.zeros(2)}, path, {"note": "x" * padding})
        if path.read_bytes()[:2] == b"\x80\x02":  # a header of 640 bytes
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert torch.equal(read_checkpoint(path)["state_dict"]["a"], torch.zeros(2))


def test_without_the_safetensors_package_only_its_files_are_refused(tmp_path, monkeypatch):
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "a" in read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.safetensors: reading it needs `pip install safetensors`"):
        read_checkpoint(tmp_path / "x.safetensors")
