"""A test protocol as a value: everything outside the network that can change its score, with a hash."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semseg_ref.base.errors import OptionError, did_you_mean
from semseg_ref.base.image_statistics import MEAN, STD

MULTI_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
OUTPUT_STRIDE = 8
SCORERS = ("semseg", "cityscapesscripts")


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


@dataclass(frozen=True)
class Protocol:
    """How an image becomes class probabilities (the reference's TEST section and its tester's constants).

    Args:
        crop: (height, width) of a window in pixels; at least 1. What sides a network takes is its own to say.
        base_size: length in pixels of the image's long side at scale 1.
        scales: factors on `base_size`; the scales' probabilities are averaged.
        flip: average each window with its mirror image.
        stride_rate: step between windows as a share of the crop, 0 < rate <= 1, rounded up to whole pixels.
        mean, std: normalisation in grey levels, RGB; std None only subtracts. `mean` is also the padding colour.
        name: a label; no part of the hash.
        scorer: whose arithmetic makes mIoU of the predictions: `semseg` is the reference's (an absent class counts as
            0), `cityscapesscripts` the official script on exported label ids (an absent class is left out).

    Raises:
        OptionError: a value outside these rules.
    """

    crop: tuple[int, int]
    base_size: int
    scales: tuple[float, ...] = (1.0,)
    flip: bool = True
    stride_rate: float = 2 / 3
    mean: tuple[float, float, float] = tuple(MEAN)
    std: tuple[float, float, float] | None = tuple(STD)
    name: str | None = None
    scorer: str = SCORERS[0]

    def __post_init__(self) -> None:
        if isinstance(self.crop, str) or not isinstance(self.crop, Sequence) or len(self.crop) != 2:
            raise OptionError(f"protocol: crop {self.crop!r}: expected (height, width)")
        for side in self.crop:
            _whole("crop", side)
        if not isinstance(self.flip, bool):
            raise OptionError(f"protocol: flip {self.flip!r}: expected True or False")
        if self.scorer not in SCORERS:
            raise OptionError(f"protocol: scorer '{self.scorer}'{did_you_mean(str(self.scorer), SCORERS)}")
        rate = _numbers("stride_rate", [self.stride_rate], 1, above=0)[0]
        if rate > 1:
            raise OptionError(f"protocol: stride_rate {rate}: expected 0 < rate <= 1, else windows leave gaps")
        values = {
            "crop": tuple(self.crop),
            "base_size": _whole("base_size", self.base_size),
            "scales": _numbers("scales", self.scales, above=0),
            "stride_rate": rate,
            "mean": _numbers("mean", self.mean, 3),
            "std": None if self.std is None else _numbers("std", self.std, 3, above=0),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or YAML; `from_dict` is the inverse."""
        entries = dataclasses.asdict(self)
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
