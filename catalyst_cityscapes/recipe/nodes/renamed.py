"""Old names of components, so that recipes, run folders and checkpoints from before a move still mean what they
meant."""

from collections.abc import Mapping
from typing import Any

RENAMED: Mapping[str, str] = {
    "catalyst_cityscapes.callbacks.DeterminismLedger": "catalyst_cityscapes.callbacks.DeterminismReport",
    "catalyst_cityscapes.callbacks.Watch": "catalyst_cityscapes.callbacks.TrainingMonitor",
    "catalyst_cityscapes.callbacks.determinism.DeterminismLedger": "catalyst_cityscapes.callbacks.DeterminismReport",
    "catalyst_cityscapes.callbacks.watch.Watch": "catalyst_cityscapes.callbacks.TrainingMonitor",
    "catalyst_cityscapes.data.augmentation.earlier_attempt": "catalyst_cityscapes.data.augmentation.catalyst_2020",
    "catalyst_cityscapes.engine": "catalyst_cityscapes.train.engine",
    "catalyst_cityscapes.optimization": "catalyst_cityscapes.optim",
}
"""Modules, packages or components by the names that they had; everything below one has moved with it."""


def current_name(name: str) -> str:
    """A dotted name as it is today; one that never moved stays as it is."""
    for old, new in RENAMED.items():
        if name == old or name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return name


def with_current_names(value: Any) -> Any:
    """A copy of nested mappings and lists in which every `_target_` has its name of today."""
    if isinstance(value, dict):
        renamed = {key: with_current_names(item) for key, item in value.items()}
        if isinstance(renamed.get("_target_"), str):
            renamed["_target_"] = current_name(renamed["_target_"])
        return renamed
    return [with_current_names(item) for item in value] if isinstance(value, list) else value
