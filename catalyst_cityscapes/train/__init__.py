"""A training: the runner, its engine, loaders and validation, resuming, and what may be promised of its numbers."""

import importlib
import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A package that trains when it is called.

    `catalyst_cityscapes.train` names both this package and the function of the Python API. Importing any module of the
    package puts the package in the place of the function, so that one object has to be both.
    """

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """See `catalyst_cityscapes.api.train`."""
        return importlib.import_module("catalyst_cityscapes.api").train(*arguments, **named)


sys.modules[__name__].__class__ = _CallablePackage
