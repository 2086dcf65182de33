"""What a component says about itself: what it is, and what of a training depends on it.

A callback says it in a class attribute, a key of the recipe in its field of the schema:

    ROLE = Role("tracker", affects="nothing")
    ROLE = Role("schedule", affects="rates")

Resuming, `--control`, diff and ladder read it through `recipe.key_roles`; there is no list to add a component to. What
depends on the arguments is said by a classmethod `role(arguments)` in the attribute's place.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from semseg_ref.base.errors import OptionError, did_you_mean

NOTHING = "nothing"
EFFECTS: Mapping[str, str] = MappingProxyType(
    {
        NOTHING: "",  # neither a weight nor a score
        "arithmetic": "",  # only how numbers are rounded
        "augmentation": "augmentation",
        "batch": "batch steps",  # which images make a step
        "data": "train_data test_data",
        "decay": "optimiser",  # of the weights
        "draws": "",  # what is drawn at random
        "gradients": "gradient steps",
        "length": "epochs steps",  # of the training
        "loss": "loss",
        "metrics": "metrics",  # what is measured while training
        "momentum": "optimiser",
        "network": "network",
        "rates": "optimiser",
        "report": "",  # how results are shown
        "selection": "selection",  # which checkpoint is tested, and when the training ends
        "speed": "",  # time and memory for the same bits
        "test": "test",  # how a checkpoint is scored
    }
)
"""What a component can affect, each with the topics that `catalyst-dl diff` compares for it."""


@dataclass(frozen=True)
class Part:
    """What only one callback may do in a training, and which of this project's does it."""

    what: str
    owner: str


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "optimiser": Part("steps the optimiser", "GradientStep"),
        "loss": Part("computes the loss", "AuxLossWeighting"),
        "rates": Part("writes the learning rates", "PolyLR or OneCycle or LRSchedule or TorchScheduler"),
        "checkpoints": Part("writes checkpoints", "Checkpoint"),
        "momentum": Part("writes the momentum", "OneCycle or TorchScheduler"),
        "stop": Part("stops the training early", "EarlyStopping"),
    }
)


@dataclass(frozen=True)
class Role:
    """What a component is and what it affects; what is left out follows from `affects`.

    Attributes:
        kind: what it is, in a word: schedule, tracker, log, metric.
        affects: one or more words of `EFFECTS`, as a tuple after construction; `nothing` stands alone.
        resume: whether a run may be resumed with another value: False refuses, True says nothing, a sentence is told.
            Default: whether it affects nothing.
        control: whether the control arm can do without it. Default: whether it affects nothing.
        counted: whether recipes that differ in it train or score differently, so that a ladder has a component for it.
            Default: whether it affects anything.
        component: the ladder's name for it. Default: `kind`.
        topics: words of the facts that diff compares, separated by spaces. Default: those of `affects`.
        takes: keys of `PARTS`. Default: those of the interfaces of Catalyst that the class has.
        watches: whether its arguments `loader` and `metric` decide which checkpoint is tested or when training ends.
        reports: metrics that are there whether or not a metric callback is.
        drives: whether its arguments `rates` and `momentum`, each null or (start, middle, end), drive what they are
            named after; the ladder takes a callback with both apart.
        arguments: roles of single arguments, where they are others than the component's.

    Raises:
        OptionError: a word that does not exist, with the nearest.
    """

    kind: str
    affects: str | tuple[str, ...]
    resume: bool | str | None = None
    control: bool | None = None
    counted: bool | None = None
    component: str | None = None
    topics: str | None = None
    takes: tuple[str, ...] | None = None
    watches: bool = False
    reports: tuple[str, ...] = ()
    drives: bool = False
    arguments: Mapping[str, "Role"] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        place = f"Role({self.kind!r})"
        if not isinstance(self.kind, str) or not self.kind:
            raise OptionError(f"{place}: expected what it is, in a word")
        words = _words(self.affects, f"{place}: affects")
        takes = None if self.takes is None else _words(self.takes, f"{place}: takes")
        for name, role in self.arguments.items():
            if not isinstance(role, Role):
                raise OptionError(f"{place}: arguments: {name}: expected a Role, got {role!r}")
        if not words or (NOTHING in words and len(words) > 1):
            raise OptionError(f"{place}: affects: {self.affects!r}: expected '{NOTHING}', or what it affects")
        for name, given, known in (("affects", words, EFFECTS), ("takes", takes or (), PARTS)):
            for word in given:
                if word not in known:
                    raise OptionError(f"{place}: {name}: unknown word '{word}'{did_you_mean(str(word), known)}")
        harmless = words == (NOTHING,)
        topics = dict.fromkeys(topic for word in words for topic in EFFECTS[word].split())
        derived = {
            "resume": harmless,
            "control": harmless,
            "counted": not harmless,
            "component": self.kind,
            "topics": " ".join(topics),
        }
        object.__setattr__(self, "affects", words)
        object.__setattr__(self, "takes", takes)
        for name, value in derived.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    @property
    def changes_nothing(self) -> bool:
        """Whether it affects nothing."""
        return self.affects == (NOTHING,)


def _words(value: Any, place: str) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, (tuple, list)) or not all(isinstance(word, str) for word in words):
        raise OptionError(f"{place}: {value!r}: expected words")
    return tuple(words)


CATALYST: Mapping[str, Role] = MappingProxyType(
    {
        "EarlyStoppingCallback": Role("early_stopping", affects="selection", takes=("stop",)),
        "TimerCallback": Role("log", affects=NOTHING),
        "TqdmCallback": Role("log", affects=NOTHING),
    }
)
"""Catalyst's own callbacks, which cannot say it themselves."""


def role_of(target: Callable, arguments: Mapping[str, Any] = MappingProxyType({})) -> Role | None:
    """The role of a class; None where it says none, as of every function.

    A class says it itself: what inherits from it may do something else.

    Args:
        target: class or function.
        arguments: what it is built with; may hold more keys, such as `_target_`.

    Raises:
        OptionError: what it says is no `Role`.
    """
    if not inspect.isclass(target):
        return None
    said = vars(target)
    if isinstance(said.get("role"), classmethod):
        try:
            found = target.role(arguments)
        except Exception as error:
            raise OptionError(f"{target.__name__}.role: {type(error).__name__}: {error}") from error
    elif target.__module__.startswith("catalyst.callbacks"):
        found = CATALYST.get(target.__name__)
    else:
        found = said.get("ROLE")
    if found is not None and not isinstance(found, Role):
        raise OptionError(
            f"{target.__name__}: expected ROLE to be a Role of catalyst_cityscapes.recipe.role, got {found!r}"
        )
    return found
