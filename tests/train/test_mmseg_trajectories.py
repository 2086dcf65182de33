"""A few steps of training with the recipes' own loss, optimiser, groups and rates, as mmsegmentation 1.2.2 took them.

At the tolerances of the golden files' README: in float64 1e-6 on losses, 1e-5 on norms, sums and probes of every entry
of the state dict, batch norm's statistics included. PSPNet, which takes long, runs in float32, where rounding grows
tenfold a step: ten times the distance of the package's own float32 run from its float64 one, for losses and for probes.
"""

import numpy as np
import pytest
import torch

from catalyst_cityscapes.callbacks import LRSchedule
from catalyst_cityscapes.models.resizing import Resizing
from catalyst_cityscapes.optim.from_recipe import recipe_groups
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.schedules.phases import rate_at
from semseg_ref.base.image_statistics import MEAN, STD
from support.golden.inputs import load_golden, rec_image, rec_label
from support.golden.mmseg_networks import filled

WARM_UP = (
    "callbacks.lr_schedule.phases=[{_target_: catalyst_cityscapes.schedules.LinearWarmup, iterations: 3, factor: 0.01, "
    "reaches_end: true}, {_target_: catalyst_cityscapes.schedules.Poly, power: 1.0, reaches_end: true}]"
)
RUNS = {
    "segformer_b0_adamw": ("mmseg/toy/segformer_b0", ("optimizer.lr=0.00006", WARM_UP), torch.float64),
    "ocrnet_w18s_sgd": ("mmseg/toy/ocrnet_w18s", ("optimizer.lr=0.001",), torch.float64),
    "pspnet_r50_sgd": ("mmseg/pspnet_r50_769", ("optimizer.lr=0.001",), torch.float32),
}
"""Golden files, the recipe that trains the same, what is set otherwise to see it in four steps, and the dtype."""
pytestmark = pytest.mark.golden


def batch(meta, step):
    """Input float64 [N, 3, h, w], normalised with float32 constants as there, and label int64 [N, h, w]."""
    height, width = meta["crop"]
    images = np.stack([rec_image(seed, height, width) for seed in meta["image_seeds"][step]])
    mean, std = (torch.tensor(values, dtype=torch.float32).double()[:, None, None] for values in (MEAN, STD))
    labels = [rec_label(seed, height, width, 19, meta["label_block"]) for seed in meta["label_seeds"][step]]
    return (torch.from_numpy(images).movedim(-1, 1).double() - mean) / std, torch.from_numpy(np.stack(labels)).long()


@pytest.mark.parametrize("run", [name if "b0" in name else pytest.param(name, marks=pytest.mark.slow) for name in RUNS])
def test_the_weights_after_some_steps(run):
    golden = load_golden(f"mmseg/traj_{run}.npz")
    meta = golden["meta"]
    base, changes, dtype = RUNS[run]
    exact = dtype == torch.float64
    recipe = load_recipe([base], changes)
    assert recipe.model["name"] == meta["model"]
    network = filled(meta["model"], bool(recipe.model.get("align_corners"))).to(dtype).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    node, groups = recipe_groups(recipe.optimizer, network)
    optimizer = build(node, "optimizer", params=groups)
    criterion = build(recipe.criterion, "criterion")
    heads, schedule = (build(recipe.callbacks[key], key) for key in ("aux_loss", "lr_schedule"))
    assert isinstance(schedule, LRSchedule)
    assert schedule.floors == "absolute"
    total = meta["schedulers"][-1]["end"]
    resizing = Resizing(network.resized_for_loss, network.align_corners)

    for step, (losses, rates) in enumerate(zip(meta["losses_f64"], meta["lr_min_max"], strict=True)):
        for group in optimizer.param_groups:
            own = schedule.base_lr * group["lr_multiplier"]
            group["lr"] = rate_at(schedule.phases, own, step, total, steps_per_epoch=1)
        found = [group["lr"] for group in optimizer.param_groups]
        assert (min(found), max(found)) == pytest.approx(tuple(rates), rel=1e-9)
        x, target = batch(meta, step)
        loss = heads.losses_of(criterion, network(x.to(dtype)), target, resizing)["loss"]
        allowed = 0 if exact else 10 * meta["loss_gap"][step] + 1e-5
        assert loss.item() == pytest.approx(losses["loss"], rel=1e-6, abs=allowed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        norm = torch.stack([p.detach().double().norm() for p in network.parameters()]).norm().item()
        assert norm == pytest.approx(meta["all_param_norm_f64"][step], rel=1e-6)

    state = network.state_dict()
    assert list(state) == golden["names"].tolist()
    flat = [value.double().reshape(-1) for value in state.values()]
    places = [[0, len(v) // 3, 2 * len(v) // 3, len(v) - 1] for v in flat]
    probes = torch.stack([v[at] for v, at in zip(flat, places, strict=True)]).numpy()
    if not exact:
        assert (np.abs(probes - golden["f64_probes"]) <= 10 * golden["gap_f32_f64"][:, None]).all()
        return
    moved = [(value - old).double().norm() for value, old in zip(state.values(), before.values(), strict=True)]
    for key, ours in {
        "f64_norm": torch.stack([v.norm() for v in flat]).numpy(),
        "f64_sum": torch.stack([v.sum() for v in flat]).numpy(),
        "f64_update_norm": torch.stack(moved).numpy(),
        "f64_probes": probes,
    }.items():
        np.testing.assert_allclose(ours, golden[key], rtol=1e-5, atol=1e-9, err_msg=key)
