"""The control arm's loops against runs of the reference's own: losses, rates, returns, scalars, weights.

Bit for bit on the golden files' machine, elsewhere within the tolerances of their law; of the ill-conditioned run,
which amplifies rounding, only the first two iterations.
"""

import numpy as np
import pytest
import torch

from semseg_ref.config import CfgNode
from semseg_ref.loop import train_epoch
from semseg_ref.optimizer import sgd
from support.golden.inputs import load_golden, needs_the_goldens_machine, sha256
from support.golden.rounding import UNIT_ROUNDOFF
from support.golden.runs import batch, probes, run_trajectory, run_validation, spy_on_rates, validation_labels
from support.golden.tolerances import check, one_pixel, running_statistics, tolerances
from support.networks.small import SmallNetwork

pytestmark = pytest.mark.usefixtures("golden_threads")
WELL_CONDITIONED = ("pspnet50_z8", "pspnet50_z8_wd")
RUNS = (*WELL_CONDITIONED, "pspnet50_z8_lr01_illconditioned")


@pytest.fixture(scope="module", params=RUNS)
def trajectory(request):
    return run_trajectory(request.param)


@pytest.fixture(scope="module")
def allowed(trajectory):
    return tolerances(trajectory.file)


def score_tolerance(trajectory, allowed):
    """Scores jump by whole pixels, and a few noisy runs may happen to move none: one pixel is always allowed."""
    meta = trajectory.golden["meta"]
    pixel = max(one_pixel([batch(meta, k)[1].numpy()], meta["classes"]) for k in range(len(trajectory.records)))
    return allowed.each("batch_scores") + pixel


@pytest.mark.slow
@pytest.mark.golden
def test_losses(trajectory, allowed):
    golden, some = trajectory.golden, trajectory.compared
    for kind in ("main_loss", "aux_loss"):
        found = trajectory.losses(kind)
        each = allowed.losses(len(found[some]))
        allowed.check(kind, found[some], golden[kind][some], each)
        allowed.check(kind, found[some], golden[f"f64_{kind}"][some], each)
    weighted = trajectory.losses("main_loss") + golden["meta"]["aux_weight"] * trajectory.losses("aux_loss")
    # Two roundings: of the product and of the sum.
    check("main + 0.4 aux", trajectory.losses("loss"), weighted, 2 * UNIT_ROUNDOFF * weighted)


def test_rates_are_exact(trajectory):
    golden = trajectory.golden
    assert trajectory.rates == golden["lr_per_group"].tolist()
    assert [group["lr"] for group in trajectory.optimizer.param_groups] == golden["lr_left_in_groups"].tolist()
    assert [group["name"] for group in trajectory.optimizer.param_groups] == golden["meta"]["groups"]
    assert [r.lr_backbone for r in trajectory.records] == golden["lr_per_group"][:, 0].tolist()
    assert [r.lr_head for r in trajectory.records] == golden["lr_per_group"][:, -1].tolist()


@pytest.mark.golden
def test_scalars(trajectory, allowed):
    golden, some = trajectory.golden, trajectory.compared
    tags, values, steps = zip(*trajectory.scalars, strict=True)
    assert list(tags) == golden["scalar_tags"].tolist()
    assert list(steps) == golden["scalar_steps"].tolist()
    per_iteration = np.array(values).reshape(-1, 4)
    expected = golden["scalar_values"].reshape(-1, 4)
    np.testing.assert_array_equal(per_iteration[:, 0], trajectory.losses("main_loss"))
    allowed.check("batch_scores", per_iteration[some, 1:], expected[some, 1:], score_tolerance(trajectory, allowed))


@pytest.mark.golden
def test_returns_of_each_epoch(trajectory, allowed):
    expected = trajectory.golden["train_return_per_epoch"]
    found = np.array(trajectory.returned)
    assert found.shape == expected.shape
    epochs = slice(None) if trajectory.is_well_conditioned else slice(1)
    per_epoch = len(trajectory.records) // len(found)
    loss = allowed.losses(per_epoch * len(found[epochs]))[per_epoch - 1 :: per_epoch]  # A mean of its iterations'.
    allowed.check("epoch loss", found[epochs, 0], expected[epochs, 0], loss)
    allowed.check("epoch_scores", found[epochs, 1:], expected[epochs, 1:], score_tolerance(trajectory, allowed))


