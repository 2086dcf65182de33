"""The network of the `fast` tester: batch norm folded into convolutions, and what is left alone."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from catalyst_cityscapes.inference import folder
from catalyst_cityscapes.inference.fast_network import fast_network, fold_batch_norm
from catalyst_cityscapes.inference.predictor import Predictor
from semseg_ref.model import PSPNet
from support.golden.inputs import rec_image
from support.networks.context import COLORS, PROTOCOL, ContextNet, write_city

pytestmark = pytest.mark.usefixtures("one_thread")
WINDOW = (1, 3, 33, 33)


def with_statistics(model: nn.Module) -> nn.Module:
    """In eval mode, with batch norms that are not the identity."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in ((module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 2.0)):
                values.copy_(low + (high - low) * torch.rand(values.shape, generator=generator))
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(module.bias, -0.2, 0.2, generator=generator)
    return model.eval()


class Normed(nn.Module):
    """A convolution with batch norm; `reads` is how often its own result is read beside, `runs` how often it runs."""

    def __init__(self, reads: int = 0, runs: int = 1) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.reads, self.runs = reads, runs
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.runs):
            result = self.conv(x)
            x = self.norm(result) + self.reads * result
        return x


@pytest.mark.slow
def test_pspnet_says_the_same_within_its_bound():
    torch.manual_seed(0)
    model = with_statistics(PSPNet(layers=50, classes=19, pretrained=False))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fast_network(model, torch.randn(WINDOW))
    # The auxiliary head does not run in eval mode.
    assert [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)] == ["aux.1"]
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 61
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    other = torch.randn(WINDOW, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected, found = model(other), folded(other)
    assert 0 < (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("model", [Normed(reads=1), Normed(runs=2), ContextNet(), nn.Sequential(nn.BatchNorm2d(3))])
def test_what_cannot_be_folded_is_left_alone(model):
    """A second reader of the convolution, layers that run twice, no batch norm, none after a convolution."""
    model = with_statistics(model)
    assert fold_batch_norm(model, torch.randn(WINDOW)) is model


def test_a_single_pair_is_folded():
    model = with_statistics(Normed())
    folded = fold_batch_norm(model, torch.randn(WINDOW))
    assert isinstance(folded.norm, nn.Identity)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-5, atol=1e-6)
    assert not model.conv._forward_hooks


def test_the_layout_is_the_copys(monkeypatch):
    model = with_statistics(nn.Sequential(ContextNet()))
    other = fast_network(model, torch.randn(WINDOW), "channels_last")
    assert other[0].conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0].conv.weight.is_contiguous()
    image, seen = rec_image(3, 45, 90), []
    predictor = Predictor(model, PROTOCOL, "fast", batch=3, memory_format="channels_last")
    monkeypatch.setattr(
        ContextNet,
        "forward",
        lambda self, x: (seen.append(x.is_contiguous(memory_format=torch.channels_last)), self.conv(x))[1],
    )
    found = predictor.predict(image).decide()[0]
    expected = Predictor(model, PROTOCOL).predict(image).decide()[0]
    assert seen[0]
    assert (found == expected).float().mean() >= 0.9999


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("cuda", "bf16", "channels_last"),
        ("cuda", "tf32", "channels_last"),
        ("cuda", "fp32", "contiguous"),
        ("cpu", "bf16", "contiguous"),
    ],
)
def test_tensor_cores_get_their_layout(monkeypatch, device, precision, expected):
    monkeypatch.setattr("catalyst_cityscapes.inference.predictor.network_device", lambda model: torch.device(device))
    assert Predictor(ContextNet(), PROTOCOL, "fast", precision=precision).memory_format == expected
    assert Predictor(ContextNet(), PROTOCOL, "exact").memory_format == "contiguous"


def test_fast_agrees_on_a_network_with_batch_norm(tmp_path):
    model = with_statistics(nn.Sequential(Normed(), ContextNet(gain=4.0)))
    pairs = write_city(tmp_path, model, PROTOCOL, [(45, 90)] * 2)
    before = copy.deepcopy(model)
    runs = {
        mode: folder.test_images(
            model, pairs, PROTOCOL, tmp_path / mode, COLORS, mode=mode, labels=folder.Labels(["c"] * 19)
        )
        for mode in ("exact", "fast")
    }
    assert f"{runs['fast'].evaluation.mIoU:.4f}" == f"{runs['exact'].evaluation.mIoU:.4f}"
    for left, right in zip(model.state_dict().values(), before.state_dict().values(), strict=True):
        assert torch.equal(left, right)


def test_more_threads_write_beside_a_gpu(tmp_path, monkeypatch):
    assert folder.WRITERS["cpu"] == 2
    assert 2 <= folder.WRITERS["cuda"] <= 8
    pairs = write_city(tmp_path, ContextNet(), PROTOCOL, [(45, 90)] * 5)
    monkeypatch.setitem(folder.WRITERS, "cpu", 3)
    names = [f"c{k}" for k in range(19)]
    run = folder.test_images(ContextNet(), pairs, PROTOCOL, tmp_path / "out", COLORS, labels=folder.Labels(names))
    assert len(list((tmp_path / "out" / "gray").iterdir())) == 5
    np.testing.assert_array_equal(len(run.evaluation.matrices), 5)
