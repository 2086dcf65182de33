"""One side of a comparison: a recipe and all that is measured of it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.modules.dropout import _DropoutNd

from catalyst_cityscapes.lab.measure.detail import measure_detail
from catalyst_cityscapes.lab.measure.profile import DataSize, RecipeProfile, read_data_size
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.checkpoints.architecture import UNKNOWN, identify
from semseg_ref.base.errors import DataError
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.dataset import check_list, make_dataset

SEED = 0
PROCESSES = 8
FEATURES = 9
CITYSCAPES_PIXELS = 1024 * 2048
DRAWS, SAMPLES = (80, 300), (16, 64)
"""At the size of Cityscapes, and at most."""


@dataclass(frozen=True)
class Subject:
    """A recipe of a comparison and what is measured of it.

    Attributes:
        name: as it was given.
        recipe: as it was given.
        profile: of the recipe with one seed and order for both sides, so that draws come in pairs.
        detail: contrast that each draw leaves, float64 [draws].
        gradient: of the criterion for fixed logits, float64 [classes, 9, 9]; None where it takes other arguments.
    """

    name: str
    recipe: Recipe
    profile: RecipeProfile
    detail: np.ndarray
    gradient: np.ndarray | None

    @property
    def has_data(self) -> bool:
        """The data set was read; else it was assumed."""
        return self.profile.data.pairs is not None

    @property
    def network(self) -> str:
        """Class name, and what the names and shapes of its tensors say."""
        network = self.profile.network
        known = identify(network.state_dict())
        return type(network).__name__ if known.family == UNKNOWN else f"{type(network).__name__}, {known}"

    @property
    def dropouts(self) -> tuple[float, ...]:
        """Probabilities of the network's dropout layers, in order."""
        return tuple(float(module.p) for module in self.profile.network.modules() if isinstance(module, _DropoutNd))


def missing_data(recipe: Recipe) -> str | None:
    """Why a recipe cannot be measured on its data set; None where it can.

    Raises:
        DataError: the lists are there, but something else is wrong with them.
    """
    data = recipe.data
    for split, name in (("train", data.train_list), ("val", data.val_list)):
        try:
            check_list(make_dataset(split, data.root, name), name, data.root)
        except DataError as error:
            if "no such" not in str(error):
                raise
            return str(error)
    return None


def assumed_data(recipe: Recipe) -> DataSize:
    """What stands for a missing data set: 2975 images, twice as wide as high, as wide as the test's base size."""
    width = recipe.protocol.long_side or DataSize.size[1]
    return DataSize(size=(width // 2, width), test_size=(width // 2, width))


def default_counts(*pixels: int) -> tuple[int, int]:
    """Draws and samples that take less than a minute at the size of Cityscapes, and more on smaller images.

    Args:
        pixels: of an image of each recipe; both sides get the same number, since they are compared in pairs.
    """
    shrink = CITYSCAPES_PIXELS / max(pixels)
    return tuple(int(min(max(count, count * shrink), most)) for count, most in (DRAWS, SAMPLES))


def default_processes(*recipes: Recipe) -> int:
    """8 as in the official training, or 1 where a batch cannot be dealt out to 8."""
    totals = [recipe.sampling.batch_size for recipe in recipes if not recipe.sampling.per_process]
    return PROCESSES if all(total % PROCESSES == 0 for total in totals) else 1


def measure_subject(
    name: str, recipe: Recipe, processes: int, draws: int, samples: int, assumed: DataSize | None = None
) -> Subject:
    """Measures one side.

    Args:
        name: of the recipe, for people.
        recipe: checked.
        processes, draws, samples: see `RecipeProfile`.
        assumed: number and size of images to reckon with instead of reading any.

    Raises:
        InputError: a missing list or image, or a component that refuses its arguments.
    """
    paired = recipe.model_copy(
        update={
            "experiment": recipe.experiment.model_copy(update={"seed": SEED}),
            "sampling": recipe.sampling.model_copy(update={"seed_stream": "named", "shuffle": True}),
        }
    )
    profile = RecipeProfile(paired, processes, assumed or read_data_size(paired), draws, samples)
    detail = measure_detail(profile.augmentation, profile.data.size, SeedStreams(SEED), profile.draws)
    return Subject(name, recipe, profile, detail, _gradient(recipe))


def _gradient(recipe: Recipe) -> np.ndarray | None:
    criterion = build(recipe.criterion, "criterion")
    data = recipe.data
    generator = torch.Generator().manual_seed(SEED)
    logits = torch.randn(2, data.classes, FEATURES, FEATURES, generator=generator).requires_grad_()
    target = torch.randint(data.classes, (2, FEATURES, FEATURES), generator=generator)
    target[:, ::4] = data.ignore_index
    try:
        criterion(logits, target).backward()
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return None
    return logits.grad.double().numpy()
