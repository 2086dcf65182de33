"""What a network gives and says about itself, whoever wrote it: the contract between networks, losses and tests.

A network's forward gives the main logits and any number of auxiliary ones, each [N, K, h, w] at its own resolution.
Whether it returns them as a tensor, a tuple, torchvision's mapping or transformers' output is read off what it returns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from semseg_ref.base.console import warn
from semseg_ref.base.errors import OptionError

Outputs = tuple[Tensor, ...]
"""Logits, float [N, K, h, w] each: the main ones, then the auxiliary ones in the order of the loss weights."""

Resized = Literal["logits", "labels"]
TRAITS = ("align_corners", "random_at_test", "resized_for_loss", "size_rule", "size_step")
"""Attributes by which a network may say more about itself; whoever wraps one passes them on."""
MAIN_KEYS = ("out", "logits")
"""Of the main logits in a mapping: torchvision's and transformers' names."""
AUXILIARY = "aux"


def outputs_of(returned: Any) -> Outputs:
    """The logits in what a network returned.

    Args:
        returned: a tensor; a tuple or list of tensors, main first, in which None stands for a head that is left out; or
            a mapping with `out` or `logits`, and any number of keys that begin with `aux`, in their order.

    Raises:
        TypeError: none of these; the message says what it is.
    """
    if isinstance(returned, Tensor):
        return (returned,)
    if isinstance(returned, Mapping):
        main = next((returned[key] for key in MAIN_KEYS if key in returned), None)
        parts = [main, *(value for key, value in returned.items() if str(key).startswith(AUXILIARY))]
    elif isinstance(returned, (tuple, list)):
        parts = list(returned)
    else:
        raise TypeError(type(returned).__name__)
    heads = tuple(part for part in parts if part is not None)
    if not parts or parts[0] is None or not all(isinstance(head, Tensor) for head in heads):
        raise TypeError(_described(returned))
    return heads


def _described(returned: Any) -> str:
    if isinstance(returned, Mapping):
        return f"{type(returned).__name__} with the keys {', '.join(map(str, list(returned)[:6]))}"
    kinds = ", ".join(type(part).__name__ for part in returned[:4])
    return f"{type(returned).__name__} of {len(returned)} ({kinds})"


@dataclass(frozen=True)
class SizeRule:
    """Sides of images that a network takes: multiples of `step`, plus `rest`, of `least` pixels or more."""

    step: int
    rest: int = 0
    least: int = 1

    def at_least(self, side: int) -> int:
        """The smallest possible side of at least so many pixels."""
        wanted = max(side, self.least)
        return max(-(-(wanted - self.rest) // self.step), 0 if self.rest else 1) * self.step + self.rest

    def check(self, side: int, what: str) -> None:
        """Raises OptionError, naming `what` and the nearest sides, unless a side in pixels is possible."""
        first = self.at_least(1)
        if side >= first and (side - self.rest) % self.step == 0:
            return
        if side < first and self.least > 1:
            raise OptionError(f"{what} is too small for the network; nearest: {first}")
        below = max((side - self.rest) // self.step, 0) * self.step + self.rest
        plus = f" plus {self.rest}" if self.rest else ""
        nearest = ", ".join(str(each) for each in (below, below + self.step) if each > 0)
        raise OptionError(f"{what} is not possible: it has to be a multiple of {self.step}{plus}; nearest: {nearest}")


def size_rule_of(network: nn.Module) -> SizeRule | None:
    """The sides that a network says it takes; None where it says nothing.

    That is an attribute `size_rule` (a `SizeRule`, or its step); `size_step`, the reference's (multiples plus 1); or,
    of segmentation_models_pytorch, `requires_divisible_input_shape` with the encoder's stride.
    """
    rule, step = getattr(network, "size_rule", None), getattr(network, "size_step", None)
    if isinstance(rule, SizeRule):
        return rule
    if isinstance(rule, int):
        return SizeRule(rule)
    if isinstance(step, int):
        return SizeRule(step, rest=1)
    stride = getattr(getattr(network, "encoder", None), "output_stride", None)
    if getattr(network, "requires_divisible_input_shape", False) and isinstance(stride, int):
        return SizeRule(stride)
    return None


def check_sides(network: nn.Module, sides: Sequence[int], what: str) -> None:
    """Refuses images of a size that a network says it cannot take, before the first one.

    Args:
        network: says so itself, see `size_rule_of`.
        sides: (height, width) in pixels.
        what: where they stand in the recipe, as `data.crop`.

    Raises:
        OptionError: naming the side and the nearest possible ones.
    """
    rule = size_rule_of(network)
    for side in () if rule is None else sides:
        rule.check(side, f"{what}: {side}")


def align_corners_of(network: nn.Module) -> bool:
    """How a network's logits are brought to the size of its input: with corner pixels on each other (True) or not.

    A network says so in an attribute `align_corners`; False, as most libraries do it, where it says nothing.
    """
    return bool(getattr(network, "align_corners", False))


def says_align_corners(network: nn.Module) -> bool:
    """Whether a network says it, so that nobody has to assume it."""
    return hasattr(network, "align_corners")


def warn_of_assumed_alignment(network: nn.Module, logits: Tensor, size: Sequence[int]) -> None:
    """A line where logits smaller than the input will be resized in a way that the network did not ask for."""
    if tuple(logits.shape[-2:]) != tuple(size) and not says_align_corners(network):
        name = type(network).__name__
        warn(
            f"model: {name} gives logits of {logits.shape[-2]} x {logits.shape[-1]} for {size[0]} x {size[1]} and has "
            "no attribute align_corners: they are resized without aligned corners, as most libraries do"
        )


def resized_for_loss(network: nn.Module) -> Resized:
    """What a network wants resized where logits and labels differ in size; logits where it says nothing."""
    return getattr(network, "resized_for_loss", "logits")
