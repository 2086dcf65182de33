"""The weights that a recipe's network starts from: which file, and how much of the network it fills."""

import inspect
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from catalyst_cityscapes.export.weights import RecipeFit, fit_recipe, read_weight_file
from catalyst_cityscapes.models.segmenter import Segmenter
from catalyst_cityscapes.recipe.nodes.targets import resolve_target
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.checkpoints.architecture import DEEP_STEM, identify
from semseg_ref.base.errors import InputError
from semseg_ref.model.resnet import INIT_FOLDER


@dataclass(frozen=True)
class InitialWeights:
    """Where a training starts.

    Attributes:
        random: the network has the option of pre-trained weights and does not use it.
        path: the file; None where there is none, or the network fetches its own.
        exists: the file is there.
        matched, expected: tensors of the network's backbone that the file fills, of how many.
        is_imagenet: the file is a backbone's.
        problem: why it does not fit, or cannot be read; None where it does.
        option: the network's argument for pre-trained weights, where it is not used.
    """

    random: bool
    path: Path | None = None
    exists: bool = False
    matched: int = 0
    expected: int = 0
    is_imagenet: bool = False
    problem: str | None = None
    option: str | None = None


def measure_initial_weights(recipe: Recipe, network: nn.Module) -> InitialWeights:
    """Compares the file that the recipe names with its network, tensor by tensor.

    Args:
        recipe: a checked recipe.
        network: built from it with random weights.
    """
    node = recipe.model
    package = node["_target_"].partition(".")[0]
    arguments = inspect.signature(resolve_target(node["_target_"], (package,))).parameters
    option = next((name for name in ("pretrained", "encoder_weights") if name in arguments), None)
    if option is None:
        return InitialWeights(random=False)
    given = node.get(option, arguments[option].default)
    if not given:
        return InitialWeights(random=True, option=option)
    if option != "pretrained":
        return InitialWeights(random=False)
    identity = identify(network.state_dict())
    if given is True and identity.depth is None:
        return InitialWeights(random=False)  # of another library, which fetches its own
    file = "v2" if identity.stem == DEEP_STEM else "torchvision"
    path = INIT_FOLDER / f"resnet{identity.depth}_{file}.pth" if given is True else Path(str(given))
    if not path.is_file():
        return InitialWeights(random=False, path=path)
    try:
        read = read_weight_file(path)
        backbone = network.match_pretrained(read.weights) if isinstance(network, Segmenter) else None
        fit = fit_recipe(read, network) if backbone is None else RecipeFit(True, identity, backbone, [])
    except InputError as error:
        return InitialWeights(random=False, path=path, exists=True, problem=str(error))
    match = fit.match
    problem = None if match.fits else "; ".join(fit.reasons) or str(match)
    return InitialWeights(False, path, True, len(match.matched), match.expected_count, fit.as_initialisation, problem)
