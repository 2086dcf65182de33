"""mmsegmentation's networks by name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from catalyst_cityscapes.models.mmseg import deeplabv3plus, hrnet, ocrnet, pspnet, segformer, segnext
from catalyst_cityscapes.models.mmseg.network import EncoderDecoder
from catalyst_cityscapes.models.mmseg.pretrained import load_backbone
from semseg_ref.base.errors import OptionError, did_you_mean


@dataclass(frozen=True)
class Family:
    """One kind of network in all its sizes.

    Args:
        make: (variant, classes, **settings) -> the network.
        variants: names of the sizes.
        defaults: the published settings; what is not among them the family does not have.
    """

    make: Callable[..., EncoderDecoder]
    variants: Mapping[str, Any]
    defaults: Mapping[str, Any]


# align_corners of PSPNet and DeepLabV3+ is the 769 recipes'; their 512x1024 twins set False.
FAMILIES = {
    "pspnet": Family(pspnet.pspnet, pspnet.WIDTHS, {"align_corners": True, "dropout": 0.1}),
    "deeplabv3plus": Family(deeplabv3plus.deeplabv3plus, deeplabv3plus.WIDTHS, {"align_corners": True, "dropout": 0.1}),
    "hrnet": Family(hrnet.hrnet, hrnet.VARIANTS, {"align_corners": False, "dropout": 0.0}),
    "ocrnet": Family(ocrnet.ocrnet, hrnet.VARIANTS, {"align_corners": False, "dropout": 0.0}),
    "segformer": Family(
        segformer.segformer, segformer.VARIANTS, {"align_corners": False, "dropout": 0.1, "drop_path": 0.1}
    ),
    "segnext": Family(
        segnext.segnext,
        segnext.VARIANTS,
        {"align_corners": False, "dropout": 0.1, "drop_path": 0.1, "head_channels": None},
    ),
}
NAMES = tuple(f"{family}_{variant}" for family, each in FAMILIES.items() for variant in each.variants)


def build(
    name: str,
    classes: int = 19,
    *,
    align_corners: bool | None = None,
    dropout: float | None = None,
    drop_path: float | None = None,
    head_channels: int | None = None,
    pretrained: str | Path | bool | None = None,
) -> EncoderDecoder:
    """One of mmsegmentation's networks: its state dict's names, shapes and order, its function, its random weights.

    Outputs are logits that nobody resized, main first; auxiliary ones in training, or from `all_logits`.

    Args:
        name: of `NAMES`, as `segformer_b0`.
        classes: number of classes K, at least 2.
        align_corners: of every resizing of features and logits; None takes the published recipe's.
        dropout: probability of dropping a channel before each classifier, 0..1 without 1; None: the recipe's.
        drop_path: of a whole branch in the last block of SegFormer's and SegNeXt's backbones, likewise.
        head_channels: width of SegNeXt's head, a multiple of 32; None: the published width of that size.
        pretrained: file of the backbone's ImageNet weights, see `pretrained.load_backbone`; None or False for
            random ones.

    Raises:
        OptionError: no such network, a value out of its range, or a setting that this network does not have.
        CheckpointError: the file cannot be read, or its names and shapes are not the backbone's.

    Source: mmsegmentation 1.2.2.
    """
    family, _, variant = name.partition("_") if isinstance(name, str) else ("", "", "")
    if family not in FAMILIES or variant not in FAMILIES[family].variants:
        raise OptionError(f"name: no such network: {name!r}{did_you_mean(str(name), NAMES)}")
    if not isinstance(classes, Integral) or isinstance(classes, bool) or classes < 2:
        raise OptionError(f"classes: {classes!r}: expected an int of at least 2")
    given = {
        "align_corners": align_corners,
        "dropout": _probability("dropout", dropout),
        "drop_path": _probability("drop_path", drop_path),
        "head_channels": head_channels,
    }
    if head_channels is not None and (not isinstance(head_channels, int) or head_channels < 1 or head_channels % 32):
        nearest = max(32, round(head_channels / 32) * 32) if isinstance(head_channels, (int, float)) else 256
        raise OptionError(
            f"head_channels: {head_channels!r}: expected a multiple of 32 (norm in 32 groups); nearest: {nearest}"
        )
    settings = dict(FAMILIES[family].defaults)
    for key, value in given.items():
        if key in settings:
            settings[key] = settings[key] if value is None else value
        elif value:  # A rate of 0 asks for what is there already.
            raise OptionError(f"{key}: {value!r}: {name} has none; it takes {', '.join(settings)}")
    network = FAMILIES[family].make(variant, classes, **settings)
    if pretrained is True:
        raise OptionError("pretrained: True: expected a file's path; initmodel/README.md says which file it is")
    if pretrained:
        load_backbone(network.backbone, pretrained)
    return network


def _probability(key: str, value: float | None) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not (is_number and 0 <= value < 1):
        raise OptionError(f"{key}: {value!r}: expected a probability of 0..1, below 1")
    return value
