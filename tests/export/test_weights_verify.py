"""`catalyst-dl weights verify`: a strict load and a forward pass."""

import hashlib

import numpy as np
import torch

from catalyst_cityscapes.export.weights import convert, verify
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.checkpoints.state_dict import load_weights
from support.weight_files import RECIPE, psp, refusal, rows, run


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
