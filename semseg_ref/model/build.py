"""The network of an official config."""

from pathlib import Path

from torch import nn

from semseg_ref.base.errors import OptionError, did_you_mean
from semseg_ref.config import CfgNode
from semseg_ref.model.psanet import PSANet
from semseg_ref.model.pspnet import PSPNet

PSA_OPTIONS = ("psa_type", "compact", "shrink_factor", "mask_h", "mask_w", "normalization_factor", "psa_softmax")


def psa_mask_size(train_size: int, shrink_factor: int, compact: bool, given: int | None) -> int:
    """Side of the PSA mask for a crop side, in cells: 465 -> 59, 705 -> 89 at shrink factor 2 (reference rule).

    Raises:
        OptionError: a given size is even, below 3, or larger than the rule's.
    """
    cells = (train_size - 1) // (8 * shrink_factor) + 1
    if compact:
        return cells
    largest = 2 * cells - 1
    if given is None:
        return largest
    if given % 2 == 0 or not 3 <= given <= largest:
        raise OptionError(
            f"mask_h, mask_w: {given} is no odd number from 3 to {largest} (the rule for crop {train_size})"
        )
    return given


def build_network(cfg: CfgNode, criterion: nn.Module | None = None, pretrained: bool | str | Path = True) -> nn.Module:
    """PSPNet or PSANet from the keys of sections DATA and TRAIN.

    Args:
        cfg: arch ('psp' or 'psa'), layers, classes, zoom_factor, train_h, train_w, the PSA options, and, beyond the
            reference's, dropout and stem.
        criterion: loss inside the network; None is cross entropy that ignores 255.
        pretrained: True reads ./initmodel/resnet{layers}_v2.pth as the reference does; a path reads that file.
    """
    arguments = {"layers": cfg.layers, "classes": cfg.classes, "zoom_factor": cfg.zoom_factor, "pretrained": pretrained}
    arguments |= {name: cfg[name] for name in ("dropout", "stem") if name in cfg}
    if criterion is not None:
        arguments["criterion"] = criterion
    if cfg.arch == "psp":
        return PSPNet(**arguments)
    if cfg.arch != "psa":
        raise OptionError(f"arch: unknown network '{cfg.arch}'{did_you_mean(cfg.arch, ('psp', 'psa'))}")
    arguments |= {name: cfg[name] for name in PSA_OPTIONS if name in cfg}
    for side, crop in (("mask_h", cfg.train_h), ("mask_w", cfg.train_w)):
        arguments[side] = psa_mask_size(crop, cfg.shrink_factor, bool(cfg.compact), cfg.get(side))
    return PSANet(**arguments)
