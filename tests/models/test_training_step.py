"""The engine's nodes: what a step with each of them keeps of a plain step."""

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from catalyst_cityscapes.models import acceleration as training_step
from catalyst_cityscapes.models.acceleration import (
    FORMATS,
    apply_memory_format,
    checkpoint_activations,
    compile_loss,
    compile_network,
    resize_by_products,
    use_products_for_resizes,
)
from catalyst_cityscapes.train.engine import close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner
from semseg_ref.base.errors import OptionError
from semseg_ref.model import PSPNet
from semseg_ref.model.pspnet import PyramidPooling, resize_bilinear
from support.command_line import catalyst_dl
from support.golden.rounding import spread
from support.golden.tolerances import DRAWS, Tolerances
from support.networks.small import SmallLogits, SmallNetwork
from support.runs.toy import SMALL, assert_same, toy_recipe, train_catalyst

INPUT = (2, 3, 33, 33)


def one_step(network: nn.Module, memory_format=torch.contiguous_format, criterion: nn.Module | None = None) -> dict:
    """Losses, gradients and buffers of one seeded training step; `criterion` for a network that gives logits."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(INPUT, generator=generator).contiguous(memory_format=memory_format)
    target = torch.randint(0, 19, (INPUT[0], *INPUT[2:]), generator=generator)
    network.train()
    torch.manual_seed(2)
    if criterion is None:
        _, main, aux = network(image, target)
    else:
        main, aux = (criterion(logits, target) for logits in network(image))
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


def assert_close(other: dict, plain: dict, network: nn.Module, criterion: nn.Module | None = None) -> None:
    """Within what another order of additions may make of the step; `network` is as it was before it."""
    spreads = spread(lambda: flat(one_step(copy.deepcopy(network), criterion=criterion)), DRAWS)
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
def test_compilation_keeps_the_numbers_within_rounding_and_the_names(one_thread):
    """Network, loss and sizes of `compile`'s row in component_settings.py, so that the cache has them compiled once."""
    torch.manual_seed(0)
    # Without dropout: compiled code draws other masks from the same seed.
    network, criterion = SmallLogits(dropout=0.0), nn.CrossEntropyLoss(ignore_index=255)
    keys, before = list(network.state_dict()), copy.deepcopy(network)
    plain = one_step(copy.deepcopy(network), criterion=criterion)
    other = one_step(compile_network(network), criterion=compile_loss(copy.deepcopy(criterion)))
    assert list(network.state_dict()) == keys
    assert_close(other, plain, before, criterion)


SIZES = [
    ((5, 5), (33, 33)),
    ((13, 9), (97, 65)),
    ((6, 3), (13, 13)),
    ((1, 1), (9, 7)),
    ((9, 9), (5, 5)),
    ((4, 7), (4, 7)),
]


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_resize_by_products_keeps_values_and_gradient_within_its_bound(old, new, layout):
    generator = torch.Generator().manual_seed(0)
    x = (10 * torch.randn(2, 5, *old, generator=generator)).to(memory_format=FORMATS[layout])
    weight = torch.randn(2, 5, *new, generator=generator)
    results = []
    for resize, values in ((resize_bilinear, x.double()), (resize_by_products, x), (resize_by_products, x.double())):
        values = values.detach().clone().requires_grad_()
        y = resize(values, new)
        y.backward(weight.to(y.dtype))
        assert y.dtype == values.dtype
        assert y.shape[-2:] == new
        results.append((y.detach().double(), values.grad.double()))
    (y, gradient), single, double = results
    assert (single[0] - y).abs().max() <= 1e-6 * y.abs().max()
    assert (single[1] - gradient).abs().max() <= 2e-6 * gradient.abs().max()
    torch.testing.assert_close(double, (y, gradient), rtol=1e-12, atol=1e-12)


def test_products_are_float32_under_autocast_as_a_resize_is_on_a_gpu():
    x = torch.randn(1, 2, 5, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = resize_by_products(x, (9, 9))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, resize_bilinear(x.float(), (9, 9)))


