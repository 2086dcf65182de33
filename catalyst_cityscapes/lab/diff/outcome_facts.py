"""Facts about the network, the loss, the arithmetic, and which checkpoint is scored how."""

import hashlib
from pathlib import Path
from typing import Any

from catalyst.core.callback import ICriterionCallback, IMetricCallback

from catalyst_cityscapes.callbacks.aux_loss import AuxLossWeighting
from catalyst_cityscapes.callbacks.checkpoint import Checkpoint
from catalyst_cityscapes.callbacks.early_stopping import EarlyStopping
from catalyst_cityscapes.lab.diff.distance import amount, choice, direction, linear
from catalyst_cityscapes.lab.diff.fact import Collector, written
from catalyst_cityscapes.lab.diff.input_facts import shown_scales
from catalyst_cityscapes.lab.diff.subject import Subject
from catalyst_cityscapes.lab.diff.training_facts import built_callbacks
from semseg_ref.protocol import WHOLE_IMAGE

INITIAL_WEIGHTS = ("pretrained", "encoder_weights", "weights")


def outcome_facts(subject: Subject) -> Collector:
    """Facts about network, loss, precision, seeds, selection and test."""
    found = Collector()
    _network(found, subject)
    _loss(found, subject)
    _run(found, subject)
    _selection(found, subject)
    _test(found, subject)
    return found


def _network(found: Collector, subject: Subject) -> None:
    found.add("network", "network data_classes", subject.network, choice)
    found.add("parameters", "network data_classes", subject.profile.parameters, amount())
    found.add("batch norm layers", "network", subject.profile.batch_norms, amount())
    most = max(subject.dropouts, default=0.0)
    layers = f"{most:g} in {len(subject.dropouts)} layers" if subject.dropouts else "none"
    found.add("dropout", "network", most, linear, layers, list(subject.dropouts))
    model = subject.recipe.model
    initial = {name: model[name] for name in INITIAL_WEIGHTS if name in model}
    shown = ", ".join(f"{name}: {written(value)}" for name, value in initial.items()) or "the class's default"
    found.read("initial weights", "network", initial, choice, shown)


def _loss(found: Collector, subject: Subject) -> None:
    gradient = subject.gradient
    shown = "not measured" if gradient is None else f"norm {float((gradient**2).sum() ** 0.5):.3g}"
    detail = None if gradient is None else float((gradient**2).sum() ** 0.5)
    found.add("gradient of the loss for fixed logits", "loss data_classes labels", gradient, direction, shown, detail)
    weight = sum(sum(c.weights) for c in built_callbacks(subject) if isinstance(c, AuxLossWeighting))
    found.add("weight of the auxiliary loss", "aux", weight, linear)


def _run(found: Collector, subject: Subject) -> None:
    recipe = subject.recipe
    found.read("precision", "precision", recipe.engine.precision, choice)
    seed = "none" if recipe.experiment.seed is None else str(recipe.experiment.seed)
    found.read("seed", "seed", seed, choice)
    found.read("random streams", "seed", recipe.sampling.seed_stream, choice)


def _selection(found: Collector, subject: Subject) -> None:
    callbacks = built_callbacks(subject)
    tested = [_tested(callback) for callback in callbacks if isinstance(callback, Checkpoint)]
    found.read("checkpoint tested", "selection", tested, choice, ", ".join(tested) or "none is saved")
    stopping = [
        f"{c.metric} of {c.loader} not better for {c.patience} epochs"
        for c in callbacks
        if isinstance(c, EarlyStopping)
    ]
    found.read("early end", "selection", stopping, choice, ", ".join(stopping) or "never")
    validation = subject.recipe.validation
    shown = "off"
    if validation.every:
        images = "all images" if validation.images is None else f"{validation.images} images"
        shown = f"every {validation.every} epochs, {validation.protocol}, {images}"
    found.read("validation while training", "validation", shown, choice)
    metrics = [c for c in callbacks if isinstance(c, IMetricCallback) and not isinstance(c, ICriterionCallback)]
    names = sorted(type(callback).__name__ for callback in metrics)
    found.read("metrics in the log", "metrics", names, choice, ", ".join(names) or "none")


def _tested(callback: Checkpoint) -> str:
    if callback.select == "last":
        return "last"
    side = "lowest" if callback.minimize else "highest"
    return f"{side} {callback.metric} of {callback.loader}"


def _test(found: Collector, subject: Subject) -> None:
    protocol = subject.profile.protocol
    crop = "the image" if protocol.crop == WHOLE_IMAGE else " x ".join(map(str, protocol.crop))
    if protocol.crop != WHOLE_IMAGE and protocol.stride is None:
        crop = f"{crop} by {protocol.stride_rate:.2g}"
    flip = ", flip" if protocol.flip else ""
    scales = " ".join(f"{scale:g}" for scale in protocol.scales)
    base = " x ".join(map(str, protocol.base_size)) if isinstance(protocol.base_size, tuple) else protocol.base_size
    windows = f"{crop}, base {base}, scales {scales}{flip}"
    others = {key: value for key, value in protocol.beyond_reference.items() if key not in ("crop", "base_size")}
    windows += "".join(f", {key} {value}" for key, value in others.items())
    shown = f"{protocol.name or 'unnamed'} {protocol.hash}: {windows}, {protocol.scorer}"
    detail: dict[str, Any] = {**protocol.to_dict(), "hash": protocol.hash}
    found.add("test protocol", "test", protocol.hash, choice, shown, detail)
    sizes = shown_scales(subject)
    found.add("test size of objects / native", "test image_size", sizes, choice)
    if subject.has_data:
        for split, topic in (("train_list", "train_data"), ("val_list", "test_data")):
            path = Path(getattr(subject.recipe.data, split))
            digest = hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:8]
            name = "names of the training images" if split == "train_list" else "names of the test images"
            found.add(name, topic, digest, choice, f"{path.name} ({digest})")
