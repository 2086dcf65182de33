"""A test protocol as a value: everything outside the network that can change its score, with a hash."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from semseg_ref.base.errors import OptionError, did_you_mean
from semseg_ref.base.image_statistics import MEAN, STD

MULTI_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
OUTPUT_STRIDE = 8
SCORERS = ("semseg", "cityscapesscripts")
WHOLE_IMAGE = "image"
CHOICES = {
    "scorer": SCORERS,
    "rounding": ("half_even", "half_up"),
    "resize": ("opencv", "opencv_uint8", "pillow", "aligned"),
    "pad_at": ("centre", "end"),
    "softmax": ("window", "view", "never"),
    "mirrored": ("window", "image"),
    "resize_back": ("bilinear", "bilinear_aligned", "nearest"),
}
LATER_FIELDS = (
    "rounding", "resize", "pad_to", "pad_at", "pad_value", "stride", "softmax", "mirrored", "resize_back"
)  # fmt: skip
"""Fields whose default is the reference's behaviour; there they are neither in the dict nor in the hash, so that scores
from before there were such fields stay as they are."""


def _numbers(name: str, value: Any, length: int | None = None, above: float | None = None) -> tuple[float, ...]:
    """`value` as a tuple of finite floats, of `length` and each larger than `above`."""
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        numbers = ()
    valid = bool(numbers) and all(math.isfinite(v) and (above is None or v > above) for v in numbers)
    if not valid or (length is not None and len(numbers) != length):
        count = "one or more" if length is None else str(length)
        bound = "" if above is None else f" > {above:g}"
        raise OptionError(f"protocol: {name} {value!r}: expected {count} numbers{bound}")
    return numbers


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"protocol: {name} {value!r}: expected a positive whole number")
    return value


def _pair(name: str, value: Any, expected: str) -> tuple[int, int]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise OptionError(f"protocol: {name} {value!r}: expected {expected}")
    return _whole(name, value[0]), _whole(name, value[1])


@dataclass(frozen=True)
class Protocol:
    """How an image becomes class scores: the reference's TEST section, its tester's constants, and what others vary.

    The defaults of all fields but the first two are the reference's behaviour, and `semseg_ref.tester` carries out that
    alone; `catalyst_cityscapes.inference` carries out every protocol.

    Args:
        crop: (height, width) of a window in pixels, at least 1, or "image": the whole image is one window. What sides a
            network takes is its own to say.
        base_size: size of the image at scale 1: the length of its long side in pixels; a box (long, short) that it is
            fitted into with its ratio kept; or "image": its own size.
        scales: factors on `base_size`; what the scales give is averaged.
        flip: average with the mirror image, see `mirrored`.
        stride_rate: step between windows as a share of the crop, 0 < rate <= 1, rounded up to whole pixels.
        mean, std: normalisation in grey levels, RGB; std None only subtracts. `mean` is also the padding colour.
        name: a label; no part of the hash.
        scorer: whose arithmetic makes mIoU of the predictions: `semseg` is the reference's (an absent class counts as
            0), `cityscapesscripts` the official script on exported label ids (an absent class is left out).
        rounding: of the scaled sides: `half_even`, python's, or `half_up`, int(x + 0.5).
        resize: what brings the image to its size, always bilinear: `opencv` on float32 values, `opencv_uint8` on grey
            levels, which it rounds to, `pillow` (grey levels, antialiased), or `aligned`, torch's on float32 values
            with aligned corners.
        pad_to: `crop`: sides shorter than the crop are padded to it; `none`: the window shrinks to the image instead;
            or a number of pixels of which padded sides are multiples.
        pad_at: padding on both sides of the image (`centre`) or at the bottom and the right only (`end`).
        pad_value: the padding's colour in grey levels, RGB; None is `mean`, which normalisation makes 0.
        stride: step between windows in pixels, (down, right), instead of `stride_rate`.
        softmax: of each window before any averaging (`window`); of each scale's and mirror image's mean logits, at the
            image's own size (`view`); or `never`: the averages are of logits, and so is the result.
        mirrored: what `flip` mirrors: each `window`, or the `image` before it is padded and cut into windows.
        resize_back: of the scores to the image's own size: `bilinear`, `bilinear_aligned` (aligned corners), or
            `nearest`, which gives the class map that nearest resizing of the classes would.

    Raises:
        OptionError: a value outside these rules, or values that have no meaning together.
    """

    crop: tuple[int, int] | Literal["image"]
    base_size: int | tuple[int, int] | Literal["image"]
    scales: tuple[float, ...] = (1.0,)
    flip: bool = True
    stride_rate: float = 2 / 3
    mean: tuple[float, float, float] = tuple(MEAN)
    std: tuple[float, float, float] | None = tuple(STD)
    name: str | None = None
    scorer: str = SCORERS[0]
    rounding: str = "half_even"
    resize: str = "opencv"
    pad_to: int | str = "crop"
    pad_at: str = "centre"
    pad_value: tuple[float, float, float] | None = None
    stride: tuple[int, int] | None = None
    softmax: str = "window"
    mirrored: str = "window"
    resize_back: str = "bilinear"

    def __post_init__(self) -> None:
        if not isinstance(self.flip, bool):
            raise OptionError(f"protocol: flip {self.flip!r}: expected True or False")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise OptionError(f"protocol: {name} '{value}'{did_you_mean(str(value), choices)}")
        if isinstance(self.pad_to, str) and self.pad_to not in ("crop", "none"):
            raise OptionError(f"protocol: pad_to {self.pad_to!r}: expected crop, none or a number of pixels")
        rate = _numbers("stride_rate", [self.stride_rate], 1, above=0)[0]
        if rate > 1:
            raise OptionError(f"protocol: stride_rate {rate}: expected 0 < rate <= 1, else windows leave gaps")
        values = {
            "crop": WHOLE_IMAGE if self.crop == WHOLE_IMAGE else _pair("crop", self.crop, "(height, width) or 'image'"),
            "base_size": self._checked_base_size(),
            "scales": _numbers("scales", self.scales, above=0),
            "stride_rate": rate,
            "mean": _numbers("mean", self.mean, 3),
            "std": None if self.std is None else _numbers("std", self.std, 3, above=0),
            "pad_to": self.pad_to if isinstance(self.pad_to, str) else _whole("pad_to", self.pad_to),
            "pad_value": None if self.pad_value is None else _numbers("pad_value", self.pad_value, 3),
            "stride": None if self.stride is None else _pair("stride", self.stride, "(down, right) in pixels"),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)
        self._check_together()

    def _checked_base_size(self) -> int | tuple[int, int] | str:
        if self.base_size == WHOLE_IMAGE:
            return WHOLE_IMAGE
        if isinstance(self.base_size, (list, tuple)):
            return _pair("base_size", self.base_size, "a long side, a box (long, short) or 'image'")
        if isinstance(self.base_size, str):
            raise OptionError(
                f"protocol: base_size '{self.base_size}': expected a long side in pixels, a box (long, "
                "short) or 'image'"
            )
        return _whole("base_size", self.base_size)

    def _check_together(self) -> None:
        """Refuses values that would have no effect, or none that makes sense, beside others."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = {name for name in defaults if getattr(self, name) != defaults[name]}
        whole_image = self.crop == WHOLE_IMAGE
        rules = [
            (whole_image and self.pad_to == "crop", "pad_to crop", "crop is the image; none, or a multiple in pixels"),
            (whole_image and "stride" in given, f"stride {self.stride}", "crop is the image, there is one window"),
            (
                whole_image and "stride_rate" in given,
                f"stride_rate {self.stride_rate:g}",
                "crop is the image, there is one window",
            ),
            (
                {"stride", "stride_rate"} <= given,
                f"stride {self.stride} beside stride_rate {self.stride_rate:g}",
                "one of the two",
            ),
            (
                not whole_image
                and self.stride is not None
                and any(step > side for step, side in zip(self.stride, self.crop, strict=True)),
                f"stride {self.stride}",
                f"expected no more than the crop {self.crop}, else windows leave gaps",
            ),
            (
                self.pad_to == "none" and "pad_value" in given,
                f"pad_value {self.pad_value}",
                "nothing is padded (pad_to none)",
            ),
            (not self.flip and "mirrored" in given, f"mirrored {self.mirrored}", "nothing is mirrored (flip false)"),
        ]
        for is_wrong, what, why in rules:
            if is_wrong:
                raise OptionError(f"protocol: {what}: {why}")

    @property
    def beyond_reference(self) -> dict[str, Any]:
        """The values, by field, that ask for something which the reference's tester does not do."""
        entries = self.to_dict()
        found = {name: entries[name] for name in LATER_FIELDS if name in entries}
        if self.crop == WHOLE_IMAGE:
            found["crop"] = self.crop
        if not isinstance(self.base_size, int):
            found["base_size"] = entries["base_size"]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or YAML; `from_dict` is the inverse.

        Without those of `LATER_FIELDS` that are the reference's.
        """
        entries = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if field.name in LATER_FIELDS and entries[field.name] == field.default:
                del entries[field.name]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in entries.items()}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "Protocol":
        """The protocol of `to_dict`'s result.

        Raises:
            OptionError: an unknown or missing key, or an invalid value.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in entries:
            if key not in fields:
                raise OptionError(f"protocol: unknown key '{key}'{did_you_mean(str(key), fields)}")
        for key, field in fields.items():
            if field.default is dataclasses.MISSING and key not in entries:
                raise OptionError(f"protocol: key '{key}' is missing")
        return cls(**entries)

    @property
    def hash(self) -> str:
        """12 hexadecimal digits over every value except the name: equal hashes mean comparable scores."""
        entries = {key: value for key, value in self.to_dict().items() if key != "name"}
        if self.scorer == SCORERS[0]:
            del entries["scorer"]  # score files from before there were two scorers keep their hash
        canonical = json.dumps(entries, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def semseg_ss(crop: Sequence[int] = (713, 713), base_size: int = 2048, **values: Any) -> Protocol:
    """The reference's single-scale protocol; the defaults are Cityscapes' (published 0.7730 for PSPNet-50)."""
    return Protocol(crop, base_size, **{"name": "semseg-ss", **values})


def semseg_ms(crop: Sequence[int] = (713, 713), base_size: int = 2048, **values: Any) -> Protocol:
    """The reference's multi-scale protocol with its six scales (published 0.7838 for PSPNet-50 on Cityscapes)."""
    return Protocol(crop, base_size, **{"scales": MULTI_SCALES, "name": "semseg-ms", **values})


def whole(height: int = 1024, width: int = 2048, **values: Any) -> Protocol:
    """One pass over the whole image without flip, as mmsegmentation tests.

    The window is the next size of the form 8 k + 1 (1025 x 2049 on Cityscapes), so the image is padded by a few pixels.

    Args:
        height, width: size of the data set's images in pixels.
    """
    crop = tuple(-(-(_whole("image size", side) - 1) // OUTPUT_STRIDE) * OUTPUT_STRIDE + 1 for side in (height, width))
    return Protocol(crop, max(height, width), **{"flip": False, "name": "whole", **values})


def official(crop: Sequence[int] = (713, 713), base_size: int = 2048, **values: Any) -> Protocol:
    """The predictions of `semseg_ss`, exported as label ids and scored by cityscapesScripts."""
    return semseg_ss(crop, base_size, **{"name": "official", "scorer": "cityscapesscripts", **values})


PROTOCOLS: dict[str, Callable[..., Protocol]] = {
    "semseg-ss": semseg_ss,
    "semseg-ms": semseg_ms,
    "whole": whole,
    "official": official,
}


def named_protocol(name: str, **values: Any) -> Protocol:
    """The protocol called `name`, with `values` instead of its defaults.

    Raises:
        OptionError: unknown name or value.
    """
    if name not in PROTOCOLS:
        raise OptionError(f"protocol '{name}'{did_you_mean(str(name), PROTOCOLS)}")
    try:
        return PROTOCOLS[name](**values)
    except TypeError as error:
        raise OptionError(f"protocol '{name}': {error}") from error


def preset_values(name: str) -> dict[str, Any]:
    """What a protocol's name fixes whatever the data set: scales, flip, stride_rate and scorer.

    Crop and base size are the data set's.

    Raises:
        OptionError: unknown name.
    """
    entries = named_protocol(name).to_dict()
    return {key: entries[key] for key in ("scales", "flip", "stride_rate", "scorer")}


def protocol_from_cfg(cfg: Mapping[str, Any]) -> Protocol:
    """The protocol of an official config: keys test_h, test_w, base_size and scales; flip and the rest are constants.

    Raises:
        OptionError: a missing key or an invalid value, as a window that the reference's networks cannot take.
    """
    for key in ("test_h", "test_w", "base_size", "scales"):
        if key not in cfg:
            raise OptionError(f"config: key '{key}' (section TEST) is missing")
    for side in (cfg["test_h"], cfg["test_w"]):
        if (_whole("crop", side) - 1) % OUTPUT_STRIDE or side == 1:
            below = max((side - 1) // OUTPUT_STRIDE, 1) * OUTPUT_STRIDE + 1
            nearest = f"{below}" if side < below else f"{below} or {below + OUTPUT_STRIDE}"
            raise OptionError(f"protocol: crop {side}: crop - 1 must be a multiple of 8; nearest: {nearest}")
    scales = _numbers("scales", cfg["scales"], above=0)
    names = {(1.0,): "semseg-ss", MULTI_SCALES: "semseg-ms"}
    return Protocol((cfg["test_h"], cfg["test_w"]), cfg["base_size"], scales, name=names.get(scales))


def scaled_size(height: int, width: int, scale: float, base_size: int) -> tuple[int, int]:
    """(height, width) of an image at a scale: its long side becomes `round(scale * base_size)`.

    Both roundings are python's, half to even, and the short side is computed as `long / old_long * old_short` in that
    order, as in the reference.
    """
    long_side = round(scale * base_size)
    if height > width:
        return long_side, round(long_side / float(height) * width)
    return round(long_side / float(width) * height), long_side


def padding(height: int, width: int, crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) pixels that bring an image to at least the crop; the smaller half comes first."""
    pad_h, pad_w = max(crop[0] - height, 0), max(crop[1] - width, 0)
    return pad_h // 2, pad_h - pad_h // 2, pad_w // 2, pad_w - pad_w // 2


def _starts(size: int, crop: int, stride: int) -> list[int]:
    positions = math.ceil((size - crop) / stride) + 1
    return [min(k * stride + crop, size) - crop for k in range(positions)]


def window_positions(
    size_h: int, size_w: int, crop: tuple[int, int], stride_rate: float = 2 / 3
) -> list[tuple[int, int, int, int]]:
    """Windows (top, bottom, left, right) over a padded image, row by row; ends are exclusive.

    The last window of a row or column is shifted back to end at the border, so all have the size of the crop.

    Args:
        size_h, size_w: size of the padded image, at least the crop.
        crop: (height, width) of a window.
        stride_rate: step as a share of the crop, rounded up to pixels.
    """
    crop_h, crop_w = crop
    rows = _starts(size_h, crop_h, math.ceil(crop_h * stride_rate))
    columns = _starts(size_w, crop_w, math.ceil(crop_w * stride_rate))
    return [(top, top + crop_h, left, left + crop_w) for top in rows for left in columns]
