"""What a weight file is: its format, who wrote it, the network, and whether that is complete."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catalyst_cityscapes.export.weights.class_names import classes_of, describe
from catalyst_cityscapes.models.known import ClassTable, KnownNetwork, Origin, origin, recognise
from semseg_ref.base.checkpoints.architecture import NO_CONTEXT, PSA, PSP, RESNET, UNKNOWN, Identity, identify
from semseg_ref.base.checkpoints.plain_parts import read_plain_parts
from semseg_ref.base.checkpoints.reading import SAFETENSORS, file_format
from semseg_ref.base.checkpoints.state_dict import (
    OTHER_WRAPPERS,
    PREFIX,
    WRAPPERS,
    Match,
    first_names,
    match,
    state_dict_in,
    weights_in,
    wrapper_key,
)
from semseg_ref.base.errors import InputError
from semseg_ref.base.files import file_sha256
from semseg_ref.model import PSANet, PSPNet, ResNet
from semseg_ref.model.resnet import match_backbone

OFFICIAL = "official semseg checkpoint"
PROJECT = "checkpoint of this project (the official format and its training state)"
CATALYST = "Catalyst checkpoint"
WRAPPED = "state dict under 'state_dict'"
BARE = "bare state dict"
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class WeightFile:
    """A weight file that was read.

    Attributes:
        path: the file.
        format: of the bytes, see `semseg_ref.base.checkpoints.reading`.
        wrapper: `OFFICIAL`, `PROJECT`, `CATALYST`, `WRAPPED` or `BARE`.
        has_prefix: the names start with `module.`.
        weights: the tensors without that prefix, in the file's order.
        network: by names and shapes, of the reference's.
        completeness: the tensors against those of that network; None for a network that is none of ours.
        epoch: finished epochs, where the file says so.
        others: what else the file holds, by name.
        known: the network where it is one of another framework's that this project has.
        origin: what the framework that wrote the file says in it.
        classes: their names and colours, where the file has them.
        left_out: objects that were not read, their class by their place in the file.
    """

    path: Path
    format: str
    wrapper: str
    has_prefix: bool
    weights: dict[str, Tensor]
    network: Identity
    completeness: Match | None
    epoch: int | None
    others: dict[str, Any]
    known: KnownNetwork | None = None
    origin: Origin | None = None
    classes: ClassTable = field(default_factory=ClassTable)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The network in a few words."""
        return str(self.known or self.network)

    @property
    def layout(self) -> dict[str, Tensor] | None:
        """Names and shapes of the complete network, in its order; None for one that is none of ours."""
        return self.known.layout if self.known is not None else layout(self.network)

    @property
    def not_read(self) -> str:
        """One line on the objects in the file; empty where there are none."""
        if not self.left_out:
            return ""
        kinds = Counter((place.split(".")[0], kind) for place, kind in self.left_out.items())
        parts = [f"{top} ({f'{n} of ' if n > 1 else ''}{kind})" for (top, kind), n in kinds.items()]
        count = f"{len(self.left_out)} objects" if len(self.left_out) > 1 else "1 object"
        return f"{count} beside tensors and plain values, no code of which was run: {first_names(parts)}"

    @property
    def is_imagenet(self) -> bool:
        """A classification ResNet: weights to start from."""
        return self.network.family == RESNET

    @property
    def what(self) -> str:
        """The kind of file in one line."""
        if self.is_imagenet:
            kind = "ImageNet initialisation" if self.network.depth else "classification ResNet"
        else:
            kind = self.wrapper
        if self.is_imagenet and self.wrapper != BARE:
            kind += f", {self.wrapper}"
        names = f"names with '{PREFIX}'" if self.has_prefix else f"names without '{PREFIX}'"
        return f"{kind}, {names}"

    @property
    def parameters(self) -> int:
        """Numbers that training changes: all tensors but batch norm's statistics."""
        return sum(value.numel() for name, value in self.weights.items() if name.split(".")[-1] not in BUFFERS)

    def not_finite(self) -> list[str]:
        """Names of tensors with NaN or infinite values."""
        return [n for n, v in self.weights.items() if v.is_floating_point() and not torch.isfinite(v).all()]

    def lines(self) -> list[tuple[str, str]]:
        """The report, as (heading, text)."""
        types = Counter(str(value.dtype).removeprefix("torch.") for value in self.weights.values())
        damaged = self.not_finite()
        rows = [
            ("file", str(self.path)),
            ("format", self.format),
            ("what", self.what),
            ("network", self.title),
            ("tensors", f"{len(self.weights)} ({', '.join(f'{n} {t}' for t, n in types.most_common())})"),
            ("parameters", f"{self.parameters:,}"),
            ("complete", self._describe_completeness()),
            ("epoch", "not stated" if self.epoch is None else str(self.epoch)),
            ("besides", ", ".join(describe_entry(k, v) for k, v in self.others.items()) or "nothing"),
        ]
        if self.classes.names is not None:
            rows.append(("classes", describe(self.classes)))
        if self.left_out:
            rows.append(("not read", self.not_read))
        rows += [("note", note) for note in (self.origin.notes if self.origin is not None else ())]
        if damaged:
            rows.append(("damaged", f"NaN or infinite values in {len(damaged)} tensors, first: {damaged[0]}"))
        rows.append(("sha256", file_sha256(self.path)))
        return rows

    def _describe_completeness(self) -> str:
        if self.completeness is None:
            return "not known: none of the networks that are known here by their names"
        unused = f"; {', '.join(self.completeness.unused)} not used" if self.completeness.unused else ""
        return f"{'yes' if self.completeness.fits else 'NO'}, {self.completeness}{unused}"


