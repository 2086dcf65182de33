"""What the golden files hold, computed again by the control arm.

The tests compare it with the files; `derive_spreads.py` disturbs it. `QUANTITIES[file]()` gives every array of one
golden file by name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from semseg_ref import tester
from semseg_ref.base.iteration_log import IterationRecord
from semseg_ref.config import CfgNode
from semseg_ref.loop import train_epoch, validate
from semseg_ref.model import PSANet, PSPNet, downsample_target
from semseg_ref.optimizer import sgd
from semseg_ref.protocol import Protocol
from support.golden.inputs import fill_weights, golden_input, load_golden, rec_image, rec_input, rec_label
from support.places import GOLDENS

Quantities = dict[str, np.ndarray]


def probes(values: np.ndarray) -> np.ndarray:
    """The four elements of a flat array that the golden files hold."""
    return values[[0, values.size // 3, 2 * values.size // 3, values.size - 1]]


# ---------------------------------------------------------------- one forward pass


def forward(name: str, spoil: Callable[[nn.Module], object] = id) -> Quantities:
    """Logits, and PSPNet's stages as `stage/NAME`. `spoil` plants a fault in the network before it runs."""
    golden = load_golden(name)
    meta = golden["meta"]
    kind = {"PSPNet": PSPNet, "PSANet": PSANet}[meta["model"]]
    model = fill_weights(kind(**meta["kwargs"], pretrained=False)).eval()
    found: Quantities = {}
    for stage in golden.get("stage_names", ()):
        getattr(model, str(stage)).register_forward_hook(
            lambda _module, _inputs, output, stage=str(stage): found.__setitem__(f"stage/{stage}", output.numpy())
        )
    spoil(model)
    with torch.no_grad():
        found["logits"] = model(golden_input(meta)).numpy()
    return found


# ---------------------------------------------------------------- one training step


def training_step(name: str) -> Quantities:
    """Losses, prediction, `grad/NAME`, logs of their norms, and `buffer/NAME` of one forward and backward pass."""
    golden = load_golden(name)
    meta = golden["meta"]
    classes = meta["kwargs"]["classes"]
    model = fill_weights(PSPNet(**meta["kwargs"], dropout=meta["dropout"], pretrained=False)).train()
    labels = np.stack([rec_label(seed, *meta["input_shape"][2:], classes) for seed in meta["label_seeds"]])
    target = downsample_target(torch.from_numpy(labels).long(), meta["kwargs"]["zoom_factor"])
    assert (target.numpy() == golden["target"]).all()
    prediction, main_loss, aux_loss = model(golden_input(meta), target)
    (main_loss + meta["aux_weight"] * aux_loss).backward()
    return {
        "prediction": prediction.numpy(),
        "main_loss": main_loss.detach().numpy(),
        "aux_loss": aux_loss.detach().numpy(),
        "log_grad_norms": np.log([value.grad.double().norm().item() for value in model.parameters()]),
        **{f"grad/{key}": value.grad.numpy() for key, value in model.named_parameters()},
        **{f"buffer/{key}": value.numpy() for key, value in model.named_buffers()},
    }


# ---------------------------------------------------------------- a few iterations of training


@dataclass
class Trajectory:
    """What a training did."""

    file: str
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

    def momentum_norms(self) -> np.ndarray:
        """Of every parameter's momentum, float64."""
        momenta = [self.optimizer.state[value]["momentum_buffer"] for value in self.model.parameters()]
        return np.array([momentum.double().norm().item() for momentum in momenta])

    def quantities(self) -> Quantities:
        """`loss/ITERATION` (main, aux), scores by iteration and epoch, `state/NAME`, logs of the momenta's norms."""
        return {
            **{f"loss/{k}": np.array([r.main_loss, r.aux_loss]) for k, r in enumerate(self.records)},
            "batch_scores": np.array([value for _, value, _ in self.scalars]).reshape(-1, 4)[:, 1:],
            "epoch_scores": np.array(self.returned)[:, 1:],
            **{f"state/{key}": value.numpy() for key, value in self.model.state_dict().items()},
            "log_momentum_norms": np.log(self.momentum_norms()),
        }


def spy_on_rates(optimizer: torch.optim.Optimizer) -> list[list[float]]:
    """A list that fills with every group's rate at each step."""
    rates: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda o, *_: rates.append([group["lr"] for group in o.param_groups]))
    return rates


def batch(meta: dict, k: int) -> tuple[Tensor, Tensor]:
    """Images and targets of iteration `k`."""
    size, h, w = meta["bs"], meta["h"], meta["w"]
    labels = [rec_label(meta["lab_seed"] + size * k + j, h, w, meta["classes"]) for j in range(size)]
    image = rec_input(meta["in_seed"] + k, (size, 3, h, w))
    return torch.from_numpy(image), torch.from_numpy(np.stack(labels)).long()


