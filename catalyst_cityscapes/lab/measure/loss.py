"""What a recipe's loss does with ignored pixels, classes and the auxiliary head, from gradients on small logits."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from catalyst.core.callback import ICriterionCallback

from catalyst_cityscapes.lab.measure.one_batch import OneBatch
from catalyst_cityscapes.models.resizing import Resizing
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.train.context import LossCallback

SIDE = 6


@dataclass(frozen=True)
class Loss:
    """A recipe's loss.

    Attributes:
        ignored_gradient: share of the gradient that falls on ignored pixels, 0..1; NaN where it raises.
        refused: what it raises on a target with ignored pixels, or None.
        unlearned: classes whose pixels get no gradient.
        class_weights: gradient of one pixel of each class over that of class 0, beside a pixel of class 0.
        difference: largest relative difference of its gradient from that of plain cross entropy on random logits.
        scale: gradient over that of plain cross entropy on the same logits, of which a third is ignored: 1 for a mean
            over the valid pixels, 2/3 for one over all pixels.
        aux_weight: gradient of the auxiliary logits over that of the main ones; None without such a callback.
    """

    ignored_gradient: float
    refused: str | None
    unlearned: tuple[int, ...]
    class_weights: tuple[float, ...]
    difference: float
    aux_weight: float | None
    scale: float = 1.0


def measure_loss(recipe: Recipe) -> Loss:
    """Differentiates the recipe's criterion and the callback that adds up the heads.

    Raises:
        InputError: the criterion refuses its arguments.
    """
    criterion = build(recipe.criterion, "criterion")
    classes, ignore = recipe.data.classes, recipe.data.ignore_index
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, SIDE, SIDE, generator=generator, dtype=torch.float64)
    target = torch.randint(0, classes, (2, SIDE, SIDE), generator=generator)
    target[:, :2] = ignore
    refused, ignored_gradient, difference = None, float("nan"), float("nan")
    try:
        own = _gradient(criterion, logits, target)
    except (IndexError, RuntimeError, ValueError) as error:
        refused = " ".join(str(error).split())
        own = _gradient(criterion, logits[:, :, 2:], target[:, 2:])
    else:
        amount = own.abs().sum()
        ignored_gradient = float(own[:, :, :2].abs().sum() / amount) if amount else 1.0
        own = own[:, :, 2:]
    plain = _gradient(torch.nn.CrossEntropyLoss(), logits[:, :, 2:], target[:, 2:])
    difference = float((own - plain).abs().max() / plain.abs().max())
    weights = tuple(_class_weight(criterion, classes, c) for c in range(classes))
    return Loss(
        ignored_gradient=ignored_gradient,
        refused=refused,
        unlearned=tuple(c for c, weight in enumerate(weights) if weight == 0),
        class_weights=weights,
        difference=difference,
        aux_weight=_aux_weight(recipe),
        scale=float(own.abs().sum() / plain.abs().sum()),
    )


def _gradient(criterion: Any, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    leaf = logits.float().clone().requires_grad_()
    criterion(leaf, target).backward()
    return leaf.grad.nan_to_num().double()


def _class_weight(criterion: Any, classes: int, index: int) -> float:
    # Two pixels, one of class 0: a mean weighted by class weights hides the weight of a single one.
    reference = 1 if index == 0 and classes > 1 else 0
    logits, target = torch.zeros(1, classes, 1, 2), torch.tensor([[[index, reference]]])
    gradient = _gradient(criterion, logits, target).abs().sum(dim=(0, 1, 2))
    if index == 0:
        return 1.0 if gradient[0] else 0.0
    return float(gradient[0] / gradient[1]) if gradient[1] else float(gradient[0] > 0)


def _aux_weight(recipe: Recipe) -> float | None:
    nodes = (build(node, f"callbacks.{name}") for name, node in recipe.callbacks.items() if node is not None)
    callback = next((c for c in nodes if isinstance(c, ICriterionCallback)), None)
    if callback is None:
        return None
    main, aux = (torch.zeros(1, 2, 1, 1, requires_grad=True) for _ in range(2))
    target = torch.zeros(1, 1, 1, dtype=torch.long)
    if isinstance(callback, LossCallback):
        callback.losses_of(F.cross_entropy, (main, aux), target, Resizing())["loss"].backward()
        return _ratio(main, aux)
    run = OneBatch(F.cross_entropy, {"logits": main, "outputs": (main, aux), "targets": target, "labels": target})
    try:
        callback.on_loader_start(run)
        callback.on_batch_end(run)
        run.batch_metrics["loss"].backward()
    except (AttributeError, KeyError):  # another project's callback, which asks more of a runner
        return None
    return _ratio(main, aux)


def _ratio(main: torch.Tensor, aux: torch.Tensor) -> float:
    return 0.0 if aux.grad is None else float(aux.grad.abs().sum() / main.grad.abs().sum())