@pytest.mark.slow
def test_pspnet_resizes_by_products_only_where_a_gradient_is_taken(pspnet, one_thread):
    other = use_products_for_resizes(copy.deepcopy(pspnet))
    assert sum("resize" in vars(module) for module in other.modules()) == 2  # the heads', the pyramid's
    with torch.no_grad():
        image = torch.randn(INPUT)
        assert_same(other.eval()(image), copy.deepcopy(pspnet).eval()(image))
    expected, found = one_step(copy.deepcopy(pspnet)), one_step(other)
    torch.testing.assert_close(found["losses"], expected["losses"], rtol=1e-5, atol=1e-6)
    assert not torch.equal(found["gradients"]["cls.4.weight"], expected["gradients"]["cls.4.weight"])
    for name, gradient in expected["gradients"].items():
        assert (found["gradients"][name] - gradient).norm() <= 1e-2 * gradient.norm() + 1e-6, name


def test_a_network_without_resizes_is_told_and_trained(network, capsys):
    assert use_products_for_resizes(network) is network
    assert "engine.resize: SmallNetwork has no resize that can be exchanged" in capsys.readouterr().err


def test_the_pyramid_keeps_its_inputs_dtype_where_a_resize_is_float32(monkeypatch):
    """As it is under a GPU's autocast; a CPU's keeps bfloat16."""
    pooling = PyramidPooling(8, 4, (1, 2)).eval()
    pooling.resize = lambda x, size: resize_bilinear(x.float(), size)
    with torch.autocast("cpu", torch.bfloat16):
        assert pooling(torch.randn(2, 8, 5, 5).bfloat16()).dtype == torch.bfloat16
    assert pooling(torch.randn(2, 8, 5, 5)).dtype == torch.float32


@pytest.mark.slow
def test_a_compiled_loss_keeps_the_numbers_within_rounding():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 19, 33, 33, generator=generator, requires_grad=True)
    target = torch.randint(0, 19, (2, 33, 33), generator=generator)
    target[:, :5] = 255
    plain, compiled = nn.CrossEntropyLoss(ignore_index=255), compile_loss(nn.CrossEntropyLoss(ignore_index=255))
    values = [criterion(logits, target) for criterion in (plain, compiled)]
    gradients = [torch.autograd.grad(value, logits)[0] for value in values]
    torch.testing.assert_close(values[1], values[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-9)


def test_nothing_is_compiled_for_validation_or_the_ledger(toy_city, workdir, one_thread, monkeypatch):
    """Its sizes and its mode are others, and each would start the compiler again."""
    calls = []

    def noting(module, *_):
        module._compiled_call_impl = lambda *inputs: (calls.append((module, inputs[0])), module._call_impl(*inputs))[1]
        return module

    for name in ("compile_network", "compile_loss"):
        monkeypatch.setattr(f"catalyst_cityscapes.train.runner.{name}", noting)
    settings = ("engine.compile=default", "experiment.epochs=1", "validation.every=1", "sampling.batch_size=4")
    runner = train_catalyst(toy_recipe(toy_city, *SMALL, *settings))
    assert [len(inputs) for _, inputs in calls] == [4, 4, 4]
    assert [module for module, _ in calls] == [runner.network, runner.criterion, runner.criterion]


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
    assert catalyst_dl(*command, "engine.activation_checkpointing=[layer3]", "engine.compile=default") == 2
    assert "compile cannot recompute activations; set compile: null or activation" in capsys.readouterr().err


def test_the_first_error_is_the_one_that_is_told(toy_city, workdir, one_thread):
    """Also with a loader that knows no `stop`, as a subclass of the runner may have."""

    class Plain(SegmentationRunner):
        def get_loaders(self):
            ours = super().get_loaders()["train"]
            return OrderedDict(train=DataLoader(ours.dataset, ours.batch_size, sampler=ours.sampler))

    runner = Plain(toy_recipe(toy_city, *SMALL))
    runner.handle_batch = lambda batch: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory (simulated)"))
    with pytest.raises(torch.OutOfMemoryError, match="simulated"):
        runner.run()
    close_processes()