def run_trajectory(name: str, epochs: int | None = None) -> Trajectory:
    """A training by the reference's loop, or its first epochs; `name` without `trajectory_`."""
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
    done = Trajectory(f"trajectory_{name}", golden, model, optimizer, [], spy_on_rates(optimizer), [], [])
    for epoch in range(meta["epochs"] if epochs is None else epochs):
        batches = [batch(meta, epoch * meta["iters"] + i) for i in range(meta["iters"])]
        done.returned.append(
            train_epoch(
                [(image, target) for image, target in batches],
                model,
                optimizer,
                epoch,
                cfg,
                scalars=lambda *scalar: done.scalars.append(scalar),
                record=done.records.append,
            )
        )
    return done


def trajectory(name: str) -> Quantities:
    """Of the ill-conditioned run the first epoch, since rounding is all that is left of the second."""
    epochs = 1 if name.endswith("illconditioned") else None
    return run_trajectory(name.removeprefix("trajectory_"), epochs).quantities()


def validation_labels(meta: dict) -> list[np.ndarray]:
    """The labels of all batches of a `validate` file."""
    return [
        rec_label(10 * meta["seed"] + 100 * k + j, meta["h"], meta["w"], meta["classes"])
        for k, size in enumerate(meta["batch_sizes"])
        for j in range(size)
    ]


def run_validation(name: str) -> tuple[nn.Module, tuple[float, ...]]:
    """The network afterwards, and (loss, mIoU, mAcc, allAcc)."""
    meta = load_golden(name)["meta"]
    h, w, seed = meta["h"], meta["w"], meta["seed"]
    loader, left = [], iter(validation_labels(meta))
    for k, size in enumerate(meta["batch_sizes"]):
        labels = [next(left) for _ in range(size)]
        image = rec_input(seed + k, (size, 3, h, w))
        loader.append((torch.from_numpy(image), torch.from_numpy(np.stack(labels)).long()))
    model = PSPNet(
        layers=meta["layers"], classes=meta["classes"], zoom_factor=meta["zoom_factor"], pretrained=False
    )  # fmt: skip
    fill_weights(model, meta["bn3_scale"]).train()
    cfg = CfgNode({"classes": meta["classes"], "ignore_label": 255, "zoom_factor": meta["zoom_factor"]})
    return model, validate(loader, model, nn.CrossEntropyLoss(ignore_index=255), cfg)


def validation(name: str) -> Quantities:
    result = np.array(run_validation(name)[1])
    return {"loss": result[:1], "scores": result[1:]}


# ---------------------------------------------------------------- the tester


def network_of_the_tester(zoom_factor: int = 8) -> nn.Module:
    return fill_weights(PSPNet(layers=50, classes=19, zoom_factor=zoom_factor, pretrained=False)).eval()


def images_of(golden: dict) -> Iterator[tuple[str, np.ndarray, dict]]:
    """(suffix of the golden's keys, image, the case's own entry) of every image in a tester golden."""
    entries = golden["meta"]["images"]
    for index, entry in enumerate(entries):
        image = entry["image"]
        yield f"_{index}" if len(entries) > 1 else "", rec_image(image["seed"], image["h"], image["w"]), entry


def protocol_of(meta: dict) -> Protocol:
    return Protocol(tuple(meta["crop"]), meta["base_size"], tuple(meta["scales"]), meta["flip"])


def golden_image(meta: dict) -> np.ndarray:
    """The float32 image of a file on one function of the tester."""
    return rec_image(meta["image"]["seed"], meta["image"]["h"], meta["image"]["w"]).astype(np.float32)


def probabilities(name: str, network: nn.Module | None = None) -> Quantities:
    """`prob`, or `prob_0`, `prob_1`, ... of several images, by the function of the tester that the file is about.

    Args:
        name: `tester_CASE`.
        network: one that stands already.
    """
    golden = load_golden(name)
    meta = golden["meta"]
    network = network or network_of_the_tester(meta.get("model", meta)["zoom_factor"])
    if meta.get("function") == "net_process":
        return {"prob": tester.predict_window(network, golden_image(meta), meta["mean"], meta["std"], meta["flip"])}
    if meta.get("function") == "scale_process":
        out = meta["out_h"], meta["out_w"]
        crop = tuple(meta["crop"])
        return {"prob": tester.predict_scale(network, golden_image(meta), crop, *out, meta["mean"], meta["std"])}
    return {
        f"prob{suffix}": tester.predict(network, image, protocol_of(meta)) for suffix, image, _ in images_of(golden)
    }


def _runs() -> dict[str, Callable[..., Quantities]]:
    kinds = {
        "forward_train_": training_step,
        "forward_": forward,
        "trajectory_": trajectory,
        "validate_": validation,
        "tester_": probabilities,
    }
    names = sorted(path.stem for path in GOLDENS.glob("*.npz"))
    found = {}
    for name in names:
        kind = next((kind for start, kind in kinds.items() if name.startswith(start)), None)
        if kind is not None:
            found[name] = partial(kind, name)
    return found


QUANTITIES = _runs()
