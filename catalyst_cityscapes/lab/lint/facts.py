"""All facts about a recipe that rules may ask for; a part that cannot be measured does not hide the others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from catalyst_cityscapes.inference.geometry import scale_of_test
from catalyst_cityscapes.lab.lint.reference import Reference, official
from catalyst_cityscapes.lab.measure.arithmetic import warp_rounding
from catalyst_cityscapes.lab.measure.geometry import Colours, Draw
from catalyst_cityscapes.lab.measure.lists import Lists, measure_lists
from catalyst_cityscapes.lab.measure.loss import Loss, measure_loss
from catalyst_cityscapes.lab.measure.metric import MetricFacts, measure_metrics
from catalyst_cityscapes.lab.measure.network import NetworkFacts, measure_network
from catalyst_cityscapes.lab.measure.optimisation import Optimisation
from catalyst_cityscapes.lab.measure.profile import DataSize, Exposure, RecipeProfile
from catalyst_cityscapes.lab.measure.randomness import Randomness, measure_randomness
from catalyst_cityscapes.lab.measure.samples import Samples
from catalyst_cityscapes.lab.measure.steps import Step, measure_steps
from catalyst_cityscapes.lab.measure.weights import InitialWeights, measure_initial_weights
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import DataError, InputError, one_line
from semseg_ref.dataset import read_image
from semseg_ref.protocol import Protocol

T = TypeVar("T")
LABELS_A_SAMPLE = 2
STEP_DRAWS = 12


@dataclass
class Facts:
    """What was measured of a recipe; None where it could not be.

    Attributes:
        recipe: the recipe.
        processes: that would train it.
        reference: the published recipe that it is held against.
        lists: the data set's lists and labels; None without data.
        images, size, test_size: number and (height, width) of the training images, and of a validation image.
        exposure, optimisation, draws, colours, samples, protocol: see `lab.measure.profile.RecipeProfile`.
        steps: what each named step of the augmentation does alone.
        randomness, network, weights, loss, metrics: see their modules in `lab.measure`.
        callbacks: the recipe's callbacks, built, by name.
        warp_rounding: of the installed OpenCV, see `lab.measure.arithmetic`.
        refused: part of the recipe -> why it cannot be built or measured.
        skipped: what was not asked, and why.
    """

    recipe: Recipe
    processes: int
    reference: Reference = field(default_factory=official)
    lists: Lists | None = None
    images: int = DataSize.images
    size: tuple[int, int] = DataSize.size
    test_size: tuple[int, int] = DataSize.test_size
    exposure: Exposure | None = None
    optimisation: Optimisation | None = None
    draws: tuple[Draw, ...] = ()
    colours: Colours | None = None
    samples: Samples | None = None
    protocol: Protocol | None = None
    steps: tuple[Step, ...] = ()
    randomness: Randomness | None = None
    network: NetworkFacts | None = None
    weights: InitialWeights | None = None
    loss: Loss | None = None
    metrics: tuple[MetricFacts, ...] = ()
    callbacks: dict[str, Any] = field(default_factory=dict)
    warp_rounding: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def attempt(self, part: str, measure: Callable[[], T]) -> T | None:
        """Its result, or None and a note in `refused` where a part of the recipe is refused."""
        try:
            return measure()
        except InputError as error:
            message = one_line(error)
            # A network that cannot be built is asked for in several places; it is said once.
            if message not in self.refused.values():
                self.refused[part] = message
            return None

    @property
    def test_scale(self) -> float | None:
        """Test pixels per native pixel at scale 1."""
        return None if self.protocol is None else scale_of_test(self.protocol, self.test_size)


def gather(recipe: Recipe, processes: int, draws: int, samples: int, use_data: bool) -> Facts:
    """Measures a recipe.

    Args:
        recipe: a checked recipe.
        processes: how many would train it.
        draws: of the augmentation on known images.
        samples: real training samples to draw; labels are read of `LABELS_A_SAMPLE` times as many lines of each list.
        use_data: False reckons with images of the protocol's base size instead of reading any.
    """
    facts = Facts(recipe, processes, warp_rounding=warp_rounding())
    profile = RecipeProfile(recipe, processes, _data(facts, samples, use_data), draws, samples)
    facts.protocol = facts.attempt("protocol", lambda: profile.protocol)
    _training(facts, profile)
    _augmentation(facts, profile, draws)
    if facts.draws and facts.lists is not None and facts.lists.is_usable and not facts.lists.labels.outside:
        facts.samples = facts.attempt("samples", lambda: profile.samples)
    return facts


def _data(facts: Facts, samples: int, use_data: bool) -> DataSize:
    recipe = facts.recipe
    base = recipe.protocol.long_side or max(DataSize.size)
    facts.size = facts.test_size = (max(base // 2, 1), base)
    lists = measure_lists(recipe, LABELS_A_SAMPLE * samples) if use_data else None
    if lists is None or lists.is_absent:
        why = "--no-data" if lists is None else f"none of the images of {recipe.data.train_list} is there"
        facts.skipped.append(
            f"data, label, sample and list rules: {why}; the rest reckons with {facts.images} images of "
            f"{facts.size[0]} x {facts.size[1]}"
        )
        return DataSize(facts.images, facts.size, facts.test_size)
    facts.lists, facts.images = lists, max(lists.train.lines, 1)
    facts.size, facts.test_size = (_first_size(each.pairs, facts.size) for each in lists.both)
    return DataSize(facts.images, facts.size, facts.test_size, lists.val.pairs or lists.train.pairs)


def _first_size(pairs: tuple[tuple[str, str], ...], otherwise: tuple[int, int]) -> tuple[int, int]:
    for image, _ in pairs[:3]:
        try:
            return read_image(image).shape[:2]
        except DataError:
            continue
    return otherwise


def _training(facts: Facts, profile: RecipeProfile) -> None:
    recipe = facts.recipe
    network = facts.attempt("model", lambda: profile.network)
    for name, node in recipe.callbacks.items():
        if node is not None:
            callback = facts.attempt(f"callbacks.{name}", lambda n=node, k=name: build(n, f"callbacks.{k}"))
            if callback is not None:
                facts.callbacks[name] = callback
    callbacks_fit = not any(part.startswith("callbacks.") for part in facts.refused)
    if callbacks_fit:
        facts.exposure = facts.attempt("sampling", lambda: profile.exposure)
        facts.metrics = facts.attempt("callbacks", lambda: measure_metrics(recipe)) or ()
        facts.loss = facts.attempt("criterion", lambda: measure_loss(recipe))
    if network is None:
        return
    if facts.exposure is not None:
        facts.optimisation = facts.attempt("optimizer", lambda: profile.optimisation)
    facts.weights = facts.attempt("model", lambda: measure_initial_weights(recipe, network))
    facts.network = facts.attempt("model", lambda: measure_network(recipe, network))


def _augmentation(facts: Facts, profile: RecipeProfile, draws: int) -> None:
    recipe, data = facts.recipe, facts.recipe.data
    augmentation = facts.attempt("augmentation", lambda: profile.augmentation)
    if augmentation is None:
        return
    facts.draws = facts.attempt("augmentation", lambda: profile.draws) or ()
    if not facts.draws:
        return
    facts.colours = facts.attempt("augmentation", lambda: profile.colours)
    facts.steps = measure_steps(augmentation, data.classes, data.ignore_index, min(STEP_DRAWS, draws))
    facts.randomness = facts.attempt("augmentation", lambda: measure_randomness(recipe, facts.size))