def describe_entry(name: str, value: Any) -> str:
    """An entry of a checkpoint in a few words."""
    if isinstance(value, Mapping):
        return f"{name} ({len(value)} entries)"
    if isinstance(value, list | tuple):
        return f"{name} ({len(value)} values)"
    text = str(value)
    return f"{name} = {text}" if len(text) <= 60 else f"{name} ({type(value).__name__})"


def read_weight_file(path: str | Path) -> WeightFile:
    """Reads and classifies a weight file.

    Raises:
        CheckpointError: it is missing, damaged, no checkpoint, or holds no state dict.
    """
    path = Path(path)
    content, left_out = read_plain_parts(path)
    raw = state_dict_in(content, path)
    weights = _known(weights_in(content, path))
    has_prefix = next(iter(raw)).startswith(PREFIX)
    wrapped = raw is not content
    # A bare state dict can have a tensor of any name, 'epoch' included.
    kept = (*WRAPPERS, wrapper_key(content, path), "epoch")
    others = {key: value for key, value in content.items() if key not in kept} if wrapped else {}
    epoch = content.get("epoch") if wrapped else None
    network = identify(weights)
    known = recognise(weights) if network.family == UNKNOWN else None
    written_by = origin(content) if wrapped else None
    form = file_format(path)
    if form == SAFETENSORS:
        others = {key: value for key, value in content["metadata"].items() if key not in ("epoch", "format")}
        others |= {"iteration": content["iteration"]} if "iteration" in content else {}
    wrapper = BARE if form == SAFETENSORS or not wrapped else _wrapper(content, has_prefix)
    return WeightFile(
        path=path,
        format=form,
        wrapper=wrapper if written_by is None else written_by.what,
        has_prefix=has_prefix,
        weights=weights,
        network=network,
        completeness=_completeness(weights, network) if known is None else match(known.layout, weights),
        epoch=epoch if isinstance(epoch, int) else None,
        others=others,
        known=known,
        origin=written_by,
        classes=classes_of(others) if written_by is None else written_by.classes,
        left_out=left_out,
    )


def _known(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that all names share, where a network is known by its names only then, as Lightning's."""
    names = weights
    while identify(names).family == UNKNOWN:
        first = next(iter(names)).partition(".")[0] + "."
        if not all(name.startswith(first) and len(name) > len(first) for name in names):
            return weights
        names = {name.removeprefix(first): value for name, value in names.items()}
    return names


def _wrapper(content: Mapping[str, Any], has_prefix: bool) -> str:
    if "state_dict" not in content:
        other = next((key for key in OTHER_WRAPPERS if key in content), None)
        return CATALYST if "model_state_dict" in content else f"state dict under '{other}'"
    if not has_prefix or "epoch" not in content:
        return WRAPPED
    return PROJECT if "callbacks" in content else OFFICIAL


def layout(network: Identity) -> dict[str, Tensor] | None:
    """Names and shapes of a complete network of ours, as tensors without data, in the reference's order.

    None for networks that are none of ours.
    """
    if network.depth is None or network.stem is None:
        return None
    with torch.device("meta"):
        if network.family == RESNET:
            return ResNet(network.blocks, deep_base=network.stem == "deep").state_dict()
        arguments = {
            "layers": network.depth,
            "classes": network.classes or 2,  # without a classifier its tensors are to be missing
            "stem": network.stem,
            "pretrained": False,
        }
        try:
            if network.family in (PSP, NO_CONTEXT):
                bins = range(1, network.branches + 1) or (1,)
                return PSPNet(bins=bins, use_ppm=network.family == PSP, **arguments).state_dict()
            if network.family == PSA:
                side = math.isqrt(network.mask_cells)
                square = side * side == network.mask_cells and side % 2
                mask = {"mask_h": side, "mask_w": side} if square else {"mask_h": network.mask_cells, "mask_w": 1}
                psa_type = 2 if network.psa_both else 0
                return PSANet(psa_type=psa_type, compact=not square, **mask, **arguments).state_dict()
        except InputError:  # shapes that no network of ours can have, as one class
            return None
    return None


def _completeness(weights: dict[str, Tensor], network: Identity) -> Match | None:
    expected = layout(network)
    if expected is None:
        return None
    return (match_backbone if network.family == RESNET else match)(expected, weights)
