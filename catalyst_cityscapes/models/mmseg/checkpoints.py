"""mmsegmentation's checkpoint files: the network by its names, the classes by the meta data, and writing one.

Releases 0.x keep `CLASSES` and `PALETTE` in `meta`, 1.x a `dataset_meta` with `classes` and `palette`. A file that has
both, and the weights under `state_dict`, is read by either.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from catalyst_cityscapes.models.known import ClassTable, KnownNetwork, Origin
from catalyst_cityscapes.models.mmseg.families import FAMILIES, build

FRAMEWORK = "mmsegmentation"
MARKS = {
    "pspnet": "decode_head.psp_modules.",
    "deeplabv3plus": "decode_head.c1_bottleneck.",
    "ocrnet": "decode_head.1.object_context_block.",
    "segformer": "decode_head.fusion_conv.",
    "segnext": "decode_head.hamburger.",
    "hrnet": "backbone.stage4.",
}
"""Start of names that tell a family, looked for in this order: OCRNet has HRNet's backbone."""
CLASSIFIERS = ("decode_head.1.conv_seg", "decode_head.conv_seg", "auxiliary_head.conv_seg", "decode_head.0.conv_seg")
COUNTED = {"epoch": "epoch", "iteration": "iter"}
"""How long the weights were trained: this project's name of it, and that in `meta`."""
HEAD_WIDTH = "decode_head.squeeze.conv.weight"


def recognise(weights: Mapping[str, Tensor]) -> KnownNetwork | None:
    """The network whose names and shapes a state dict has most of, at least half; None where there is none."""
    family = next((name for name, mark in MARKS.items() if any(key.startswith(mark) for key in weights)), None)
    if family is None:
        return None
    classes = max(_first_dimension(weights, [f"{c}.{e}" for c in CLASSIFIERS for e in ("weight", "bias")]) or 2, 2)
    width = _first_dimension(weights, [HEAD_WIDTH]) if "head_channels" in FAMILIES[family].defaults else None
    settings = {} if width is None or width % 32 or not width else {"head_channels": width}
    best, most = None, 0
    for variant in FAMILIES[family].variants:
        name = f"{family}_{variant}"
        layout = _layout(name, classes, settings.get("head_channels"))
        fitting = sum(key in weights and weights[key].shape == value.shape for key, value in layout.items())
        if 2 * fitting > len(layout) and fitting > most:
            best, most = KnownNetwork(name, FRAMEWORK, classes, layout, file_content, settings), fitting
        if fitting == len(layout) == len(weights):
            break
    return best


@lru_cache(maxsize=8)
def _layout(name: str, classes: int, head_channels: int | None) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build(name, classes, head_channels=head_channels).state_dict()


def _first_dimension(weights: Mapping[str, Tensor], names: Sequence[str]) -> int | None:
    return next((weights[name].shape[0] for name in names if name in weights and weights[name].ndim), None)


def origin(content: Any) -> Origin | None:
    """What `meta` of a checkpoint's content says; None for a file that mmsegmentation did not write."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return None
    new = meta.get("dataset_meta")
    if isinstance(new, Mapping):
        release, given = "1.x", (new.get("classes"), new.get("palette"))
    elif {"CLASSES", "mmseg_version", "mmcv_version"} & meta.keys():
        release, given = "0.x", (meta.get("CLASSES"), meta.get("PALETTE"))
    elif "mmengine_version" in meta:
        release, given = "1.x", (None, None)
    else:
        return None
    notes = []
    names, palette = _names(given[0]), _palette(given[1])
    if given[0] and names is None:
        notes.append("its class names are no list of texts: not read")
    if given[1] and palette is None:
        notes.append("its palette is no list of [red, green, blue] of 0..255: not read")
    if names and palette and len(names) != len(palette):
        notes.append(f"{len(names)} class names and {len(palette)} colours: the colours are not taken")
        palette = None
    trained = {ours: meta[name] for ours, name in COUNTED.items() if type(meta.get(name)) is int}
    if "iteration" in trained:
        notes.append(f"after {trained['iteration']} iterations")
    if isinstance(content.get("ema_state_dict"), Mapping):
        notes.append("state_dict holds the averaged weights, ema_state_dict those before averaging, which are not read")
    return Origin(f"{FRAMEWORK} {release} checkpoint", ClassTable(names, palette), dict(meta), tuple(notes), trained)


def _names(value: Any) -> tuple[str, ...] | None:
    is_list = isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value)
    return tuple(value) if is_list else None


def _palette(value: Any) -> tuple[tuple[int, int, int], ...] | None:
    if not isinstance(value, list | tuple) or not value:
        return None
    for row in value:
        is_colour = isinstance(row, list | tuple) and len(row) == 3
        if not is_colour or not all(type(part) is int and 0 <= part <= 255 for part in row):
            return None
    return tuple((row[0], row[1], row[2]) for row in value)


def file_content(weights: dict[str, Tensor], classes: ClassTable, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint that mmsegmentation loads, 0.x and 1.x alike.

    Args:
        weights: the whole network, without a prefix.
        classes: where unknown, the file says nothing of them, and the framework takes its data set's.
        meta: plain values to keep in the file's own `meta`.
    """
    written = dict(meta)
    described = dict(written["dataset_meta"]) if isinstance(written.get("dataset_meta"), Mapping) else {}
    if classes.names is not None:
        written["CLASSES"] = described["classes"] = list(classes.names)
    if classes.palette is not None:
        written["PALETTE"] = described["palette"] = [list(colour) for colour in classes.palette]
    if described:
        written["dataset_meta"] = described
    return {"meta": written, "state_dict": weights}
