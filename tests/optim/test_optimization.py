"""What reaches the optimiser: groups, rates, decay, accumulation, clipping; the 2020 Catalyst attempt's decay and
cycle."""

from itertools import chain, pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from catalyst_cityscapes.callbacks import GradientStep, OneCycle
from catalyst_cityscapes.models.acceleration import FORMATS
from catalyst_cityscapes.models.reference import PSANetLogits, PSPNetLogits
from catalyst_cityscapes.optim.decoupled_sgd import DecoupledSGD
from catalyst_cityscapes.optim.momenta import start_momenta
from catalyst_cityscapes.optim.param_groups import no_bias_decay_groups, reference_groups
from catalyst_cityscapes.recipe.length import Length
from semseg_ref.base.errors import OptionError
from semseg_ref.optimizer import load_optimizer_state, parameter_groups, set_learning_rate, sgd
from semseg_ref.schedule import poly_learning_rate
from support.golden.inputs import load_golden
from support.networks.small import SmallNetwork
from support.runs.toy import SMALL, toy_recipe, train_catalyst

HYPERPARAMETERS = ("lr", "momentum", "weight_decay", "dampening", "nesterov", "maximize")


@pytest.fixture
def steps():
    """Fills with the groups of every optimiser step in this process: dicts of values, and `params`."""
    seen: list[list[dict]] = []
    handle = register_optimizer_step_pre_hook(lambda o, *_: seen.append([dict(group) for group in o.param_groups]))
    yield seen
    handle.remove()


def names_per_group(model: nn.Module, groups: list[dict]) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in groups]


# ---------------------------------------------------------------- the official optimiser


@pytest.mark.slow
def test_first_and_last_step_of_a_catalyst_run(toy_city, workdir, one_thread, steps):
    runner = train_catalyst(toy_recipe(toy_city, "callbacks.checkpoint=null"))
    golden = load_golden("groups_pspnet50")["groups"]
    assert len(steps) == 4
    for k in (0, 3):
        lr = 0.01 * (1 - k / 4) ** 0.9
        expected = [
            {
                "lr": lr * group["lr_mult"],
                "momentum": group["momentum"],
                "weight_decay": group["weight_decay"],
                "dampening": group["dampening"],
                "nesterov": group["nesterov"],
                "maximize": False,
            }
            for group in golden
        ]
        assert [{key: group[key] for key in HYPERPARAMETERS} for group in steps[k]] == expected
        assert [group["name"] for group in steps[k]] == [group["module"] for group in golden]
        assert names_per_group(runner.network, steps[k]) == [group["params"] for group in golden]
    assert [group["lr"] for group in runner.optimizer.param_groups] == [0.0] * 8
    assert type(runner.optimizer.optimizer) is torch.optim.SGD


@pytest.mark.parametrize(
    ("golden", "network"), [("groups_pspnet50", PSPNetLogits), ("groups_psanet50", PSANetLogits)], ids=["psp", "psa"]
)
def test_groups_of_the_reference(golden, network):
    with torch.device("meta"):
        model = network(pretrained=False, classes=19)
    expected = load_golden(golden)["groups"]
    for groups in (parameter_groups(model, 0.01), reference_groups(model, 0.01, weight_decay=1e-4)):
        assert [group["name"] for group in groups] == [group["module"] for group in expected]
        assert [group["lr"] for group in groups] == [group["lr_at_base_0.01"] for group in expected]
        assert [group["lr_multiplier"] for group in groups] == [group["lr_mult"] for group in expected]
        assert names_per_group(model, groups) == [group["params"] for group in expected]
        assert all("weight_decay" not in group for group in groups)


def test_head_multiplier_of_the_earlier_attempt():
    groups = reference_groups(SmallNetwork(), 0.01, head_multiplier=1)
    assert {group["lr"] for group in groups} == {0.01}


def test_heads_of_another_network_by_name():
    model = nn.Sequential()
    for name in ("encoder", "decoder", "head"):
        model.add_module(name, nn.Linear(2, 2))
    model.head_names = ("head",)
    groups = reference_groups(model, 0.01)
    assert [(group["name"], group["lr"]) for group in groups] == [("encoder", 0.01), ("decoder", 0.01), ("head", 0.1)]


def test_an_official_optimizer_state_keeps_the_heads_rate():
    ours, theirs = (sgd(SmallNetwork(), 0.01, 0.9, 1e-4) for _ in range(2))
    state = theirs.state_dict()
    state["param_groups"] = [
        {**{k: v for k, v in group.items() if k not in ("name", "lr_multiplier")}, "lr": 0.5}
        for group in state["param_groups"]
    ]
    load_optimizer_state(ours, state)
    assert [group["lr"] for group in ours.param_groups] == [0.5] * 8
    set_learning_rate(ours, 0.02)
    assert [group["lr"] for group in ours.param_groups] == [0.02] * 5 + [0.2] * 3


