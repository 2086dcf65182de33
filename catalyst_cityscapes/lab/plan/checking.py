"""Everything that a lab's runs need, looked at before the first one: files, components, devices."""

import json
import os
from collections.abc import Sequence

from catalyst_cityscapes.data.training_set import check_data, training_set
from catalyst_cityscapes.lab.plan.arms import check_arms
from catalyst_cityscapes.lab.plan.cost import checkpoint_bytes
from catalyst_cityscapes.lab.plan.plan import Arm
from catalyst_cityscapes.models.outputs import check_sides
from catalyst_cityscapes.recipe.consistency import check_consistency
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.train.engine import SegmentationEngine, close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner
from catalyst_cityscapes.train.validation import validation_set
from semseg_ref.base.errors import InputError, OptionError
from semseg_ref.dataset import check_list, make_dataset


def check_plan(arms: Sequence[Arm]) -> dict[str, int]:
    """Builds what each arm would build, without training.

    Args:
        arms: the base first.

    Returns:
        Bytes of one checkpoint of each arm, by its name.

    Raises:
        InputError: naming the arm: recipes that cannot be paired or compared, a list, image or label that is missing,
            weights that are missing or do not fit, a component that refuses its arguments, a device that is not there.
    """
    check_arms(arms)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OptionError("torchrun: a lab starts its own runs, one process each; call it without torchrun")
    sizes: dict[str, int] = {}
    known: dict[str, int] = {}
    for arm in arms:
        try:
            _check_components(arm.recipe)
            key = json.dumps([arm.recipe.model, arm.recipe.data.crop], sort_keys=True)
            if key not in known:
                known[key] = _check_network(arm.recipe)
            sizes[arm.name] = known[key]
        except InputError as error:
            raise InputError(f"arm {arm.name}: {error}") from error
    return sizes


def _check_components(recipe: Recipe) -> None:
    data, sampling = recipe.data, recipe.sampling
    try:
        SegmentationEngine(recipe.engine.precision, recipe.engine.device)
    finally:
        close_processes()
    SegmentationRunner(recipe)
    check_consistency(recipe)
    check_data(recipe)
    samples, _ = training_set(recipe)
    if len(samples) < sampling.batch_size and sampling.drop_last:
        raise OptionError(
            f"sampling.batch_size: {sampling.batch_size} leaves no full batch of {len(samples)} images in "
            f"{data.train_list}; make it smaller, or set sampling.drop_last: false"
        )
    check_list(make_dataset("val", data.root, data.val_list), data.val_list, data.root)
    if recipe.validation.every:
        validation_set(recipe)


def _check_network(recipe: Recipe) -> int:
    network = build(recipe.model, "model")
    check_sides(network, recipe.data.crop, "data.crop")
    return checkpoint_bytes(network)
