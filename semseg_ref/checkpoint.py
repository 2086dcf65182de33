"""Checkpoints in the reference's format: written atomically, read without running code, loaded whole or not at all.

The format is a dict with `epoch` (number of finished epochs), `state_dict` (keys with the prefix `module.`, since the
reference saves the wrapped network) and `optimizer`. Extra entries are allowed, so the Catalyst arm's checkpoints are
official checkpoints too.
"""

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semseg_ref.errors import CheckpointError

PREFIX = "module."


def official_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of the bare network with the reference's `module.` prefix on each key."""
    return {PREFIX + key: value for key, value in model.state_dict().items()}


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Writes `state` so that `path` is always a complete file: temporary file, fsync, rename, fsync of the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checkpoint(path: str | Path) -> Any:
    """Content of a checkpoint file on the CPU; pickled code is never run (`weights_only`).

    Raises:
        CheckpointError: the file is missing, is not a torch file, is damaged, or holds more than tensors and plain
        types.
    """
    path = Path(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.pth")) if path.parent.is_dir() else []
        hint = f"; in {path.parent}: {', '.join(beside[-5:])}" if beside else f"; {path.parent} has no .pth file"
        raise CheckpointError(f"{path}: no such checkpoint{hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on bytes that only look like a pickle
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of tensors and plain values only; pickled code is never run"
        ) from error
    except Exception as error:  # torch's readers raise nearly every type on damaged bytes
        reason = str(error).partition("\n")[0] or "it ends early"
        raise CheckpointError(f"{path}: damaged, or no torch checkpoint ({type(error).__name__}: {reason})") from error


def weights_in(content: Any, path: str | Path = "checkpoint") -> dict[str, torch.Tensor]:
    """The state dict in a checkpoint's content, without any `module.` prefix.

    Accepts the reference's wrapper (`state_dict`), Catalyst's (`model_state_dict`) and a bare state dict.
    """
    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    is_named = isinstance(content, dict) and content and all(isinstance(key, str) for key in content)
    if not is_named or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds no state dict; expected the key 'state_dict' with named tensors")
    return {key.removeprefix(PREFIX): value for key, value in content.items()}


def check_training_state(content: Any, path: str | Path) -> None:
    """Raises CheckpointError when a checkpoint's content has no training state to go on from."""
    if not isinstance(content, dict) or not {"epoch", "optimizer"} <= content.keys():
        raise CheckpointError(f"{path}: has weights but no training state (epoch, optimizer); nothing to resume")


def describe_mismatch(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> str:
    """How `found` differs from `expected` by names and shapes; empty when it does not."""
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    shapes = [key for key in expected if key in found and expected[key].shape != found[key].shape]
    if not (missing or unexpected or shapes):
        return ""
    matched = len(expected) - len(missing) - len(shapes)
    parts = [f"{matched} of {len(expected)} tensors match"]
    if missing:
        parts.append(f"{len(missing)} missing (first: {missing[0]})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected (first: {unexpected[0]})")
    if shapes:
        key = shapes[0]
        parts.append(
            f"{len(shapes)} of another shape (first: {key} {list(found[key].shape)}, expected "
            f"{list(expected[key].shape)})"
        )
    return ", ".join(parts)


def load_state(model: nn.Module, weights: dict[str, torch.Tensor], path: str | Path = "checkpoint") -> None:
    """Loads un-prefixed `weights` into a bare network, strictly.

    Raises:
        CheckpointError: with the counts and the first names of what does not fit; the network is left as it was.
    """
    mismatch = describe_mismatch(model.state_dict(), weights)
    if mismatch:
        raise CheckpointError(f"{path}: does not fit {type(model).__name__}: {mismatch}")
    model.load_state_dict(weights, strict=True)


def load_weights(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Loads the weights of a checkpoint file into a bare network, strictly, and returns the checkpoint's content.

    The reference's tester loads with `strict=False`, so that an un-prefixed checkpoint silently loads nothing; here
    both key forms load, and anything else is an error.
    """
    content = read_checkpoint(path)
    load_state(model, weights_in(content, path), path)
    return content