@pytest.mark.parametrize("layouts", [("contiguous", "channels_last"), ("channels_last", "contiguous")])
def test_a_loaded_state_has_the_layout_of_its_parameter(layouts):
    def trained(layout: str) -> tuple[nn.Module, torch.optim.SGD]:
        torch.manual_seed(0)
        model = SmallNetwork().to(memory_format=FORMATS[layout])
        optimizer = sgd(model, 0.01, 0.9, 1e-4)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
        optimizer.step()
        return model, optimizer

    (_, saved), (model, optimizer) = (trained(layout) for layout in layouts)
    load_optimizer_state(optimizer, saved.state_dict())
    momenta = [optimizer.state[parameter]["momentum_buffer"] for parameter in model.parameters()]
    assert [m.stride() for m in momenta] == [p.stride() for p in model.parameters()]
    for momentum, state in zip(momenta, saved.state_dict()["state"].values(), strict=True):
        assert torch.equal(momentum, state["momentum_buffer"])


@pytest.mark.parametrize(("before", "now"), [(None, True), (True, None)])
def test_a_loaded_state_does_not_say_how_a_step_is_carried_out(before, now):
    parameters = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    saved, optimizer = (torch.optim.SGD([p], lr=0.1, fused=f) for p, f in zip(parameters, (before, now), strict=True))
    load_optimizer_state(optimizer, saved.state_dict())
    assert optimizer.param_groups[0]["fused"] is now
    saved, optimizer = (torch.optim.SGD([p], lr=0.1, foreach=f) for p, f in zip(parameters, (before, now), strict=True))
    load_optimizer_state(optimizer, saved.state_dict())
    assert optimizer.param_groups[0]["foreach"] is now


# ---------------------------------------------------------------- the 2020 Catalyst attempt's decay


def test_decoupled_decay_by_hand():
    lr, momentum, decay = 0.1, 0.9, 0.3
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    parameter, idle = nn.Parameter(weight.clone()), nn.Parameter(torch.ones(2))
    optimizer = DecoupledSGD([parameter, idle], lr=lr, momentum=momentum, weight_decay=decay)
    velocity = torch.zeros(3, dtype=torch.float64)
    for gradient in torch.tensor([[0.4, 0.1, -1.0], [0.2, -0.3, 0.5], [-0.6, 0.7, 0.0]], dtype=torch.float64):
        parameter.grad = gradient.clone()
        optimizer.step()
        velocity = momentum * velocity + gradient
        weight = weight - lr * decay * weight - lr * velocity
        torch.testing.assert_close(parameter.detach(), weight, rtol=1e-14, atol=0)
        torch.testing.assert_close(optimizer.state[parameter]["momentum_buffer"], velocity, rtol=1e-14, atol=0)
        assert optimizer.param_groups[0]["weight_decay"] == decay
    assert idle.tolist() == [1, 1]


def test_decoupled_decay_is_not_l2():
    results = []
    for optimizer_class in (torch.optim.SGD, DecoupledSGD):
        parameter = nn.Parameter(torch.ones(1))
        optimizer = optimizer_class([parameter], lr=0.1, momentum=0.9, weight_decay=0.5)
        for _ in range(2):
            parameter.grad = torch.zeros(1)
            optimizer.step()
        results.append(float(parameter))
    assert results[0] == pytest.approx(0.95 - 0.1 * (0.9 * 0.5 + 0.5 * 0.95))
    assert results[1] == pytest.approx(0.95**2)


def scaled_steps(optimizer_class: type, fused: bool, gradients: list[float]) -> list[Tensor]:
    """The weights after each step under a gradient scaler whose scale stays 1."""
    parameter = nn.Parameter(torch.ones(4))
    optimizer = optimizer_class([parameter], lr=0.1, momentum=0.9, weight_decay=0.5, fused=fused)
    start_momenta(optimizer)
    scaler, after = torch.amp.GradScaler("cpu", init_scale=1.0, backoff_factor=0.999999), []
    for gradient in gradients:
        scaler.scale(torch.zeros(()))  # makes the scale
        parameter.grad = torch.full((4,), gradient)
        scaler.step(optimizer)
        scaler.update()
        after.append(parameter.detach().clone())
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    return after


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, DecoupledSGD])
def test_a_step_that_the_scaler_skips_is_as_if_it_was_not(optimizer_class, monkeypatch):
    """Fused optimisers are called all the same; torch's would then take uninitialised memory for momentum."""
    monkeypatch.setattr(torch, "empty_like", lambda like, **_: torch.full_like(like, 1e6))
    bad, expected = float("inf"), scaled_steps(optimizer_class, False, [0.5, 0.25, -1.0])
    for fused in (False, True):
        first, second, third, fourth, fifth = scaled_steps(optimizer_class, fused, [bad, 0.5, bad, 0.25, -1.0])
        assert torch.equal(first, torch.ones(4))
        assert torch.equal(third, second)
        for found, wanted in zip((second, fourth, fifth), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)