@pytest.mark.golden
@pytest.mark.parametrize("trajectory", WELL_CONDITIONED, indirect=True, scope="module")
def test_weights_buffers_and_momentum_that_are_left(trajectory, allowed):
    golden, state = trajectory.golden, trajectory.model.state_dict()
    assert list(state) == golden["names"].tolist()
    for i, (name, tensor) in enumerate(state.items()):
        values, quantity = tensor.double().numpy().ravel(), f"state/{name}"
        if not tensor.is_floating_point():
            assert values.sum() == golden["sum"][i], name
            continue
        rounded = running_statistics(len(trajectory.records)) if "running" in name else 0.0
        of_each = allowed.each(quantity) + rounded * np.abs(golden["probes"][i])
        allowed.check(quantity, probes(values), golden["probes"][i], of_each)
        of_all = allowed.sum(quantity, values.size) + rounded * golden["abs_sum"][i]
        allowed.check(quantity, values.sum(), golden["sum"][i], of_all)
        allowed.check(quantity, np.abs(values).sum(), golden["abs_sum"][i], of_all)
    assert [name for name, _ in trajectory.model.named_parameters()] == golden["momentum_names"].tolist()
    allowed.check("log_momentum_norms", np.log(trajectory.momentum_norms()), np.log(golden["momentum_norms"]))


@needs_the_goldens_machine
def test_every_bit(trajectory):
    golden, state = trajectory.golden, trajectory.model.state_dict()
    assert [sha256(tensor.numpy()) for tensor in state.values()] == golden["sha256"].tolist()
    for kind, key in (("main_loss", "main_loss"), ("aux_loss", "aux_loss"), ("loss", "total_loss")):
        assert trajectory.losses(kind).tolist() == golden[key].tolist()
    assert [value for _, value, _ in trajectory.scalars] == golden["scalar_values"].tolist()
    assert np.array(trajectory.returned).tolist() == golden["train_return_per_epoch"].tolist()
    momenta = [trajectory.optimizer.state[p]["momentum_buffer"].double() for p in trajectory.model.parameters()]
    assert trajectory.momentum_norms().tolist() == golden["momentum_norms"].tolist()
    assert [float(m.sum()) for m in momenta] == golden["momentum_sums"].tolist()


@pytest.mark.golden
@pytest.mark.parametrize("name", ["validate_z8", "validate_z1"])
def test_validation(name):
    golden, allowed = load_golden(name), tolerances(name)
    model, result = run_validation(name)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    allowed.check("loss", result[0], golden["result"][0], allowed.each("loss"))
    meta = golden["meta"]
    pixel = one_pixel(validation_labels(meta), meta["classes"])
    allowed.check("scores", result[1:], golden["result"][1:], allowed.each("scores") + pixel)


@pytest.mark.parametrize("run", load_golden("poly.json")["toy_runs"], ids=lambda r: f"{r['base_lr']}-{r['max_iter']}")
def test_rates_of_the_loop_are_exact(run):
    iterations = run["iters_per_epoch"]
    generator = torch.Generator().manual_seed(0)
    image, target = torch.randn(2, 3, 9, 9, generator=generator), torch.randint(5, (2, 9, 9), generator=generator)
    loader = [(image, target)] * iterations
    model = SmallNetwork(classes=5)
    optimizer = sgd(model, run["base_lr"], momentum=0.9, weight_decay=1e-4)
    assert [group["name"] for group in optimizer.param_groups] == run["group_modules"]
    cfg = CfgNode({
        "epochs": run["epochs"], "base_lr": run["base_lr"], "power": run["power"], "aux_weight": 0.4, "classes": 5,
        "ignore_label": 255, "zoom_factor": 8, "print_freq": 1,
    })  # fmt: skip
    used, steps, left = spy_on_rates(optimizer), [], []
    for epoch in range(run["start_epoch"], run["epochs"]):
        train_epoch(loader, model, optimizer, epoch, cfg, scalars=lambda tag, value, step: steps.append(step))
        left.append([group["lr"] for group in optimizer.param_groups])
    assert used == run["lr_used_by_each_step_per_group"]
    assert left == run["group_lrs_left_after_each_epoch"]
    assert steps[::4] == run["curr_iter_passed_after_each_step"]
    # What one step wrote the next one used; the last value is never used.
    written = [rates[0] for rates in used[1:]] + [left[-1][0]]
    assert written == run["lr_written_after_each_step"]
