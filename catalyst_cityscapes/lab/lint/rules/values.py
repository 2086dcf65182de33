"""Rules about pixel values: normalisation, colour order, blur, and the arithmetic of the installed OpenCV."""

import math
from collections.abc import Iterator

import cv2
import numpy as np

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import FOUNDING, NORMALISATION
from semseg_ref.transform import MEAN, STD

CROP_FIRST = "catalyst_cityscapes.data.augmentation.CropFirst"
STATISTICS = "augmentation.steps.normalize: mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375]"
GREY = "black, white and coloured images sent through the real augmentation"


def _drawn(facts: Facts) -> tuple[np.ndarray, np.ndarray] | None:
    # Where draws cannot be repeated, the known images of one draw do not belong together.
    repeatable = facts.randomness is None or facts.randomness.repeatable
    drawn = [(draw.mean, draw.std) for draw in facts.draws if np.isfinite(draw.mean).all()]
    if not drawn or not repeatable:
        return None
    means, stds = (np.array(values) for values in zip(*drawn, strict=True))
    return means, stds


def _statistics(facts: Facts) -> tuple[np.ndarray, np.ndarray] | None:
    drawn = _drawn(facts)
    return None if drawn is None else (np.median(drawn[0], axis=0), np.median(drawn[1], axis=0))