def test_a_fused_first_step_with_dampening_is_refused_where_it_may_be_skipped():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9, dampening=0.1, fused=True)
    with pytest.raises(OptionError, match=r"optimizer\.dampening: not with optimizer.fused"):
        start_momenta(optimizer)


def test_decay_survives_a_step_that_fails():
    optimizer = DecoupledSGD([nn.Parameter(torch.ones(1))], lr=0.1, weight_decay=0.5)

    def fail() -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optimizer.step(fail)
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


def test_no_bias_decay_groups_hold_every_parameter_once():
    with torch.device("meta"):
        model = PSPNetLogits(pretrained=False, classes=19)
    groups = no_bias_decay_groups(model, 0.01, weight_decay=1e-4, backbone_decay=3e-5)
    names = list(chain(*names_per_group(model, groups)))
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    heads = ("ppm", "cls", "aux")
    for group, members in zip(groups, names_per_group(model, groups), strict=True):
        module = group["name"].removesuffix(".bias")
        assert {name.split(".")[0] for name in members} == {module}
        assert group["lr_multiplier"] == (10 if module in heads else 1)
        assert group["lr"] == pytest.approx(0.1 if module in heads else 0.01)
        biases = {name.endswith("bias") for name in members}
        assert biases == {group["name"].endswith(".bias")}
        expected = 0.0 if True in biases else 1e-4 if module in heads else 3e-5
        assert group["weight_decay"] == expected
    assert len(groups) == 16
    assert "layer1.0.bn1.weight" in names_per_group(model, groups)[2]  # batch norm's weights do decay


def test_decay_on_biases_too():
    groups = no_bias_decay_groups(SmallNetwork(), 0.01, weight_decay=1e-4, skip_bias=False)
    assert [group["weight_decay"] for group in groups] == [1e-4] * 8


# ---------------------------------------------------------------- accumulation and clipping


def loop_state(model: nn.Module, batches: int) -> SimpleNamespace:
    """What `GradientStep` uses of a runner."""
    engine = SimpleNamespace(backward=lambda loss: loss.backward(), unscale_gradients=lambda optimizer: None)
    return SimpleNamespace(
        engine=engine, network=model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0), is_train_loader=True,
        train_batches=batches, epoch_step=1, batch_metrics={}, optimizer_stepped=False, optimizer_steps=0,
        skip_batch=False,
    )  # fmt: skip


