"""Proof that a weight file works: its checksum, a strict load, and the output for a fixed input."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from catalyst_cityscapes.export.weights.class_names import differing_classes, recipe_classes
from catalyst_cityscapes.export.weights.inspection import read_weight_file
from catalyst_cityscapes.export.weights.recipe_fit import fit_recipe
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.models.outputs import SizeRule, outputs_of, size_rule_of
from catalyst_cityscapes.models.segmenter import Segmenter
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.checkpoints.state_dict import load_state
from semseg_ref.base.errors import CheckpointError, InputError
from semseg_ref.base.files import file_sha256

INPUT_SIDE = 97
INPUT_SEED = 0
SHORTEST_SHA256 = 8


@dataclass(frozen=True)
class Verification:
    """A network's output for the fixed input.

    Attributes:
        matched: number of tensors that were loaded.
        network: the class of the network.
        as_initialisation: the file filled the backbone, and the output is the backbone's.
        input_shape: of the input, standard normal numbers of numpy's `RandomState(0)`.
        output: float32 [1, C, h, w], computed on one CPU thread.
        notes: what else is to be known of the file.
    """

    matched: int
    network: str
    as_initialisation: bool
    input_shape: tuple[int, ...]
    output: Tensor
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest of the output's bytes: the same on the same kind of machine with the same torch."""
        return hashlib.sha256(self.output.contiguous().numpy().tobytes()).hexdigest()

    def lines(self) -> list[tuple[str, str]]:
        """The report, as (heading, text)."""
        out = self.output.double()
        heading = "features" if self.as_initialisation else "logits"
        into = f"the backbone of {self.network}" if self.as_initialisation else self.network
        numbers = {"mean": out.mean(), "std": out.std(), "min": out.min(), "max": out.max()}
        rows = [
            ("loaded", f"{self.matched} of {self.matched} tensors into {into}, strictly"),
            ("input", f"{list(self.input_shape)}, standard normal, seed {INPUT_SEED}"),
            (heading, f"{list(self.output.shape)}, {', '.join(f'{k} {v.item():.5g}' for k, v in numbers.items())}"),
            ("sha256", f"{self.sha256} (of the {heading}; same machine and torch, one CPU thread)"),
        ]
        if not self.as_initialisation:
            counts = torch.bincount(self.output.argmax(1).flatten(), minlength=self.output.shape[1])
            rows.append(("predicted", f"pixels per class {counts.tolist()}"))
        return [*rows, *(("note", note) for note in self.notes)]


def check_sha256(path: str | Path, expected: str) -> str:
    """Compares a file's sha256 with a whole digest or its first digits, at least 8, and returns the whole.

    torchvision's file names end in such first digits.

    Raises:
        InputError: `expected` is no such number.
        CheckpointError: the file has another checksum, or is missing.
    """
    digits = expected.lower()
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_SHA256},64}}", digits):
        raise InputError(f"--sha256 {expected}: expected {SHORTEST_SHA256} to 64 hexadecimal digits")
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    found = file_sha256(path)
    if not found.startswith(digits):
        raise CheckpointError(f"{path}: sha256 is {found}, expected {digits}; the file is another one, or damaged")
    return found


def verify(path: str | Path, recipe: Recipe) -> Verification:
    """Loads a file strictly into the recipe's network and runs it on the fixed input.

    A backbone's weights fill that, and the output is its last feature map.

    Raises:
        CheckpointError: the file does not fit, with counts, names and reasons; its classes are others than the
            recipe's; or the output is not finite.
    """
    file = read_weight_file(path)
    network = recipe_network(recipe)
    fit = fit_recipe(file, network)
    if fit.as_initialisation:
        network = recipe_network(recipe, pretrained=str(path))
    elif file.known is not None and fit.reasons:
        raise CheckpointError(f"{path}: {', '.join(fit.reasons)}; {fit.match}")
    else:
        load_state(network, file.weights, path)
    notes = [file.not_read] if file.left_out else []
    if file.classes.names is not None:
        try:
            notes += differing_classes(file.classes, recipe_classes(recipe))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
    shape = _input_shape(network, recipe)
    x = torch.from_numpy(np.random.RandomState(INPUT_SEED).standard_normal(shape).astype(np.float32))
    output = _run(network, x, fit.as_initialisation)
    if not torch.isfinite(output).all():
        raise CheckpointError(f"{path}: loads, but the network's output is not finite; its weights are damaged")
    kind = type(network).__name__
    return Verification(len(fit.match.matched), kind, fit.as_initialisation, shape, output, tuple(notes))


def _input_shape(network: nn.Module, recipe: Recipe) -> tuple[int, ...]:
    # Compact attention has one possible size, that of the recipe's crop; all else works on a small input.
    compact = getattr(getattr(network, "psa", None), "compact", False)
    rule = size_rule_of(network) or SizeRule(1)
    small = max((INPUT_SIDE - rule.rest) // rule.step, 1) * rule.step + rule.rest
    sides = recipe.data.crop if compact else [rule.at_least(small)] * 2
    return (1, 3, *sides)


@torch.no_grad()
def _run(network: nn.Module | Segmenter, x: Tensor, backbone_only: bool) -> Tensor:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads sum in another order
    try:
        if backbone_only:
            for name in network.backbone_names:
                x = getattr(network, name)(x)
            return x if isinstance(x, Tensor) else x[-1]
        output = network(x)
        return outputs_of(output)[0]
    finally:
        torch.set_num_threads(threads)