def _tested_with(facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    return np.array(facts.protocol.mean), np.array(facts.protocol.std or (1.0, 1.0, 1.0))


def _text(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in values) + "]"


def _is_off_scale(facts: Facts) -> bool:
    found = _statistics(facts)
    ratio = found[1] / np.array(STD)
    return bool((ratio < 0.1).any() or (ratio > 10).any())


def _range(facts: Facts) -> Iterator[Diagnostic]:
    found = _statistics(facts)
    if found is None or facts.protocol is None or not _is_off_scale(facts):
        return
    mean, std = found
    tested = _tested_with(facts)
    yield Diagnostic(
        "error",
        f"values are normalised by mean {_text(mean)}, std {_text(std)} in grey levels, the test by "
        f"{_text(tested[0])}, {_text(tested[1])}, the official recipe by {_text(np.array(MEAN))}, "
        f"{_text(np.array(STD))}: another range (0..1 beside 0..255)",
        {"mean": mean.tolist(), "std": std.tolist()},
    )


def _unlike_test(facts: Facts) -> Iterator[Diagnostic]:
    found = _statistics(facts)
    if found is None or facts.protocol is None or _is_off_scale(facts):
        return
    (mean, std), tested = found, _tested_with(facts)
    # A colour augmentation moves the statistics from draw to draw; the test's must be among them.
    means, stds = _drawn(facts)
    if _is_among(means, stds, *tested):
        if not _is_among(means, stds, np.array(MEAN), np.array(STD)):
            yield _unlike_official(mean, std)
        return
    reverse = np.abs(mean[::-1] - tested[0]).max() <= 1
    yield Diagnostic(
        "error",
        f"training subtracts {_text(mean)} and divides by {_text(std)}, the test {_text(tested[0])} and "
        f"{_text(tested[1])}{': the same in the order blue, green, red' if reverse else ''}",
        {"mean": mean.tolist(), "std": std.tolist(), "reversed": bool(reverse)},
    )


def _is_among(means: np.ndarray, stds: np.ndarray, mean: np.ndarray, std: np.ndarray) -> bool:
    """Whether a mean and a deviation [3] lie in the range of the drawn ones [draws, 3], up to measuring errors."""
    means_fit = (means.min(axis=0) <= mean + 1) & (means.max(axis=0) >= mean - 1)
    stds_fit = (stds.min(axis=0) <= std * 1.02) & (stds.max(axis=0) >= std * 0.98)
    return bool(means_fit.all() and stds_fit.all())


def _unlike_official(mean: np.ndarray, std: np.ndarray) -> Diagnostic:
    # Training and test agree, the test having taken the training's: no fault, but other values than published weights.
    return Diagnostic(
        "warning",
        f"training and test subtract {_text(mean)} and divide by {_text(std)}, the official recipe "
        f"{_text(np.array(MEAN))} and {_text(np.array(STD))}, for which ImageNet weights were made",
        {"mean": mean.tolist(), "std": std.tolist()},
    )


def _order(facts: Facts) -> Iterator[Diagnostic]:
    if facts.colours is None or not np.isfinite(facts.colours.matrix).all():
        return
    if facts.colours.order != (0, 1, 2):
        names = "".join("RGB"[i] for i in facts.colours.order)
        yield Diagnostic(
            "error",
            f"the network gets its channels as {names}, the test gives it RGB",
            {"order": list(facts.colours.order)},
        )


def _mixed(facts: Facts) -> Iterator[Diagnostic]:
    found = _drawn(facts)
    drawn = np.empty((0, 3)) if found is None else found[1]
    shown = facts.colours is not None and np.isfinite(facts.colours.matrix).all()
    mixing = (
        float(np.abs(facts.colours.matrix - np.eye(3)).max()) if shown and facts.colours.order == (0, 1, 2) else 0.0
    )
    spread = float((drawn.max(axis=0) / drawn.min(axis=0)).max()) if len(drawn) > 1 else 1.0
    if spread > 1.02 or mixing > 0.02:
        yield Diagnostic(
            "warning",
            f"contrast differs by a factor of up to {spread:.2f} between draws and channels mix by {mixing:.2f}: a "
            "colour augmentation that the official recipe has not",
            {"contrast": spread, "mixing": mixing},
        )


def _input(facts: Facts) -> Iterator[Diagnostic]:
    samples = facts.samples
    if samples is None:
        return
    mean, std = np.array(samples.mean), np.array(samples.std)
    if np.abs(mean).max() > 2 or std.max() > 3 or std.min() < 0.15:
        yield Diagnostic(
            "warning",
            f"the network's input has mean {_text(mean)} and standard deviation {_text(std)} over {samples.count} "
            "samples, expected about 0 and 1",
            {"mean": mean.tolist(), "std": std.tolist(), "samples": samples.count},
        )


def _blur(facts: Facts) -> Iterator[Diagnostic]:
    if not any(step.draws for step in facts.steps):
        return
    blurs = [step for step in facts.steps if step.spread]
    wanted = facts.reference
    if not blurs:
        yield Diagnostic(
            "warning",
            f"no step blurs; official: a binomial 5 x 5 kernel (variance {wanted.blur_variance:g}) on half of "
            "the images",
            {"blurring": 0.0},
        )
    for step in blurs:
        low, high = min(step.spread), max(step.spread)
        fits = abs(low / wanted.blur_variance - 1) < 0.15 and abs(high / wanted.blur_variance - 1) < 0.15
        if not fits or not 0.25 <= step.blurring <= 0.75 or len(blurs) > 1:
            yield Diagnostic(
                "warning",
                f"step '{step.name}' spreads a pixel by a variance of {low:.2f} to {high:.2f} on {step.blurring:.0%} "
                f"of the draws; official {wanted.blur_variance:g} on {wanted.blurred:.0%}",
                {"step": step.name, "low": low, "high": high, "share": step.blurring},
            )


def _steps(facts: Facts) -> Iterator[Diagnostic]:
    if not facts.draws:
        return
    node = facts.reference.recipe.augmentation
    wanted = [node["steps"][name]["_target_"].rsplit(".", 1)[-1] for name in node["order"]]
    found = [step.kind for step in facts.steps]
    # CropFirst draws and computes the official steps, to the bit (tests/data/test_crop_first.py); its values are
    # measured.
    if found == wanted or facts.recipe.augmentation["_target_"] == CROP_FIRST:
        return
    if not found:
        what = f"{facts.recipe.augmentation['_target_'].rsplit('.', 1)[-1]}, whose steps cannot be looked at one by one"
    elif sorted(found) == sorted(wanted):
        what = f"the official steps in another order: {' > '.join(found)}"
    else:
        what = " > ".join(found)
    yield Diagnostic(
        "note", f"augmentation: {what}; official: {' > '.join(wanted)}", {"steps": found, "official": wanted}
    )


def _opencv(facts: Facts) -> Iterator[Diagnostic]:
    major, minor = (int(part) for part in cv2.__version__.split(".")[:2])
    if facts.warp_rounding > 0 or not (4, 5) <= (major, minor) <= (4, 11):
        yield Diagnostic(
            "warning",
            f"OpenCV {cv2.__version__} moves a ramp by {facts.warp_rounding:.2f} grey levels where OpenCV 4.5 to 4.11 "
            "round the position and move it by 0: rotated images have other pixels",
            {"version": cv2.__version__, "change": facts.warp_rounding},
        )


def _constant(facts: Facts) -> Iterator[Diagnostic]:
    lost = sum(not math.isfinite(value) for draw in facts.draws for value in draw.std if draw.visible > 0.05)
    if lost:
        yield Diagnostic(
            "error", f"{lost} channels of {len(facts.draws)} draws do not show the image at all", {"channels": lost}
        )


RULES = (
    Rule(
        "normalisation-range",
        ("error",),
        "own protocol",
        GREY,
        f"give the statistics in the image's range, which is 0..255: {STATISTICS}",
        _range,
        (NORMALISATION,),
    ),
    Rule(
        "normalisation-unlike-test",
        ("error", "warning"),
        "own protocol",
        GREY,
        STATISTICS,
        _unlike_test,
        (NORMALISATION,),
    ),
    Rule(
        "channel-order",
        ("error",),
        "own protocol",
        GREY,
        "drop the step that swaps channels: images are read as RGB and tested as RGB",
        _order,
        (NORMALISATION,),
    ),
    Rule("channel-lost", ("error",), "own protocol", GREY, "find the step that writes over the image", _constant),
    Rule("colour-augmentation", ("warning",), "official recipe", GREY, "drop the step", _mixed, official_only=True),
    Rule(
        "input-statistics",
        ("warning",),
        "own protocol",
        "mean and standard deviation of drawn training samples",
        "normalise once, with the statistics of the test",
        _input,
        (NORMALISATION,),
    ),
    Rule(
        "blur-unlike-official",
        ("warning",),
        "official recipe",
        "a single bright pixel sent through each step alone, 64 draws",
        "augmentation.steps.blur: semseg_ref.transform.RandomGaussianBlur with radius: 5",
        _blur,
        (FOUNDING,),
        official_only=True,
    ),
    Rule(
        "augmentation-steps",
        ("note",),
        "official recipe",
        "classes of the built steps, in their order",
        "nothing, if the difference is meant; catalyst-dl diff shows what it does",
        _steps,
        (FOUNDING,),
        official_only=True,
    ),
    Rule(
        "opencv-bits",
        ("warning",),
        "machine",
        "a warp by a hundredth of a pixel with the installed OpenCV",
        "pip install 'opencv-python-headless>=4.5,<4.12'",
        _opencv,
    ),
)
