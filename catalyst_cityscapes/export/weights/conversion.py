"""Writing a weight file in another form: whole, checked, under its final name only when it is complete."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from catalyst_cityscapes.export.weights.class_names import to_json
from catalyst_cityscapes.export.weights.inspection import CATALYST, WeightFile, read_weight_file
from catalyst_cityscapes.models.known import ClassTable, KnownNetwork
from semseg_ref.base.checkpoints.architecture import DEEP_STEM, TORCHVISION_STEM, Identity
from semseg_ref.base.checkpoints.state_dict import PREFIX, first_names, read_checkpoint, weights_in
from semseg_ref.base.errors import CheckpointError, InputError
from semseg_ref.base.files import file_sha256, replace_atomically

BACKBONE_STAGES = ("layer1.", "layer2.", "layer3.", "layer4.")
STEM_LAYERS = {
    DEEP_STEM: {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"},
    TORCHVISION_STEM: {"0": "conv1", "1": "bn1"},
}
"""Position in a segmentation network's `layer0` -> name in a ResNet."""
DIGITS = 8
"""Of the sha256 in a file's name."""


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


def convert(
    source: str | Path,
    target: str | Path,
    form: str | None = None,
    overwrite: bool = False,
    classes: ClassTable | None = None,
    digest_in_name: bool = False,
) -> Conversion:
    """Writes `target`. The file is read back and compared to the bit before it gets its name.

    Args:
        source: any weight file that `read_weight_file` takes.
        target: the new file; `.safetensors` for that form, `.pth` for the others.
        form: one of `FORMS`; None: safetensors for such a name, else official, or for an ImageNet file imagenet-init.
        overwrite: replace an existing `target`.
        classes: names and colours for forms that hold them; None: those that the source has.
        digest_in_name: put the first 8 digits of the file's sha256 before the suffix, as in torchvision's names.

    Raises:
        CheckpointError: the source is no weight file, lacks tensors of its network, or names other classes than these
            have.
        InputError: the target exists, its suffix is another form's, or the source cannot be put into the form.
    """
    source, target = Path(source), Path(target)
    _check_target(source, target, form, overwrite)
    file = read_weight_file(source)
    if classes is not None:
        file = replace(file, classes=classes)
    if form is None:
        form = "imagenet-init" if file.is_imagenet else "official"
        form = "safetensors" if target.suffix == ".safetensors" else form
    if file.completeness is not None and not file.completeness.fits:
        raise CheckpointError(f"{source}: is no complete {file.title}, nothing is written: {file.completeness}")
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
        if digest_in_name:
            target = _write_named(target, overwrite, lambda opened: _write_checked(opened, write, weights))
        else:
            replace_atomically(target, lambda opened: _write_checked(opened, write, weights))
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    left_out = [name for name in file.others if name not in kept]
    if file.epoch is not None and "epoch" not in kept:
        left_out.insert(0, "epoch")
    left_out += dict.fromkeys(
        place.split(".")[0] for place in file.left_out if place.split(".")[0] not in {*left_out, *kept}
    )
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


def _write_named(target: Path, overwrite: bool, write: Callable[[Any], Any]) -> Path:
    working = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        replace_atomically(working, write)
        named = target.with_stem(f"{target.stem}-{file_sha256(working)[:DIGITS]}")
        if named.exists() and not overwrite:
            raise InputError(f"{named}: exists already; --overwrite replaces it")
        os.replace(working, named)
    finally:
        working.unlink(missing_ok=True)
    return named


def _in_order(file: WeightFile) -> dict[str, Tensor]:
    """The tensors in the order of their network (safetensors does not keep any), compact in memory."""
    order = file.layout or {}
    names = [name for name in order if name in file.weights]
    names += [name for name in file.weights if name not in order]
    return {name: file.weights[name].detach().clone(memory_format=torch.contiguous_format) for name in names}


def _backbone(file: WeightFile, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if file.is_imagenet:
        return weights
    if file.known is not None:
        start = file.known.backbone
        return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}
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
            "network": file.title,
            "source": file.path.name,
            "source_sha256": file_sha256(file.path),
        }
        if file.classes.names is not None:
            metadata["classes"] = to_json(file.classes)
        counted = _trained(file)
        return {**metadata, **{name: str(count) for name, count in counted.items()}}, set(counted)
    if form != "official":
        return weights, set()
    if file.known is not None:
        return _foreign_content(file, file.known, weights), {"meta", "classes", "epoch", "iteration"}
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


def _foreign_content(file: WeightFile, known: KnownNetwork, weights: dict[str, Tensor]) -> dict[str, Any]:
    names = file.classes.names
    if names is not None and len(names) != known.classes:
        raise CheckpointError(
            f"{file.path}: {len(names)} class names ({first_names(list(names))}) for a network of {known.classes} "
            "classes; --config RECIPE gives those of the recipe's data set"
        )
    meta = dict(file.origin.meta) if file.origin is not None else {}
    names_there = {"epoch": "epoch", "iteration": "iter"}
    meta.update({names_there[name]: count for name, count in _trained(file).items()})
    return known.content(weights, file.classes, meta)


def _trained(file: WeightFile) -> dict[str, int]:
    """How long the weights were trained, `epoch` and `iteration`, each where the file says so."""
    said = {"epoch": file.epoch, "iteration": file.others.get("iteration")}
    by_others = file.origin.trained if file.origin is not None else {}
    return {**by_others, **{name: count for name, count in said.items() if isinstance(count, int)}}


def _dropped_children(file: WeightFile, form: str) -> list[str]:
    if form != "imagenet-init" or file.is_imagenet:
        return []
    children = dict.fromkeys(name.split(".")[0] for name in file.weights)
    if file.known is not None:
        return [f"{child}.*" for child in children if f"{child}." != file.known.backbone]
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
    if form == "official" and file.known is not None:
        notes.append(f"for {file.known.framework}, and here for testing and as `weight`; no run can resume from it")
        if file.classes.names is None:
            notes.append("says nothing of its classes; --config RECIPE writes those of the recipe's data set")
    elif form == "official" and lacking:
        notes.append(f"for testing and as `weight`; without {' and '.join(lacking)} no run can resume from it")
    if network.stem == TORCHVISION_STEM and form in ("official", "imagenet-init"):
        notes.append("the official code has no torchvision stem: only this project loads it (model.stem=torchvision)")
    if form == "imagenet-init":
        notes.append("use it with --set model.pretrained=FILE")
    if file.completeness is None:
        notes.append("a network that is not known here: whether it is complete was not checked")
    if file.left_out:
        notes.append(f"not read: {file.not_read}")
    return notes
