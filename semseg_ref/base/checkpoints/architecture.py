"""Which network a state dict belongs to, by names and shapes alone.

Not in the weights, and so not found out: zoom factor, dropout, the sides of the pyramid's grids, PSANet's options
beyond the number of attention cells.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

BLOCK_COUNTS: dict[int, tuple[int, int, int, int]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Bottleneck blocks in `layer1` .. `layer4` by depth."""

PSP, PSA, NO_CONTEXT = "PSPNet", "PSANet", "network without context module"
SHOWN_CHILDREN = 6
RESNET, UNKNOWN = "ResNet", "unknown network"
DEEP_STEM, TORCHVISION_STEM = "deep", "torchvision"
STEM_NAMES = {DEEP_STEM: "deep stem (three 3x3)", TORCHVISION_STEM: "torchvision stem (one 7x7)", None: "unknown stem"}


@dataclass(frozen=True)
class Identity:
    """What names and shapes say; None: not there, or not one of ours.

    Attributes:
        family: `PSP`, `PSA`, `NO_CONTEXT`, `RESNET` or `UNKNOWN`.
        blocks: residual blocks in `layer1` .. `layer4`.
        bottleneck: the blocks are those of ResNet-50 and deeper (neither basic, nor wide, nor grouped).
        stem: `DEEP_STEM` or `TORCHVISION_STEM`.
        classes: outputs of the classifier (of `cls`, or of a ResNet's `fc`).
        branches: of the pyramid pooling.
        mask_cells: attention cells of PSANet, `mask_h * mask_w`.
        psa_both: PSANet collects and distributes (`psa_type: 2`).
        has_aux: with the auxiliary classifier.
        children: for an unknown network, first parts of the names and how many tensors each has, most first.
    """

    family: str
    blocks: tuple[int, ...] = ()
    bottleneck: bool = True
    stem: str | None = None
    classes: int | None = None
    branches: int = 0
    mask_cells: int = 0
    psa_both: bool = False
    has_aux: bool = False
    children: tuple[tuple[str, int], ...] = ()

    @property
    def depth(self) -> int | None:
        """50, 101 or 152; None for other blocks."""
        found = [depth for depth, counts in BLOCK_COUNTS.items() if counts == self.blocks]
        return found[0] if found and self.bottleneck else None

    @property
    def is_segmentation(self) -> bool:
        """One of the reference's segmentation networks, its stem swapped or not."""
        return self.family in (PSP, PSA, NO_CONTEXT)

    def __str__(self) -> str:
        if self.family == UNKNOWN:
            shown = (f"{name}.*: {count}" for name, count in self.children[:SHOWN_CHILDREN])
            return f"unknown network ({', '.join(shown)})"
        parts = [f"{self.family}-{self.depth}" if self.depth else f"{self.family} of {self._describe_blocks()}"]
        if self.classes is not None:
            parts.append(f"{self.classes} classes")
        elif self.is_segmentation:
            parts.append("no main classifier")
        parts.append(STEM_NAMES[self.stem])
        if self.family == PSP and self.branches != 4:
            parts.append(f"{self.branches} pyramid branches")
        if self.family == PSA:
            side = math.isqrt(self.mask_cells)
            square = side * side == self.mask_cells and side % 2
            parts.append(f"mask {side} x {side}" if square else f"{self.mask_cells} attention cells")
            parts.append("collect and distribute" if self.psa_both else "one attention branch")
        if self.is_segmentation and not self.has_aux:
            parts.append("no auxiliary classifier")
        return ", ".join(parts)

    def _describe_blocks(self) -> str:
        kind = "bottleneck blocks" if self.bottleneck else "basic, wide or grouped blocks"
        return f"{'-'.join(map(str, self.blocks))} {kind}"


def identify(weights: Mapping[str, Tensor]) -> Identity:
    """The network of a state dict whose names have no `module.`."""
    blocks = tuple(_count(weights, rf"layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    stem_weight = weights.get("layer0.0.weight", weights.get("conv1.weight"))
    if min(blocks) == 0 or stem_weight is None:
        return Identity(UNKNOWN, children=tuple(Counter(name.split(".")[0] for name in weights).most_common()))
    if "layer0.0.weight" not in weights:
        family, classifier = RESNET, "fc.weight"
    else:
        children = {name.split(".")[0] for name in weights}
        family = PSP if "ppm" in children else PSA if "psa" in children else NO_CONTEXT
        classifier = "cls.4.weight"
    cells = weights.get("psa.attention.3.weight")
    return Identity(
        family,
        blocks=blocks,
        bottleneck=_shape(weights, "layer1.0.conv2.weight") == (64, 64, 3, 3) and "layer1.0.conv3.weight" in weights,
        stem={3: DEEP_STEM, 7: TORCHVISION_STEM}.get(stem_weight.shape[-1] if stem_weight.ndim == 4 else 0),
        classes=(_shape(weights, classifier) or (None,))[0],
        branches=_count(weights, r"ppm\.features\.(\d+)\."),
        mask_cells=0 if cells is None or not cells.ndim else cells.shape[0],
        psa_both="psa.attention_p.3.weight" in weights,
        has_aux="aux.4.weight" in weights,
    )


def differences(found: Identity, expected: Identity) -> list[str]:
    """Why a file does not fit a network, in words: each what `found` has in the place of what is `expected`."""
    if found.family == expected.family == UNKNOWN:
        # How many tensors each part has says nothing that their names do not say better.
        parts = [[name for name, _ in each.children[:SHOWN_CHILDREN]] for each in (found, expected)]
        has, wants = (", ".join(names) for names in parts)
        return [] if set(parts[0]) == set(parts[1]) else [f"parts {has} instead of {wants}"]
    if UNKNOWN in (found.family, expected.family):
        return [f"{found} instead of {expected}"]
    reasons = []
    if found.family != expected.family:
        reasons.append(f"{found.family} instead of {expected.family}")
    if (found.blocks, found.bottleneck) != (expected.blocks, expected.bottleneck):
        depths = [f"depth {i.depth}" if i.depth else i._describe_blocks() for i in (found, expected)]
        reasons.append(f"{depths[0]} instead of {depths[1]}")
    if found.stem != expected.stem:
        reasons.append(f"{STEM_NAMES[found.stem]} instead of {STEM_NAMES[expected.stem]}")
    if found.is_segmentation and expected.is_segmentation:
        compared = [("classes", found.classes, expected.classes)]
        if found.family == expected.family:
            compared += [
                ("pyramid branches", found.branches, expected.branches),
                ("attention cells", found.mask_cells, expected.mask_cells),
                ("attention branches", 1 + found.psa_both, 1 + expected.psa_both),
            ]
        reasons += [f"{has} {name} instead of {wants}" for name, has, wants in compared if has != wants]
        if found.has_aux != expected.has_aux:
            reasons.append(f"{'with' if found.has_aux else 'without'} the auxiliary classifier")
    return reasons


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in weights if (match := re.match(pattern, name))})


def _shape(weights: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(weights[name].shape) if name in weights else None
