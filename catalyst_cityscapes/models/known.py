"""What each family of networks knows of weight files: whose network one holds, and what its framework says in it.

A family is a package in this folder. One whose networks other frameworks train and load has a module `checkpoints` with
`recognise(weights) -> KnownNetwork | None` and `origin(content) -> Origin | None`; it is found by being there.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from torch import Tensor

from catalyst_cityscapes import models


@dataclass(frozen=True)
class ClassTable:
    """Names and colours of classes in the order of the train ids, each where it is known.

    Attributes:
        names: one a class.
        palette: (red, green, blue) of each, 0..255.
    """

    names: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True)
class Origin:
    """What a framework wrote beside the weights.

    Attributes:
        what: the kind of file in a few words.
        classes: what it says of them.
        meta: its plain values, by the framework's names.
        notes: lines for whoever reads the file.
        trained: how long the weights were, `epoch` and `iteration`, each where the file says so.
    """

    what: str
    classes: ClassTable
    meta: dict[str, Any]
    notes: tuple[str, ...] = ()
    trained: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownNetwork:
    """A network that names and shapes tell.

    Attributes:
        name: as its family's `build` takes it.
        framework: whose names these are.
        classes: outputs of its main classifier.
        layout: names and shapes of the whole network in its order, tensors without data.
        content: (weights, classes, the source's meta) -> the file that the framework loads.
        settings: what else of it the weights show, by the name of `build`'s argument.
        backbone: start of the backbone's names.
    """

    name: str
    framework: str
    classes: int
    layout: dict[str, Tensor]
    content: Callable[[dict[str, Tensor], ClassTable, dict[str, Any]], dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    backbone: str = "backbone."

    def __str__(self) -> str:
        settings = "".join(f", {name} {value}" for name, value in self.settings.items())
        return f"{self.name} of {self.framework}, {self.classes} classes{settings}"

    def differences(self, expected: "KnownNetwork") -> list[str]:
        """What this one has in the place of what is `expected`, in words."""
        if (self.framework, self.name) != (expected.framework, expected.name):
            return [f"{self.name} instead of {expected.name}"]
        pairs = [("classes", self.classes, expected.classes)]
        pairs += [(name, value, expected.settings.get(name)) for name, value in self.settings.items()]
        return [f"{has} {name} instead of {wants}" for name, has, wants in pairs if has != wants]


def recognise(weights: Mapping[str, Tensor]) -> KnownNetwork | None:
    """The network of a state dict, whatever of it is missing or misshapen; None for one that no family knows."""
    found = (family.recognise(weights) for family in _families())
    return next(filter(None, found), None)


def origin(content: Any) -> Origin | None:
    """What the framework that wrote a checkpoint says in it; None for one that no family knows."""
    found = (family.origin(content) for family in _families())
    return next(filter(None, found), None)


def _families() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        name = f"{found.name}.checkpoints"
        if found.ispkg and find_spec(name) is not None:
            yield importlib.import_module(name)
