"""The engine's nodes: what a step with each of them keeps of a plain step."""

import copy

import numpy as np
import pytest
import torch
from rounding import spread
from small_network import SmallNetwork
from tolerances import DRAWS, Tolerances
from torch import nn
from toy_runs import SMALL, assert_same, catalyst_dl, toy_recipe, train_catalyst

from catalyst_cityscapes import training_step
from catalyst_cityscapes.training_step import apply_memory_format, checkpoint_activations, compile_network
from semseg_ref.errors import OptionError
from semseg_ref.model import PSPNet

INPUT = (2, 3, 33, 33)


def one_step(network: nn.Module, memory_format=torch.contiguous_format) -> dict:
    """Losses, gradients and buffers of one seeded training step."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(INPUT, generator=generator).contiguous(memory_format=memory_format)
    target = torch.randint(0, 19, (INPUT[0], *INPUT[2:]), generator=generator)
    network.train()
    torch.manual_seed(2)
    _, main, aux = network(image, target)
    (main + 0.4 * aux).backward()
    gradients = {name: parameter.grad.contiguous() for name, parameter in network.named_parameters()}
    return {
        "losses": torch.stack([main, aux]).detach(),
        "gradients": gradients,
        "buffers": dict(network.named_buffers()),
    }


def flat(step: dict) -> dict[str, np.ndarray]:
    """Losses and gradients by name."""
    gradients = {f"grad/{name}": gradient.numpy() for name, gradient in step["gradients"].items()}
    return {"losses": step["losses"].numpy(), **gradients}


def assert_close(other: dict, plain: dict, network: nn.Module) -> None:
    """Within what another order of additions may make of the step; `network` is as it was before it."""
    spreads = spread(lambda: flat(one_step(copy.deepcopy(network))), DRAWS)
    allowed, found = Tolerances(spreads, "small network"), flat(other)
    for name, expected in flat(plain).items():
        allowed.check(name, found[name], expected)


@pytest.fixture
def network(one_thread):
    torch.manual_seed(0)
    return SmallNetwork()


@pytest.fixture(scope="module")
def pspnet():
    torch.manual_seed(0)
    return PSPNet(layers=50, classes=19, pretrained=False)


@pytest.mark.slow
def test_recomputed_activations_change_no_bit_of_pspnet(pspnet, one_thread):
    plain, recomputed = copy.deepcopy(pspnet), copy.deepcopy(pspnet)
    checkpoint_activations(recomputed, ("layer1", "layer2", "layer3", "layer4", "ppm", "cls", "aux"))
    assert_same(one_step(plain), one_step(recomputed))


def test_recomputation_really_happens_and_counts_a_batch_once(network):
    checkpoint_activations(network, ("layer3",))
    calls, inner = [], network.layer3.forward.inner
    network.layer3.forward.inner = lambda *inputs: (calls.append(1), inner(*inputs))[1]
    one_step(network)
    assert len(calls) == 2
    assert network.layer3[1].num_batches_tracked.item() == 1
    assert network.layer3[1].momentum == 0.1
    network.eval()
    network(torch.randn(INPUT))
    assert len(calls) == 3


def test_less_memory_is_kept_for_the_backward_pass(network):
    def kept(model):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            image = torch.randn(INPUT)
            model.train()
            model(image, torch.zeros(INPUT[0], *INPUT[2:], dtype=torch.int64))
        return sum(sizes)

    plain = kept(copy.deepcopy(network))
    assert kept(checkpoint_activations(network, ("layer1", "layer2", "layer3", "layer4"))) < 0.8 * plain


def test_an_unknown_child_is_named(network):
    with pytest.raises(OptionError, match="SmallNetwork has no child 'layer9'"):
        checkpoint_activations(network, ("layer9",))


def test_channels_last_keeps_the_numbers_within_rounding(network):
    plain = one_step(copy.deepcopy(network))
    before = copy.deepcopy(network)
    other = one_step(apply_memory_format(network, "channels_last"), torch.channels_last)
    assert network.layer1[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert_close(other, plain, before)


@pytest.mark.slow
def test_compilation_keeps_the_numbers_within_rounding_and_the_names(network):
    # Without dropout: compiled code draws other masks from the same seed.
    network.cls[0].p = network.aux[0].p = 0.0
    keys = list(network.state_dict())
    plain, before = one_step(copy.deepcopy(network)), copy.deepcopy(network)
    other = one_step(compile_network(network))
    assert list(network.state_dict()) == keys
    assert_close(other, plain, before)


def test_fused_sgd_keeps_the_numbers_within_rounding(network):
    def trained(is_fused: bool) -> dict[str, np.ndarray]:
        model = copy.deepcopy(network)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=is_fused)
        for _ in range(3):
            optimizer.zero_grad()
            one_step(model)
            optimizer.step()
        return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}

    allowed = Tolerances(spread(lambda: trained(False), DRAWS), "fused SGD")
    fused = trained(True)
    for name, expected in trained(False).items():
        allowed.check(name, fused[name], expected)


def test_compilation_without_a_compiler_is_one_line(network, monkeypatch):
    monkeypatch.setattr(training_step.shutil, "which", lambda name: None)
    with pytest.raises(OptionError, match="needs a C\\+\\+ compiler"):
        compile_network(network)


def test_the_runner_applies_what_the_recipe_says(toy_city, workdir, one_thread):
    settings = ("experiment.epochs=1", "engine.memory_format=channels_last", "engine.activation_checkpointing=[layer2]")
    runner = train_catalyst(toy_recipe(toy_city, *SMALL, *settings))
    assert runner.network.layer1[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert type(runner.network.layer2.forward).__name__ == "_Recomputed"


def test_bad_values_are_one_line(toy_city, workdir, capsys):
    command = ("run", "--config", "toy/pspnet50", "--set", f"data.root={toy_city}")
    assert catalyst_dl(*command, "engine.memory_format=nhwc") == 2
    assert "engine.memory_format" in capsys.readouterr().err
    assert catalyst_dl(*command, "engine.activation_checkpointing=[layer7]", "experiment.logdir=run") == 2
    assert "PSPNetLogits has no child 'layer7'" in capsys.readouterr().err
