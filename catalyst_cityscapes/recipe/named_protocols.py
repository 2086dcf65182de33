"""All protocols that have a name: the reference's, and those of other families, which are one entry each here.

What a name means is `build`. Of that, `free` is what a recipe may set without losing the name, because it is the data
set's or the network's; everything else is what the name stands for.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from semseg_ref.base.errors import OptionError, did_you_mean
from semseg_ref.protocol import MULTI_SCALES, PROTOCOLS, WHOLE_IMAGE, Protocol

ALWAYS_FREE = frozenset({"name", "crop", "base_size", "mean", "std"})


@dataclass(frozen=True)
class NamedProtocol:
    """A name's meaning.

    Args:
        build: the protocol, with the values given instead of its own.
        free: fields that a recipe may set under this name, besides crop, base size and normalisation.
        fitted: crop and base size are not taken over from the protocol that stood there before: where the recipe leaves
            them open they follow from the images.
        box: an open base size is the box (long, short) of the first image, not its long side.
    """

    build: Callable[..., Protocol]
    free: frozenset[str] = frozenset()
    fitted: bool = False
    box: bool = False

    def meaning(self) -> dict[str, Any]:
        """Plain values of all fields that the name decides or has a default for; not those of the images."""
        protocol = self.build()
        entries = {field.name: getattr(protocol, field.name) for field in dataclasses.fields(protocol)}
        open_here = {"name", "mean", "std"} | {key for key in ("crop", "base_size") if entries[key] != WHOLE_IMAGE}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in entries.items()
            if key not in open_here
        }


# mmsegmentation 1.2: images are resized as grey levels, nothing is padded, logits are averaged. The network decides the
# padding to a multiple (SegNeXt's 32, at the bottom and the right), the windows' step, and aligned corners on the way
# back.
_MMSEG = {
    "flip": False,
    "rounding": "half_up",
    "resize": "opencv_uint8",
    "pad_to": "none",
    "pad_at": "end",
    "softmax": "never",
}
_MMSEG_FREE = frozenset({"pad_to", "stride", "stride_rate", "resize_back"})


def mmseg_whole(
    crop: Sequence[int] | str = WHOLE_IMAGE, base_size: Sequence[int] | int | str = (2048, 1024), **values: Any
) -> Protocol:
    """mmsegmentation's test in mode `whole`: the image fitted into a box, in one pass; the result is logits."""
    return Protocol(crop, base_size, **{**_MMSEG, "name": "mmseg-whole", **values})


def mmseg_slide(
    crop: Sequence[int] | str = (769, 769), base_size: Sequence[int] | int | str = (2049, 1025), **values: Any
) -> Protocol:
    """mmsegmentation's test in mode `slide`: logits of windows are averaged; the sizes are its 769 recipes'.

    A window is no larger than the image. `stride` (769 recipes: 513, which is also 2/3 rounded up; SegFormer: 768 of
    1024) and `resize_back` (`bilinear_aligned` for networks whose heads align corners, as those of the 769 recipes;
    it is not taken from the network) are the recipe's.
    """
    return Protocol(crop, base_size, **{**_MMSEG, "name": "mmseg-slide", **values})


def mmseg_tta(
    crop: Sequence[int] | str = WHOLE_IMAGE, base_size: Sequence[int] | int | str = WHOLE_IMAGE, **values: Any
) -> Protocol:
    """mmsegmentation's test-time augmentation: six factors on the image's own size, each plain and mirrored.

    The softmax of each of the twelve logits maps at the image's size is averaged. A crop makes each pass a `slide`.
    """
    meant = {"scales": MULTI_SCALES, "flip": True, "mirrored": "image", "softmax": "view"}
    return Protocol(crop, base_size, **{**_MMSEG, **meant, "name": "mmseg-tta", **values})


NAMED: dict[str, NamedProtocol] = {
    **{name: NamedProtocol(build, fitted=name == "whole") for name, build in PROTOCOLS.items()},
    "mmseg-whole": NamedProtocol(mmseg_whole, _MMSEG_FREE - {"stride", "stride_rate"}, fitted=True, box=True),
    "mmseg-slide": NamedProtocol(mmseg_slide, _MMSEG_FREE, fitted=True, box=True),
    "mmseg-tta": NamedProtocol(mmseg_tta, _MMSEG_FREE, fitted=True),
}


def named(name: str, **values: Any) -> Protocol:
    """The protocol called `name`, with `values` instead of its defaults.

    A value that the name does not leave open takes the name away, as in a recipe.

    Raises:
        OptionError: unknown name, field or value.
    """
    if name not in NAMED:
        raise OptionError(f"protocol '{name}'{did_you_mean(str(name), NAMED)}")
    fields = [field.name for field in dataclasses.fields(Protocol)]
    # The size of the images is an argument of `whole` alone, which makes a crop of it.
    for key in values:
        if key not in fields and not (name == "whole" and key in ("height", "width")):
            raise OptionError(f"protocol '{name}': unknown key '{key}'{did_you_mean(str(key), fields)}")
    made = [key for key in ("crop", "base_size") if name == "whole" and key in values]
    if made:
        raise OptionError(f"protocol 'whole': {made[0]} {values[made[0]]}: follows from height and width; give these")
    protocol = NAMED[name].build(**values)
    fixed = values.keys() - NAMED[name].free - ALWAYS_FREE - {"height", "width"}
    if "name" in values or not fixed:
        return protocol
    plain = NAMED[name].build(**{key: value for key, value in values.items() if key not in fixed})
    is_meant = all(getattr(protocol, key) == getattr(plain, key) for key in fixed)
    return protocol if is_meant else dataclasses.replace(protocol, name=None)
