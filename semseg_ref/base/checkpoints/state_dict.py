"""Checkpoints in the reference's format: written atomically, read without running code, loaded whole or not at all.

The format is a dict with `epoch` (number of finished epochs), `state_dict` (keys with the prefix `module.`, since the
reference saves the wrapped network) and `optimizer`. Extra entries are allowed, so the Catalyst arm's checkpoints are
official checkpoints too.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semseg_ref.base.checkpoints.architecture import differences, identify
from semseg_ref.base.checkpoints.checksum import seal
from semseg_ref.base.checkpoints.reading import read_checkpoint
from semseg_ref.base.errors import CheckpointError, StorageError

PREFIX = "module."
COMPILED = "_orig_mod."
"""What `torch.compile` puts before the names of whatever it compiled, the network or a part of it."""
WRAPPERS = ("state_dict", "model_state_dict")
OTHER_WRAPPERS = ("model", "network", "net", "weights", "state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Keys under which other trainers keep the weights; taken where only one of them is there."""
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

    Accepts the reference's wrapper (`state_dict`), Catalyst's (`model_state_dict`), one of `OTHER_WRAPPERS`, and a bare
    state dict.

    Raises:
        CheckpointError: there is none, or more than one.
    """
    key = wrapper_key(content, path)
    if key is not None:
        content = content[key]
    is_named = isinstance(content, dict) and content and all(isinstance(key, str) for key in content)
    if not is_named or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds no state dict; expected the key 'state_dict' with named tensors")
    for name, value in content.items():
        if value.is_meta or value.is_quantized or value.layout != torch.strided:
            raise CheckpointError(f"{path}: {name} is no plain tensor (without data, quantised or sparse)")
    return content


def wrapper_key(content: Any, path: str | Path = "checkpoint") -> str | None:
    """The key of a checkpoint's content that holds the state dict; None for a bare one, or where there is none.

    Raises:
        CheckpointError: several of `OTHER_WRAPPERS` hold one, and nothing says which is meant.
    """
    if not isinstance(content, dict):
        return None
    for key in WRAPPERS:
        if isinstance(content.get(key), dict):
            return key
    found = [key for key in OTHER_WRAPPERS if _is_state_dict(content.get(key))]
    if len(found) > 1:
        raise CheckpointError(
            f"{path}: holds several state dicts ({', '.join(found)}); which is meant? save that one as 'state_dict'"
        )
    return found[0] if found else None


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, torch.Tensor) for v in value.values())


def weights_in(content: Any, path: str | Path = "checkpoint") -> dict[str, torch.Tensor]:
    """As `state_dict_in`, without the wrappers' prefixes: `module.`, also twice, and `_orig_mod.` wherever it stands.

    Raises:
        CheckpointError: there is no state dict, or only some of its names have the prefix.
    """
    named = state_dict_in(content, path)
    weights = {name.replace(COMPILED, ""): value for name, value in named.items()}
    if len(weights) < len(named):
        raise CheckpointError(f"{path}: has names both with and without '{COMPILED}'; which belong to the network?")
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
    if "iteration" in content and not within_epoch:
        raise CheckpointError(
            f"{path}: was made after {content['iteration']} iterations; the control arm goes on from whole epochs only "
            "(train_epoch_N.pth)"
        )
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


@dataclass(frozen=True)
class Named:
    """Weights under the names that a network has for them.

    Attributes:
        weights: the tensors.
        prefix: what stood before each name in the file, e.g. `model.`.
        left_out: names of the file without that prefix, e.g. of a loss.
    """

    weights: dict[str, torch.Tensor]
    prefix: str = ""
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        """How the names were read; empty where they were the network's own."""
        if not self.prefix:
            return ""
        rest = f"; not of the network, left out: {first_names(list(self.left_out))}" if self.left_out else ""
        return f"names read without their prefix '{self.prefix}'{rest}"


def named_as(
    expected: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], path: str | Path = "checkpoint"
) -> Named:
    """`weights` without the one prefix with which they have every name of `expected`; as they are where they share a
    name with it, or where no prefix does that.

    Trainers that keep the network in an attribute of something larger (Lightning's `model.`) save such names.

    Raises:
        CheckpointError: two prefixes would fit, so nobody knows which of two networks is meant.
    """
    if not expected or expected.keys() & weights.keys():
        return Named(weights)
    first = next(iter(expected))
    prefixes = [name[: -len(first)] for name in weights if name.endswith(f".{first}")]
    fitting = [prefix for prefix in prefixes if all(prefix + name in weights for name in expected)]
    if len(fitting) > 1:
        raise CheckpointError(
            f"{path}: holds several networks of these names, under {', '.join(map(repr, fitting))}; which is meant? "
            "save that one alone"
        )
    if not fitting:
        return Named(weights)
    prefix = fitting[0]
    inside = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    return Named(inside, prefix, tuple(name for name in weights if not name.startswith(prefix)))


def load_state(model: nn.Module, weights: dict[str, torch.Tensor], path: str | Path = "checkpoint") -> str:
    """Loads `weights` without a wrapper's prefix into a bare network, strictly.

    Returns:
        How the names were read, see `Named`; empty where they were the network's own.

    Raises:
        CheckpointError: with the counts and the first names of what does not fit; the network is left as it was.
    """
    own = model.state_dict()
    named = named_as(own, weights, path)
    result = match(own, named.weights)
    if not result.fits:
        raise CheckpointError(
            f"{path}: does not fit {type(model).__name__}: {result}{reasons(named.weights, own)}"
            f"{_prefix_hint(own, named.weights)}"
        )
    model.load_state_dict(named.weights, strict=True)
    return str(named)


def _prefix_hint(own: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> str:
    # None of the names fits, so it is likely another way of naming the same network.
    if own.keys() & weights.keys():
        return ""
    ends = tuple(f".{name}" for name in own)
    under = [name for name in weights if name.endswith(ends)]
    if not under:
        return ""
    return (
        f"; {len(under)} names would fit without their prefix (first: {under[0]}), but not all of the network's are "
        "there; catalyst-dl weights inspect shows what the file holds"
    )


def load_weights(model: nn.Module, path: str | Path, tell: Callable[[str], object] | None = None) -> dict[str, Any]:
    """Loads the weights of a checkpoint file into a bare network, strictly, and returns the checkpoint's content.

    The reference's tester loads with `strict=False`, so that an un-prefixed checkpoint silently loads nothing; here
    both key forms load, and anything else is an error. `tell` is called with a line where the names had another prefix,
    or the weights lay under another key.
    """
    content = read_checkpoint(path)
    notes = [load_state(model, weights_in(content, path), path)]
    key = wrapper_key(content, path)
    if key in OTHER_WRAPPERS:
        notes.append(f"weights read from its key '{key}'")
    for note in filter(None, notes if tell is not None else []):
        tell(f"{path}: {note}")
    return content
