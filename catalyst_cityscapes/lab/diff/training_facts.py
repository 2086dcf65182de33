"""Facts about the optimisation and about how much of the data it sees."""

from collections.abc import Callable

import numpy as np

from catalyst_cityscapes.callbacks.gradient_step import GradientStep
from catalyst_cityscapes.lab.diff.distance import Gap, amount, choice, linear, momentum_curve, rate_curve
from catalyst_cityscapes.lab.diff.fact import Collector, curve_detail, curve_text, written
from catalyst_cityscapes.lab.diff.subject import Subject
from catalyst_cityscapes.lab.measure.optimisation import BACKBONE, HEADS, KINDS, PARTS, Group, Optimisation
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Sampling

DECAY_WITHOUT_EFFECT = 0.01
"""Weight decay that shrinks a weight by 1 % over the whole training."""
KIND_NAMES = dict(zip(KINDS, ("weights", "biases", "norm weights", "norm biases"), strict=True))
CURVES: dict[str, Callable[[np.ndarray, np.ndarray], Gap]] = {"lr": rate_curve, "momentum": momentum_curve}


def deviating_modules(optimisation: Optimisation) -> set[str]:
    """Child modules of the network whose rate or momentum is not that of their part at some step."""
    return {
        module
        for group in optimisation.groups
        for module in group.modules
        for part in PARTS
        if group.part == part
        if any(not np.allclose(getattr(group, field), getattr(optimisation, field)(part)) for field in CURVES)
    }


def training_facts(subject: Subject, modules: set[str]) -> Collector:
    """Facts about optimiser, schedule, batches and steps.

    Args:
        subject: a measured recipe.
        modules: child modules of the network whose curves are worth a line of their own.
    """
    found = Collector()
    _curves(found, subject.profile.optimisation, modules)
    _amounts(found, subject)
    _exposure(found, subject)
    return found


def _curves(found: Collector, optimisation: Optimisation, modules: set[str]) -> None:
    topics = "optimiser steps network"
    lr = {part: optimisation.lr(part) for part in PARTS}
    for part in PARTS:
        found.add(("lr", part), topics, lr[part], rate_curve, curve_text(lr[part]), curve_detail(lr[part]))
    for module in sorted(modules):
        groups = [group for group in optimisation.groups if module in group.modules]
        if groups:
            curve = _mean(groups, "lr")
            found.add(("lr", module), topics, curve, rate_curve, curve_text(curve), curve_detail(curve))
    if len(lr[BACKBONE]) and len(lr[HEADS]):
        valid = lr[BACKBONE] > 0
        ratio = lr[HEADS][valid] / lr[BACKBONE][valid]
        found.add("lr of the heads / of the backbone", topics, ratio, rate_curve, _range(ratio), curve_detail(ratio))
    for part in PARTS:
        curve = optimisation.momentum(part)
        detail = curve_detail(curve)
        found.add(("momentum", part), "optimiser steps", curve, momentum_curve, curve_text(curve), detail)


def _mean(groups: list[Group], field: str) -> np.ndarray:
    weights = [max(group.parameters, 1) for group in groups]
    return np.average([getattr(group, field) for group in groups], axis=0, weights=weights)


def _range(ratio: np.ndarray) -> str:
    if not len(ratio):
        return "no rate"
    low, high = (written(float(value)) for value in (ratio.min(), ratio.max()))
    return low if low == high else f"{low} .. {high}"


def _amounts(found: Collector, subject: Subject) -> None:
    optimisation = subject.profile.optimisation
    for part in PARTS:
        for kind in KINDS:
            key, name, topics = (part, kind), KIND_NAMES[kind], "optimiser steps network"
            if key in optimisation.decay:
                value = optimisation.decay[key]
                left = f"{value:.3g} (leaves {100 * np.exp(-value):.3g} %)"
                found.add((f"decay of the {part}", name), topics, value, amount(DECAY_WITHOUT_EFFECT), left)
            if key in optimisation.rescaled_decay:
                value = f"{optimisation.rescaled_decay[key]:g}, rescaled by {optimisation.optimizer}"
                found.add((f"decay of the {part}", name), topics, value, choice)
            if key in optimisation.travel:
                found.add((f"travel of the {part}", name), topics, optimisation.travel[key], amount())
    trained = sum(group.parameters for group in optimisation.groups)
    found.add("trained parameters", "optimiser network", trained, amount())
    found.add("optimiser", "optimiser", optimisation.optimizer, choice)
    clip = [c.clip_norm for c in built_callbacks(subject) if isinstance(c, GradientStep) and c.clip_norm is not None]
    found.read("gradient clipping", "gradient", clip, choice, f"norm {clip[0]:g}" if clip else "none")


def _exposure(found: Collector, subject: Subject) -> None:
    exposure, recipe = subject.profile.exposure, subject.recipe
    if subject.has_data:
        found.add("training images", "train_data", exposure.images, amount())
    # A training of so many steps passes over the data as often as its batches are large.
    by_steps = "" if recipe.experiment.iterations is None else " batch train_data gradient"
    found.add("epochs", f"epochs{by_steps}", exposure.epochs, amount())
    found.add("steps", "epochs batch train_data gradient", exposure.steps, amount())
    found.add("images seen", "epochs batch train_data", exposure.seen, amount())
    found.add("batch", "batch gradient", exposure.batch, amount())
    rates = subject.profile.optimisation.lr(BACKBONE)
    if len(rates):
        found.add("highest lr / images of a step", "optimiser batch gradient", rates.max() / exposure.batch, amount())
    found.add("images in one forward pass", "batch", exposure.batch_per_process, amount())
    group = exposure.bn_group if subject.profile.batch_norms else 0
    synchronised = " (synchronised)" if exposure.synchronised else ""
    shown = f"{group}{synchronised}" if group else "no batch norm"
    found.add("images in a batch norm group", "sync_bn batch network", group, amount(), shown)
    share = exposure.dropped / exposure.images
    found.add("images dropped in an epoch", "batch train_data order", share, linear, written(exposure.dropped))
    order = _order(recipe.sampling)
    found.read("order of the images", "order", order, choice, order)


def _order(sampling: Sampling) -> str:
    shown = "shuffled" if sampling.shuffle else "the list's"
    return shown if sampling.order == "epoch" else f"{shown}, endless"


def built_callbacks(subject: Subject) -> list[object]:
    """The recipe's callbacks."""
    nodes = subject.recipe.callbacks.items()
    return [build(node, f"callbacks.{name}") for name, node in nodes if node is not None]
