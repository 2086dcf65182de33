"""Writing a weight file in another form: whole, checked, under its final name only when it is complete."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from catalyst_cityscapes.export.weights.inspection import CATALYST, WeightFile, layout, read_weight_file
from semseg_ref.base.checkpoints.architecture import DEEP_STEM, TORCHVISION_STEM, Identity
from semseg_ref.base.checkpoints.state_dict import PREFIX, read_checkpoint, weights_in
from semseg_ref.base.errors import CheckpointError, InputError
from semseg_ref.base.files import file_sha256, replace_atomically

BACKBONE_STAGES = ("layer1.", "layer2.", "layer3.", "layer4.")
STEM_LAYERS = {
    DEEP_STEM: {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"},
    TORCHVISION_STEM: {"0": "conv1", "1": "bn1"},
}
"""Position in a segmentation network's `layer0` -> name in a ResNet."""


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        path: the new file.
        form: one of `FORMS`.
        source: the file it came from.
        written: number of tensors.
        left_out: what of the source the new file does not have.
        notes: what the new file can and cannot be used for.
    """

    path: Path
    form: str
    source: WeightFile
    written: int
    left_out: list[str]
    notes: list[str]


def convert(source: str | Path, target: str | Path, form: str | None = None, overwrite: bool = False) -> Conversion:
    """Writes `target`. The file is read back and compared to the bit before it gets its name.

    Args:
        source: any weight file that `read_weight_file` takes.
        target: the new file; `.safetensors` for that form, `.pth` for the others.
        form: one of `FORMS`; None: safetensors for such a name, else official, or for an ImageNet file imagenet-init.
        overwrite: replace an existing `target`.

    Raises:
        CheckpointError: the source is no weight file, or lacks tensors of its network.
        InputError: the target exists, its suffix is another form's, or the source cannot be put into the form.
    """
    source, target = Path(source), Path(target)
    _check_target(source, target, form, overwrite)
    file = read_weight_file(source)
    if form is None:
        form = "imagenet-init" if file.is_imagenet else "official"
        form = "safetensors" if target.suffix == ".safetensors" else form
    if file.completeness is not None and not file.completeness.fits:
        raise CheckpointError(f"{source}: is no complete {file.network}, nothing is written: {file.completeness}")
    weights = _in_order(file)
    if form == "imagenet-init":
        weights = _backbone(file, weights)
    content, kept = _content(file, weights, form)
    write: Callable[[Any], Any] = partial(torch.save, content)
    if form == "safetensors":
        data = safetensors_bytes(weights, content)
        write = partial(_write_bytes, data)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(target, lambda opened: _write_checked(opened, write, weights))
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    left_out = [name for name in file.others if name not in kept]
    if file.epoch is not None and "epoch" not in kept:
        left_out.insert(0, "epoch")
    left_out += _dropped_children(file, form)
    return Conversion(target, form, file, len(weights), left_out, _notes(file, form, kept))


def _check_target(source: Path, target: Path, form: str | None, overwrite: bool) -> None:
    if form is not None and (target.suffix == ".safetensors") != (form == "safetensors"):
        wanted = ".safetensors" if form == "safetensors" else ".pth"
        raise InputError(f"{target}: a file of the form {form} is named *{wanted}")
    if target.is_dir():
        raise InputError(f"{target}: is a folder, expected the name of the new file")
    if source.exists() and target.exists() and source.samefile(target):
        raise InputError(f"{target}: is the file to convert; give the new one another name")
    if target.exists() and not overwrite:
        raise InputError(f"{target}: exists already; --overwrite replaces it")


def _in_order(file: WeightFile) -> dict[str, Tensor]:
    """The tensors in the order of the reference's network (safetensors does not keep any), compact in memory."""
    order = layout(file.network) or {}
    names = [name for name in order if name in file.weights]
    names += [name for name in file.weights if name not in order]
    return {name: file.weights[name].detach().clone(memory_format=torch.contiguous_format) for name in names}


def _backbone(file: WeightFile, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if file.is_imagenet:
        return weights
    if file.completeness is None:
        raise InputError(f"{file.path}: {file.network} has no backbone that an ImageNet file could be made of")
    stem = STEM_LAYERS[file.network.stem]
    backbone = {}
    for name, value in weights.items():
        child, _, rest = name.partition(".")
        if child == "layer0":
            position, _, entry = rest.partition(".")
            backbone[f"{stem[position]}.{entry}"] = value
        elif name.startswith(BACKBONE_STAGES):
            backbone[name] = value
    return backbone


def _content(file: WeightFile, weights: dict[str, Tensor], form: str) -> tuple[dict[str, Any], set[str]]:
    """What is written, and which of the source's entries beside the weights it has."""
    if form == "safetensors":
        metadata = {
            "format": "pt",
            "network": str(file.network),
            "source": file.path.name,
            "source_sha256": file_sha256(file.path),
        }
        if file.epoch is None:
            return metadata, set()
        return {**metadata, "epoch": str(file.epoch)}, {"epoch"}
    if form != "official":
        return weights, set()
    if not file.network.is_segmentation or file.completeness is None:
        other = "imagenet-init" if file.is_imagenet else "bare"
        raise InputError(
            f"{file.path}: is {file.network}, none of the official code's segmentation networks; --to {other} or "
            "safetensors can be written"
        )
    content: dict[str, Any] = {} if file.epoch is None else {"epoch": file.epoch}
    content["state_dict"] = {PREFIX + name: value for name, value in weights.items()}
    if file.wrapper != CATALYST and "optimizer" in file.others:
        content["optimizer"] = file.others["optimizer"]
    return content, content.keys() - {"state_dict"}


def _dropped_children(file: WeightFile, form: str) -> list[str]:
    if form != "imagenet-init" or file.is_imagenet:
        return []
    children = dict.fromkeys(name.split(".")[0] for name in file.weights)
    return [f"{child}.*" for child in children if child in ("ppm", "psa", "cls", "aux")]


def _write_bytes(data: bytes, opened: Any) -> None:
    opened.write(data)


def _write_checked(opened: Any, write: Callable[[Any], Any], weights: dict[str, Tensor]) -> None:
    write(opened)
    opened.flush()
    os.fsync(opened.fileno())
    again = weights_in(read_checkpoint(opened.name), opened.name)
    if again.keys() != weights.keys() or not all(_same_bits(again[name], value) for name, value in weights.items()):
        raise CheckpointError(f"{opened.name}: reads back as something else than was written; is the disk full?")


def _same_bits(left: Tensor, right: Tensor) -> bool:
    same_kind = left.dtype == right.dtype and left.shape == right.shape
    return same_kind and torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))


def _notes(file: WeightFile, form: str, kept: set[str]) -> list[str]:
    network: Identity = file.network
    notes = []
    lacking = [name for name in ("epoch", "optimizer") if name not in kept]
    if form == "official" and lacking:
        notes.append(f"for testing and as `weight`; without {' and '.join(lacking)} no run can resume from it")
    if network.stem == TORCHVISION_STEM and form in ("official", "imagenet-init"):
        notes.append("the official code has no torchvision stem: only this project loads it (model.stem=torchvision)")
    if form == "imagenet-init":
        notes.append("use it with --set model.pretrained=FILE")
    if file.completeness is None:
        notes.append("a network that is not known here: whether it is complete was not checked")
    return notes
