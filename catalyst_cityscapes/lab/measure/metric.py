"""What the metrics named mIoU of a recipe really are: over the data set or a mean over batches, and on which pixels."""

from dataclasses import dataclass

import torch
from catalyst.core.callback import IMetricCallback

from catalyst_cityscapes.lab.measure.one_batch import OneBatch
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import OptionError


@dataclass(frozen=True)
class MetricFacts:
    """One metric whose name holds `iou`.

    Attributes:
        name: under which it is logged.
        callback: key of its callback in the recipe.
        as_one, as_two: its value for the same pixels in one batch and in two.
        with_ignored: its value when ignored pixels are predicted otherwise.
    """

    name: str
    callback: str
    as_one: float
    as_two: float
    with_ignored: float


def measure_metrics(recipe: Recipe) -> tuple[MetricFacts, ...]:
    """Feeds the recipe's metric callbacks the same known pixels in different batches.

    Raises:
        InputError: a callback refuses its arguments, or fails on labels that hold the ignore index.
    """
    classes, ignore = recipe.data.classes, recipe.data.ignore_index
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, classes, (2, 8, 8), generator=generator)
    # Unequal batches: the second image has one class only and is all right.
    target[1] = 1
    target[:, 0] = ignore
    prediction = torch.where(torch.rand(2, 8, 8, generator=generator) < 0.5, target, 0).clamp(max=classes - 1)
    prediction[1] = 1
    prediction[:, 0] = 0
    other = prediction.clone()
    other[:, 0] = classes - 1
    found = []
    for name, node in recipe.callbacks.items():
        callback = None if node is None else build(node, f"callbacks.{name}")
        if not isinstance(callback, IMetricCallback):
            continue
        try:
            one = _values(callback, [(prediction, target)], classes)
            two = _values(callback, [(prediction[:1], target[:1]), (prediction[1:], target[1:])], classes)
            changed = _values(callback, [(other, target)], classes)
        except (RuntimeError, IndexError) as error:
            raise OptionError(
                f"callbacks.{name}: fails on labels that hold {ignore}: {' '.join(str(error).split())}"
            ) from error
        found += [
            MetricFacts(key, name, one[key], two[key], changed[key])
            for key in one
            if "iou" in key.lower() and "/" not in key and key in two and key in changed
        ]
    return tuple(found)


def _values(
    callback: IMetricCallback, batches: list[tuple[torch.Tensor, torch.Tensor]], classes: int
) -> dict[str, float]:
    run = OneBatch(is_train_loader=False)
    try:
        callback.on_loader_start(run)
        for prediction, target in batches:
            logits = torch.nn.functional.one_hot(prediction, classes).permute(0, 3, 1, 2).float()
            run.batch = {"logits": logits, "targets": target}
            callback.on_batch_end(run)
        callback.on_loader_end(run)
    except (AttributeError, KeyError):  # it asks more of a runner than this one has
        return {}
    return {key: float(value) for key, value in run.loader_metrics.items()}
