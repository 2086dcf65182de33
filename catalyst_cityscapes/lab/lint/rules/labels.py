"""Rules about what an augmentation does to the labels."""

import math
from collections.abc import Iterator

import numpy as np

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import IGNORED_SCORED, MASK_VALUE, MASK_VALUE_TOO

DRAWN = "labels of known classes and bands sent through the real augmentation beside known images"
ALIGNED = 0.97


def _interpolated(facts: Facts) -> Iterator[Diagnostic]:
    broken = sum(not draw.labels_kept for draw in facts.draws)
    if broken:
        yield Diagnostic(
            "error",
            f"{broken} of {len(facts.draws)} draws make label values that were not in the label: it is interpolated "
            "between classes",
            {"draws": len(facts.draws), "broken": broken},
        )


def _misaligned(facts: Facts) -> Iterator[Diagnostic]:
    # Without repeatable draws the known images of one draw do not belong together.
    repeatable = facts.randomness is None or facts.randomness.repeatable
    if not repeatable or any(not draw.labels_kept for draw in facts.draws):
        return
    shares = [draw.labels_aligned for draw in facts.draws if math.isfinite(draw.labels_aligned)]
    if shares and min(shares) < ALIGNED:
        off = sum(share < ALIGNED for share in shares)
        yield Diagnostic(
            "error",
            f"in {off} of {len(shares)} draws labels and pixels come from different places: only {min(shares):.0%} of "
            "the visible pixels carry the label of where they come from",
            {"aligned": min(shares), "draws": len(shares), "off": off},
        )


def _padding(facts: Facts) -> Iterator[Diagnostic]:
    shares = [draw.padding_ignored for draw in facts.draws if math.isfinite(draw.padding_ignored)]
    if shares and min(shares) < 0.99:
        wrong = sum(share < 0.99 for share in shares)
        yield Diagnostic(
            "error",
            f"{wrong} of the {len(shares)} draws with padding give it a class: {min(shares):.0%} of the padded pixels "
            f"are {facts.recipe.data.ignore_index} in the worst",
            {"ignored": min(shares), "draws": len(shares), "wrong": wrong},
        )


def _hidden(facts: Facts) -> Iterator[Diagnostic]:
    shares = [draw.labels_ignored for draw in facts.draws if math.isfinite(draw.labels_ignored)]
    if shares and np.median(shares) > 0.01:
        yield Diagnostic(
            "error",
            f"{np.median(shares):.0%} of the visible pixels lose their label (median of {len(shares)} draws)",
            {"median": float(np.median(shares)), "draws": len(shares)},
        )


def _nothing_visible(facts: Facts) -> Iterator[Diagnostic]:
    empty = sum(draw.visible < 0.05 for draw in facts.draws)
    if empty:
        yield Diagnostic(
            "warning",
            f"{empty} of {len(facts.draws)} draws show less than 5% image, the rest is padding",
            {"draws": len(facts.draws), "empty": empty},
        )


RULES = (
    Rule(
        "label-interpolated",
        ("error",),
        "official recipe",
        DRAWN,
        "resize and rotate labels with the nearest neighbour (cv2.INTER_NEAREST)",
        _interpolated,
        (IGNORED_SCORED,),
    ),
    Rule(
        "label-misaligned",
        ("error",),
        "official recipe",
        DRAWN,
        "give the label every geometric change of its image, with the same draws",
        _misaligned,
    ),
    Rule(
        "padding-not-ignored",
        ("error",),
        "own words",
        DRAWN,
        "fill labels outside the image with ${data.ignore_index} in every step that pads, rotates or shifts",
        _padding,
        (MASK_VALUE, MASK_VALUE_TOO),
    ),
    Rule(
        "visible-ignored",
        ("error",),
        "official recipe",
        DRAWN,
        "find the step that writes the ignore index over pixels that are there",
        _hidden,
    ),
    Rule(
        "nothing-visible",
        ("warning",),
        "official recipe",
        DRAWN,
        "raise the smallest scale, or make data.crop smaller",
        _nothing_visible,
    ),
)
