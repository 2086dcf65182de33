"""The control arm's loops against runs of the reference's own: losses, rates, returns, scalars, weights.

Bit for bit on the golden files' machine. Elsewhere within ten times the distance between the reference's float32 run
and its float64 twin; of the ill-conditioned run, which amplifies rounding, only the first two iterations.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from recipes import fill_weights, load_golden, needs_the_goldens_machine, rec_input, rec_label, sha256, single_thread
from small_network import SmallNetwork
from torch import Tensor, nn

from semseg_ref.config import CfgNode
from semseg_ref.loop import train_epoch, validate
from semseg_ref.model import PSPNet
from semseg_ref.optimizer import sgd
from semseg_ref.train_log import IterationRecord

one_thread = pytest.fixture(single_thread, scope="module", autouse=True)
WELL_CONDITIONED = ("pspnet50_z8", "pspnet50_z8_wd")
RUNS = (*WELL_CONDITIONED, "pspnet50_z8_lr01_illconditioned")
MARGIN = 10
# Rounding that the float64 twin happens to miss.
LOSS_FLOOR, WEIGHT_FLOOR = 1e-5, 1e-6
# A prediction that flips moves one pixel of 2 x 97 x 97.
SCORE_TOLERANCE = 2e-3


@dataclass
class Trajectory:
    """What a training did."""

    golden: dict
    model: nn.Module
    optimizer: torch.optim.Optimizer
    records: list[IterationRecord]
    rates: list[list[float]]
    scalars: list[tuple[str, float, int]]
    returned: list[tuple[float, float, float, float]]

    @property
    def is_well_conditioned(self) -> bool:
        """Whether rounding stays small to the end."""
        return self.golden["meta"]["bn3_scale"] == 0.1

    @property
    def compared(self) -> slice:
        """Iterations whose losses do not hang on the last bit."""
        return slice(None) if self.is_well_conditioned else slice(2)

    def losses(self, kind: str) -> np.ndarray:
        """`main_loss`, `aux_loss` or `loss` of every iteration, float64."""
        return np.array([getattr(record, kind) for record in self.records])


def spy_on_rates(optimizer: torch.optim.Optimizer) -> list[list[float]]:
    """A list that fills with every group's rate at each step."""
    rates: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda o, *_: rates.append([group["lr"] for group in o.param_groups]))
    return rates


def batch(meta: dict, k: int) -> tuple[Tensor, Tensor]:
    size, h, w = meta["bs"], meta["h"], meta["w"]
    labels = [rec_label(meta["lab_seed"] + size * k + j, h, w, meta["classes"]) for j in range(size)]
    image = rec_input(meta["in_seed"] + k, (size, 3, h, w))
    return torch.from_numpy(image), torch.from_numpy(np.stack(labels)).long()


def run_trajectory(name: str) -> Trajectory:
    golden = load_golden(f"trajectory_{name}")
    meta = golden["meta"]
    model = PSPNet(
        layers=meta["layers"],
        classes=meta["classes"],
        zoom_factor=meta["zf"],
        dropout=meta["dropout"],
        pretrained=False,
    )
    fill_weights(model, meta["bn3_scale"])
    optimizer = sgd(model, meta["base_lr"], meta["momentum"], meta["weight_decay"])
    cfg = CfgNode({
        "epochs": meta["epochs"], "base_lr": meta["base_lr"], "power": meta["power"], "aux_weight": meta["aux_weight"],
        "classes": meta["classes"], "ignore_label": meta["ignore_index"], "zoom_factor": meta["zf"], "print_freq": 1,
    })  # fmt: skip
    done = Trajectory(golden, model, optimizer, [], spy_on_rates(optimizer), [], [])
    for epoch in range(meta["epochs"]):
        loader = [batch(meta, epoch * meta["iters"] + i) for i in range(meta["iters"])]
        done.returned.append(
            train_epoch(
                loader,
                model,
                optimizer,
                epoch,
                cfg,
                scalars=lambda *scalar: done.scalars.append(scalar),
                record=done.records.append,
            )
        )
    return done


@pytest.fixture(scope="module", params=RUNS)
def trajectory(request: pytest.FixtureRequest) -> Trajectory:
    return run_trajectory(request.param)


@pytest.mark.slow
def test_losses(trajectory):
    golden, some = trajectory.golden, trajectory.compared
    for kind in ("main_loss", "aux_loss"):
        gap = np.maximum.accumulate(np.abs(golden[f"f64_{kind}"] - golden[kind]))
        error = np.abs(trajectory.losses(kind) - golden[kind])
        assert (error <= MARGIN * gap + LOSS_FLOOR)[some].all(), (kind, error, gap)
    weighted = trajectory.losses("main_loss") + golden["meta"]["aux_weight"] * trajectory.losses("aux_loss")
    np.testing.assert_allclose(trajectory.losses("loss"), weighted, atol=1e-6)


