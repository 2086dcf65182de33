"""Checkpoints in the reference's format: written atomically, read without running code, loaded whole or not at all.

The format is a dict with `epoch` (number of finished epochs), `state_dict` (keys with the prefix `module.`, since the
reference saves the wrapped network) and `optimizer`. Extra entries are allowed, so the Catalyst arm's checkpoints are
official checkpoints too.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semseg_ref.checkpoint_file import read_checkpoint
from semseg_ref.checkpoint_integrity import seal
from semseg_ref.errors import CheckpointError, StorageError
from semseg_ref.identity import differences, identify

PREFIX = "module."
WRAPPERS = ("state_dict", "model_state_dict")
NAMES_SHOWN = 5


def official_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of the bare network with the reference's `module.` prefix on each key."""
    return {PREFIX + key: value for key, value in model.state_dict().items()}


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Writes `state` so that `path` is always a complete file: temporary file, sha256 inside, fsync, rename, fsync
    of the folder.

    Raises:
        StorageError: the file system refuses (full, read only, gone); `path` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w+b") as file:
            torch.save(state, file)
            seal(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except Exception as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise StorageError(f"{path}: cannot be written ({refusal.strerror or refusal})") from error


def sync_folder(path: Path) -> None:
    """Makes what was renamed in a folder survive a power failure."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refusal(error: BaseException | None) -> OSError | None:
    # torch's writer puts an error of its own on top of the file system's.
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def state_dict_in(content: Any, path: str | Path = "checkpoint") -> dict[str, torch.Tensor]:
    """The state dict in a checkpoint's content, with its names as they are.

    Accepts the reference's wrapper (`state_dict`), Catalyst's (`model_state_dict`) and a bare state dict.

    Raises:
        CheckpointError: there is none.
    """
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    is_named = isinstance(content, dict) and content and all(isinstance(key, str) for key in content)
    if not is_named or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds no state dict; expected the key 'state_dict' with named tensors")
    for name, value in content.items():
        if value.is_meta or value.is_quantized or value.layout != torch.strided:
            raise CheckpointError(f"{path}: {name} is no plain tensor (without data, quantised or sparse)")
    return content


def weights_in(content: Any, path: str | Path = "checkpoint") -> dict[str, torch.Tensor]:
    """As `state_dict_in`, without the prefix `module.` (also where two wrappers put it twice).

    Raises:
        CheckpointError: there is no state dict, or only some of its names have the prefix.
    """
    weights = dict(state_dict_in(content, path))
    while prefixed := sum(name.startswith(PREFIX) for name in weights):
        if prefixed < len(weights):
            raise CheckpointError(
                f"{path}: {prefixed} of {len(weights)} names start with '{PREFIX}', the others do not; which of them "
                "belong to the network?"
            )
        weights = {name.removeprefix(PREFIX): value for name, value in weights.items()}
    return weights


def check_training_state(content: Any, path: str | Path, within_epoch: bool = False) -> None:
    """Raises CheckpointError when a checkpoint's content has no training state to go on from.

    Args:
        content: of the file.
        path: the file, for the message.
        within_epoch: whether a state in the middle of an epoch will do.
    """
    if not isinstance(content, dict) or not {"epoch", "optimizer"} <= content.keys():
        raise CheckpointError(f"{path}: has weights but no training state (epoch, optimizer); nothing to resume")
    if content.get("batches") and not within_epoch:
        raise CheckpointError(
            f"{path}: was made after {content['batches']} batches of epoch {content['epoch'] + 1}; the control arm "
            "goes on from whole epochs only (train_epoch_N.pth)"
        )


@dataclass(frozen=True)
class Match:
    """What of a state dict fits a network.

    Attributes:
        matched: names that fit.
        missing: names that the network has and the state dict lacks.
        unexpected: the other way round.
        differing: names in both with another shape or kind of number, each with what it is and what was expected.
        unused: names that do not matter, such as a classifier that no segmentation network has.
    """

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    differing: dict[str, str]
    unused: list[str]

    @property
    def fits(self) -> bool:
        """Nothing is missing, unexpected or different."""
        return not (self.missing or self.unexpected or self.differing)

    @property
    def expected_count(self) -> int:
        """Number of tensors that the network asks for."""
        return len(self.matched) + len(self.missing) + len(self.differing)

    def __str__(self) -> str:
        """Counts and the first names of each kind; only the count when everything fits."""
        differing = [f"{name} {what}" for name, what in self.differing.items()]
        kinds = (("missing", self.missing), ("unexpected", self.unexpected), ("of the wrong shape", differing))
        parts = [f"{len(self.matched)} of {self.expected_count} tensors match"]
        parts += [f"{len(names)} {kind}: {first_names(names)}" for kind, names in kinds if names]
        return "; ".join(parts)


def first_names(names: list[str]) -> str:
    """The first names of a list, and dots where there are more."""
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def match(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> Match:
    """Compares two state dicts by names, shapes and kinds of numbers (float16 does for float32, integers do not)."""
    differing = {}
    for name in expected.keys() & found.keys():
        wants, has = expected[name], found[name]
        if wants.shape != has.shape:
            differing[name] = f"{list(has.shape)} instead of {list(wants.shape)}"
        elif wants.is_floating_point() != has.is_floating_point():
            differing[name] = f"{has.dtype} instead of {wants.dtype}"
    return Match(
        matched=[name for name in expected if name in found and name not in differing],
        missing=[name for name in expected if name not in found],
        unexpected=[name for name in found if name not in expected],
        differing={name: differing[name] for name in expected if name in differing},
        unused=[],
    )


def reasons(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> str:
    """`; ` and in words what the file holds instead; empty where names and shapes do not tell."""
    why = differences(identify(found), identify(expected))
    return f"; the file holds {', '.join(why)}" if why else ""


def load_state(model: nn.Module, weights: dict[str, torch.Tensor], path: str | Path = "checkpoint") -> None:
    """Loads un-prefixed `weights` into a bare network, strictly.

    Raises:
        CheckpointError: with the counts and the first names of what does not fit; the network is left as it was.
    """
    own = model.state_dict()
    result = match(own, weights)
    if not result.fits:
        raise CheckpointError(f"{path}: does not fit {type(model).__name__}: {result}{reasons(weights, own)}")
    model.load_state_dict(weights, strict=True)


def load_weights(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Loads the weights of a checkpoint file into a bare network, strictly, and returns the checkpoint's content.

    The reference's tester loads with `strict=False`, so that an un-prefixed checkpoint silently loads nothing; here
    both key forms load, and anything else is an error.
    """
    content = read_checkpoint(path)
    load_state(model, weights_in(content, path), path)
    return content