def train_in_groups(image: Tensor, target: Tensor, batch: int, step: GradientStep) -> list[dict[str, Tensor]]:
    """The gradients of each optimiser step over one epoch of a network without batch norm, at the first weights."""
    torch.manual_seed(0)
    model = SmallNetwork(classes=4, dropout=0.0, batch_norm=False).double()
    runner = loop_state(model, batches=-(-len(image) // batch))
    gradients: list[dict[str, Tensor]] = []
    first = {name: value.clone() for name, value in model.state_dict().items()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def spy(optimizer: torch.optim.Optimizer, *_: object) -> None:
        members = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients.append({names[id(parameter)]: parameter.grad.clone() for parameter in members})

    runner.optimizer.register_step_pre_hook(spy)
    runner.optimizer.register_step_post_hook(lambda *_: model.load_state_dict(first))
    step.on_experiment_start(runner)
    for i in range(runner.train_batches):
        part = slice(i * batch, (i + 1) * batch)
        _, main, aux = model(image[part], target[part])
        runner.data_batch, runner.batch_metrics = i, {"loss": main + 0.4 * aux}
        step.on_batch_end(runner)
        assert not runner.batch_metrics["loss"].requires_grad
    assert runner.optimizer_stepped
    length = Length("epoch", 1, runner.train_batches, step.accumulation_steps)
    assert runner.optimizer_steps == length.steps_per_epoch == len(gradients)
    return gradients


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Five images and targets without ignored pixels, so that batch means can be compared."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(5, 3, 9, 9, generator=generator, dtype=torch.float64)
    return image, torch.randint(4, (5, 9, 9), generator=generator)


def test_two_batches_of_two_are_one_of_four(images):
    image, target = images[0][:4], images[1][:4]
    whole = train_in_groups(image, target, 4, GradientStep())
    parts = train_in_groups(image, target, 2, GradientStep(accumulation_steps=2))
    assert len(whole) == len(parts) == 1
    for name, gradient in whole[0].items():
        torch.testing.assert_close(parts[0][name], gradient, rtol=1e-10, atol=1e-14)
        assert gradient.abs().max() > 0


def test_the_last_smaller_group_steps_with_its_own_mean(images):
    parts = train_in_groups(*images, 1, GradientStep(accumulation_steps=2))
    alone = train_in_groups(images[0][4:], images[1][4:], 1, GradientStep())
    assert len(parts) == 3
    for name, gradient in alone[0].items():
        torch.testing.assert_close(parts[2][name], gradient, rtol=1e-12, atol=0)


def test_clipping_keeps_the_direction(images):
    free = train_in_groups(*images, 5, GradientStep())[0]
    norm = torch.cat([gradient.flatten() for gradient in free.values()]).norm()
    clipped = train_in_groups(*images, 5, GradientStep(clip_norm=float(norm) / 3))[0]
    loose = train_in_groups(*images, 5, GradientStep(clip_norm=float(norm) * 3))[0]
    for name, gradient in free.items():
        torch.testing.assert_close(clipped[name], gradient / 3, rtol=1e-4, atol=0)
        assert torch.equal(loose[name], gradient)


def test_accumulation_below_one_is_an_error():
    with pytest.raises(OptionError, match="accumulation_steps: 0"):
        GradientStep(accumulation_steps=0)


def test_the_schedule_counts_steps_and_not_batches(toy_city, workdir, steps):
    """Five batches of one image, two a step: three steps an epoch."""
    settings = "sampling.batch_size=1", "callbacks.gradient_step.accumulation_steps=2", "callbacks.checkpoint=null"
    runner = train_catalyst(toy_recipe(toy_city, *SMALL, *settings))
    assert [groups[0]["lr"] for groups in steps] == [poly_learning_rate(0.01, k, 6) for k in range(6)]
    assert runner.optimizer_steps == 6


# ---------------------------------------------------------------- the 2020 Catalyst attempt's cycle


def drive(cycle: OneCycle, epochs: int, steps_per_epoch: int) -> tuple[list[float], list[float], list[float]]:
    """Rate of the backbone and of a head, and momentum, that each step of a training uses."""
    optimizer = sgd(SmallNetwork(), 0.01, momentum=0.0, weight_decay=0.0)
    runner = SimpleNamespace(
        optimizer=optimizer, num_epochs=epochs, steps_per_epoch=steps_per_epoch, total_steps=epochs * steps_per_epoch,
        epoch_step=0, is_train_loader=True,
        optimizer_stepped=True, optimizer_steps=0,
    )  # fmt: skip
    cycle.on_experiment_start(runner)
    used = []
    for step in range(1, epochs * steps_per_epoch + 1):
        used.append(
            (optimizer.param_groups[0]["lr"], optimizer.param_groups[-1]["lr"], optimizer.param_groups[0]["momentum"])
        )
        runner.optimizer_steps = step
        cycle.on_batch_end(runner)
    return tuple(map(list, zip(*used, strict=True)))


def test_one_cycle_runs_one_epoch_ahead():
    """Eight GPUs gave the 2020 Catalyst attempt 38 steps an epoch."""
    n = 38
    rate, head, momentum = drive(OneCycle(same_rate_for_all_groups=True), 200, n)
    assert head == rate
    assert rate[0] == 0.001
    assert rate[1] == pytest.approx(0.004, rel=0.03)
    assert rate[1] == pytest.approx(0.001 + 0.009 * (n + 1) / (3 * n))
    assert max(rate) == rate[2 * n] == pytest.approx(0.01)
    assert all(earlier < later for earlier, later in pairwise(rate[: 2 * n + 1]))
    assert rate[-n:] == pytest.approx([0.0001] * n)
    assert rate[-n - 1] > 0.0001
    assert momentum[0] == 0
    assert momentum[2 * n] == pytest.approx(0.85)
    assert momentum[-n:] == pytest.approx([0.95] * n)
    assert all(earlier <= later for earlier, later in pairwise(momentum))


def test_the_intended_cycle():
    n = 5
    rate, head, _ = drive(OneCycle(epochs_ahead=0), 40, n)
    assert rate[1] == pytest.approx(0.001 + 0.009 / (3 * n))
    assert max(rate) == rate[3 * n] == pytest.approx(0.01)
    assert rate[-1] > 0.0001
    assert head == pytest.approx([10 * value for value in rate])


def test_one_cycle_may_leave_the_momentum_alone():
    assert set(drive(OneCycle(momentum=None), 10, 2)[2]) == {0.0}