def test_rates_are_exact(trajectory):
    golden = trajectory.golden
    assert trajectory.rates == golden["lr_per_group"].tolist()
    assert [group["lr"] for group in trajectory.optimizer.param_groups] == golden["lr_left_in_groups"].tolist()
    assert [group["name"] for group in trajectory.optimizer.param_groups] == golden["meta"]["groups"]
    assert [r.lr_backbone for r in trajectory.records] == golden["lr_per_group"][:, 0].tolist()
    assert [r.lr_head for r in trajectory.records] == golden["lr_per_group"][:, -1].tolist()


def test_scalars(trajectory):
    golden, some = trajectory.golden, trajectory.compared
    tags, values, steps = zip(*trajectory.scalars, strict=True)
    assert list(tags) == golden["scalar_tags"].tolist()
    assert list(steps) == golden["scalar_steps"].tolist()
    per_iteration = np.array(values).reshape(-1, 4)
    expected = golden["scalar_values"].reshape(-1, 4)
    np.testing.assert_array_equal(per_iteration[:, 0], trajectory.losses("main_loss"))
    np.testing.assert_allclose(per_iteration[some, 1:], expected[some, 1:], atol=SCORE_TOLERANCE)


def test_returns_of_each_epoch(trajectory):
    expected = trajectory.golden["train_return_per_epoch"]
    assert len(trajectory.returned) == len(expected)
    epochs = slice(None) if trajectory.is_well_conditioned else slice(1)
    np.testing.assert_allclose(np.array(trajectory.returned)[epochs], expected[epochs], atol=SCORE_TOLERANCE)


@pytest.mark.parametrize("trajectory", WELL_CONDITIONED, indirect=True, scope="module")
def test_weights_buffers_and_momentum_that_are_left(trajectory):
    golden, state = trajectory.golden, trajectory.model.state_dict()
    assert list(state) == golden["names"].tolist()
    for i, tensor in enumerate(state.values()):
        values = tensor.double().numpy().ravel()
        allowed = MARGIN * golden["max_abs_diff_vs_float64_run"][i] + WEIGHT_FLOOR
        n = values.size
        probes = values[[0, n // 3, 2 * n // 3, n - 1]]
        assert np.abs(probes - golden["probes"][i]).max() <= allowed, golden["names"][i]
        assert abs(values.sum() - golden["sum"][i]) <= allowed * n, golden["names"][i]
        assert abs(np.abs(values).sum() - golden["abs_sum"][i]) <= allowed * n, golden["names"][i]
    momenta = [trajectory.optimizer.state[p]["momentum_buffer"].double() for p in trajectory.model.parameters()]
    assert [name for name, _ in trajectory.model.named_parameters()] == golden["momentum_names"].tolist()
    np.testing.assert_allclose([float(m.norm()) for m in momenta], golden["momentum_norms"], rtol=1e-2)


@needs_the_goldens_machine
def test_every_bit(trajectory):
    golden, state = trajectory.golden, trajectory.model.state_dict()
    assert [sha256(tensor.numpy()) for tensor in state.values()] == golden["sha256"].tolist()
    for kind, key in (("main_loss", "main_loss"), ("aux_loss", "aux_loss"), ("loss", "total_loss")):
        assert trajectory.losses(kind).tolist() == golden[key].tolist()
    assert [value for _, value, _ in trajectory.scalars] == golden["scalar_values"].tolist()
    assert np.array(trajectory.returned).tolist() == golden["train_return_per_epoch"].tolist()
    momenta = [trajectory.optimizer.state[p]["momentum_buffer"].double() for p in trajectory.model.parameters()]
    assert [float(m.norm()) for m in momenta] == golden["momentum_norms"].tolist()
    assert [float(m.sum()) for m in momenta] == golden["momentum_sums"].tolist()


@pytest.mark.parametrize("name", ["validate_z8", "validate_z1"])
def test_validation(name):
    golden = load_golden(name)
    meta = golden["meta"]
    h, w, seed = meta["h"], meta["w"], meta["seed"]
    loader = []
    for k, size in enumerate(meta["batch_sizes"]):
        labels = [rec_label(10 * seed + 100 * k + j, h, w, meta["classes"]) for j in range(size)]
        image = rec_input(seed + k, (size, 3, h, w))
        loader.append((torch.from_numpy(image), torch.from_numpy(np.stack(labels)).long()))
    model = PSPNet(
        layers=meta["layers"], classes=meta["classes"], zoom_factor=meta["zoom_factor"], pretrained=False
    )  # fmt: skip
    fill_weights(model, meta["bn3_scale"]).train()
    cfg = CfgNode({"classes": meta["classes"], "ignore_label": 255, "zoom_factor": meta["zoom_factor"]})
    result = validate(loader, model, nn.CrossEntropyLoss(ignore_index=255), cfg)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    np.testing.assert_allclose(result, golden["result"], atol=1e-4)


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
