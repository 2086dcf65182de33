"""Rules about the protocol that a recipe is tested with."""

import math
from collections.abc import Iterator

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import CLAIMED, PROTOCOLS
from catalyst_cityscapes.recipe.named_protocols import NAMED
from semseg_ref.protocol import WHOLE_IMAGE, preset_values

OFFICIAL_PROTOCOL = "semseg-ss"


def _flip(facts: Facts) -> Iterator[Diagnostic]:
    if facts.protocol is not None and not facts.protocol.flip:
        yield Diagnostic(
            "warning",
            "the test does not average with the mirror image; the official single scale does",
            {"flip": False},
        )


def _scales(facts: Facts) -> Iterator[Diagnostic]:
    if facts.protocol is None:
        return
    wanted = tuple(preset_values(OFFICIAL_PROTOCOL)["scales"])
    if facts.protocol.scales != wanted:
        named = facts.protocol.name in NAMED
        yield Diagnostic(
            "note" if named else "warning",
            f"the test averages {len(facts.protocol.scales)} scales "
            f"({', '.join(f'{s:g}' for s in facts.protocol.scales)}); 0.7730 is of scale 1 alone",
            {"scales": list(facts.protocol.scales)},
        )


def _window(facts: Facts) -> Iterator[Diagnostic]:
    protocol, crop = facts.protocol, tuple(facts.recipe.data.crop)
    if protocol is not None and protocol.crop == WHOLE_IMAGE:
        yield Diagnostic(
            "warning",
            f"the test's window is the whole image, the training crop {crop[0]} x {crop[1]}",
            {"window": protocol.crop, "crop": list(crop)},
        )
    elif protocol is not None and protocol.crop != crop:
        yield Diagnostic(
            "warning",
            f"the test's window is {protocol.crop[0]} x {protocol.crop[1]}, the training crop {crop[0]} x {crop[1]}",
            {"window": list(protocol.crop), "crop": list(crop)},
        )


def _stride(facts: Facts) -> Iterator[Diagnostic]:
    wanted = preset_values(OFFICIAL_PROTOCOL)["stride_rate"]
    if facts.protocol is not None and facts.protocol.crop == WHOLE_IMAGE:
        return
    if facts.protocol is not None and facts.protocol.stride is not None:
        stride = facts.protocol.stride
        if list(stride) != [math.ceil(side * wanted) for side in facts.protocol.crop]:
            yield Diagnostic(
                "warning",
                f"windows step by {stride[0]} x {stride[1]} pixels, official {wanted:.3g} of their size",
                {"stride": list(stride)},
            )
    elif facts.protocol is not None and abs(facts.protocol.stride_rate - wanted) > 1e-9:
        yield Diagnostic(
            "warning",
            f"windows step by {facts.protocol.stride_rate:.3g} of their size, official {wanted:.3g}",
            {"stride_rate": facts.protocol.stride_rate},
        )


def _base_size(facts: Facts) -> Iterator[Diagnostic]:
    if facts.protocol is None or facts.lists is None:
        return
    if abs(facts.test_scale - 1) > 0.01:
        yield Diagnostic(
            "warning",
            f"at scale 1 the long side of {max(facts.test_size)} pixels is tested at {facts.protocol.base_size} "
            f"({facts.test_scale:.2f} times)",
            {"base_size": facts.protocol.base_size, "long_side": max(facts.test_size)},
            f"protocol.base_size: {max(facts.test_size)}",
        )


def _scorer(facts: Facts) -> Iterator[Diagnostic]:
    wanted = preset_values(OFFICIAL_PROTOCOL)["scorer"]
    if facts.protocol is not None and facts.protocol.scorer != wanted:
        yield Diagnostic(
            "note",
            f"mIoU is computed by {facts.protocol.scorer}, which leaves absent classes out; the published "
            f"number by {wanted}",
            {"scorer": facts.protocol.scorer},
        )


def _expected(facts: Facts) -> Iterator[Diagnostic]:
    expected = facts.recipe.expected
    if expected is None or expected.miou is None or expected.protocol is None or facts.protocol is None:
        return
    if facts.protocol.name != expected.protocol:
        yield Diagnostic(
            "warning",
            f"the expected {expected.miou:.4f} is of protocol {expected.protocol}, the recipe tests with "
            f"{facts.protocol.name or 'one without a name'}",
            {"expected": expected.protocol, "protocol": facts.protocol.name},
        )


SCORED = "the recipe's resolved protocol"
RULES = (
    Rule(
        "protocol-flip",
        ("warning",),
        "official recipe",
        SCORED,
        "protocol.flip: true",
        _flip,
        (PROTOCOLS,),
        official_only=True,
    ),
    Rule(
        "protocol-scales",
        ("warning", "note"),
        "official recipe",
        SCORED,
        "protocol.name: semseg-ss",
        _scales,
        (PROTOCOLS,),
        official_only=True,
    ),
    Rule(
        "protocol-window",
        ("warning",),
        "official recipe",
        SCORED,
        "protocol.crop: ${data.crop}",
        _window,
        (PROTOCOLS,),
        official_only=True,
    ),
    Rule(
        "protocol-stride",
        ("warning",),
        "official recipe",
        SCORED,
        "protocol.name: semseg-ss, and no stride_rate",
        _stride,
        (PROTOCOLS,),
        official_only=True,
    ),
    Rule(
        "protocol-base-size",
        ("warning",),
        "data",
        f"{SCORED} beside a validation image",
        "see the finding",
        _base_size,
        (PROTOCOLS,),
    ),
    Rule(
        "protocol-scorer",
        ("note",),
        "official recipe",
        SCORED,
        "protocol.name: semseg-ss",
        _scorer,
        (CLAIMED,),
        official_only=True,
    ),
    Rule(
        "expected-of-other-protocol",
        ("warning",),
        "own words",
        SCORED,
        "expected: null, or the protocol that the number was measured with",
        _expected,
        (PROTOCOLS, CLAIMED),
    ),
)
