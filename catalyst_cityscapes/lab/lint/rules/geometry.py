"""Rules about size, place and direction: scale, crop, rotation, mirror, resolution."""

import math
from collections.abc import Iterator

import numpy as np

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import FOUNDING, SHIPPED_CONFIG
from catalyst_cityscapes.lab.measure.geometry import Draw

ENOUGH = 12
"""Draws from which on a share or a range says something."""


def _visible(facts: Facts) -> list[Draw]:
    return [draw for draw in facts.draws if math.isfinite(draw.scale)]


def _scales(facts: Facts) -> np.ndarray:
    return np.array([draw.scale for draw in _visible(facts)])


def _is_constant(scales: np.ndarray) -> bool:
    return bool(scales.max() / scales.min() < 1.02)


def _no_scale(facts: Facts) -> Iterator[Diagnostic]:
    scales = _scales(facts)
    if len(scales) < 2 or not _is_constant(scales):
        return
    drawing = [
        s.name for s in facts.steps if np.ptp([d.scale for d in s.draws if math.isfinite(d.scale)] or [0]) > 0.05
    ]
    if not drawing:
        yield Diagnostic(
            "error",
            f"{len(scales)} draws all have scale {np.median(scales):.3f}",
            {"scale": float(np.median(scales)), "draws": len(scales)},
        )


def _cancelled_scale(facts: Facts) -> Iterator[Diagnostic]:
    scales = _scales(facts)
    if len(scales) < 2 or not _is_constant(scales):
        return
    for step in facts.steps:
        own = [d.scale for d in step.draws if math.isfinite(d.scale)]
        if own and max(own) / min(own) > 1.05:
            yield Diagnostic(
                "error",
                f"step '{step.name}' alone draws scales {min(own):.2f} to {max(own):.2f}, but all {len(scales)} "
                f"samples come out at {np.median(scales):.3f}: a later step resizes to a fixed size",
                {"step": step.name, "drawn": [min(own), max(own)], "scale": float(np.median(scales))},
            )


def _scale_range(facts: Facts) -> Iterator[Diagnostic]:
    scales = _scales(facts)
    if len(scales) < ENOUGH or _is_constant(scales):
        return
    low, high = facts.reference.scale
    spread = scales.max() / scales.min()
    if spread < 0.6 * high / low or spread > 1.15 * high / low:
        yield Diagnostic(
            "warning",
            f"scales {scales.min():.2f} to {scales.max():.2f} in {len(scales)} draws, a factor of {spread:.2f}; the "
            f"official {low} to {high} is a factor of {high / low:.0f}",
            {"low": float(scales.min()), "high": float(scales.max()), "draws": len(scales)},
        )


def _seldom_scaled(facts: Facts) -> Iterator[Diagnostic]:
    scales = _scales(facts)
    if len(scales) < ENOUGH or _is_constant(scales):
        return
    shares = [(np.abs(np.log(scales / s)) < 0.003).mean() for s in scales]
    most = int(np.argmax(shares))
    if shares[most] >= 0.25:
        yield Diagnostic(
            "warning",
            f"{shares[most]:.0%} of {len(scales)} draws have the one scale {scales[most]:.3f}; the official recipe "
            "draws a scale for every image",
            {"share": float(shares[most]), "scale": float(scales[most]), "draws": len(scales)},
        )


def _fixed_canvas(facts: Facts) -> Iterator[Diagnostic]:
    for step in facts.steps:
        warped = [d for d in step.draws if d.size == step.draws[0].size and math.isfinite(d.scale)]
        small = [d for d in warped if d.scale < 0.97]
        if (
            len({d.size for d in step.draws}) == 1
            and small
            and min(d.visible for d in small) < 0.95
            and not any(d.scale > 1.03 and d.source > 0.99 for d in warped)
        ):
            worst = min(small, key=lambda d: d.visible)
            yield Diagnostic(
                "warning",
                f"step '{step.name}' scales on a canvas that keeps its size: at scale {worst.scale:.2f} only "
                f"{worst.visible:.0%} of the canvas shows the image, the rest is padding",
                {"step": step.name, "scale": worst.scale, "visible": worst.visible},
            )


def _resolution(facts: Facts) -> Iterator[Diagnostic]:
    scales = _scales(facts)
    if len(scales) < 2 or facts.protocol is None or (len(scales) < ENOUGH and not _is_constant(scales)):
        return
    low, high = facts.reference.scale
    # Mean logarithm of a uniform factor; the official training looks a little closer than its test.
    usual = (high * (math.log(high) - 1) - low * (math.log(low) - 1)) / (high - low)
    tests = np.log([facts.test_scale * s for s in facts.protocol.scales])
    apart = float(np.log(scales).mean() - tests.mean())
    error = 3 * float(np.log(scales).std()) / math.sqrt(len(scales))
    off = apart - usual
    if abs(off) > max(0.17, error):
        yield Diagnostic(
            "error" if abs(off) > math.log(1.9) else "warning",
            f"objects are trained on at {math.exp(np.log(scales).mean()):.2f} of their native size (geometric mean of "
            f"{len(scales)} draws) and tested at {math.exp(tests.mean()):.2f}: {math.exp(apart):.2f} times as large, "
            f"in the official recipe {math.exp(usual):.2f} times",
            {"train": math.exp(np.log(scales).mean()), "test": math.exp(tests.mean()), "official": math.exp(usual)},
            "test at the resolution that is trained on (protocol.base_size, protocol.scales), or drop the resize",
        )


def _places(draw: Draw, size: tuple[int, int]) -> tuple[float, float]:
    # From the image's centre to the crop's, in crop heights and widths, along the axes of the rotated output.
    h, w = size
    y, x = (draw.top - 0.5) * (h - 1), (draw.left - 0.5) * (w - 1)
    angle = math.radians(draw.rotation)
    across, down = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return down * draw.scale_y / draw.size[0], across * draw.scale_x / draw.size[1]


def _freedom(facts: Facts) -> tuple[float, float] | None:
    places = [_places(draw, facts.size) for draw in _visible(facts)]
    if len(places) < 4:
        return None
    down, across = np.array(places).T
    # Mirrored draws count from the other side.
    return float(np.ptp(down)), float(np.ptp(np.abs(across)))


def _crop_fixed(facts: Facts) -> Iterator[Diagnostic]:
    freedom = _freedom(facts)
    if freedom and max(freedom) < 0.05:
        whole = np.median([draw.source for draw in _visible(facts)])
        yield Diagnostic(
            "error",
            f"the crop of {facts.draws[0].size[0]} x {facts.draws[0].size[1]} lies at one place in all "
            f"{len(_visible(facts))} draws (moves by {freedom[0]:.1%} of its height and {freedom[1]:.1%} of its width) "
            f"and shows {whole:.0%} of the image",
            {"freedom_y": freedom[0], "freedom_x": freedom[1], "source": float(whole)},
        )


def _crop_one_axis(facts: Facts) -> Iterator[Diagnostic]:
    freedom = _freedom(facts)
    if not freedom or max(freedom) < 0.05 or min(freedom) >= 0.05:
        return
    axis, along = (("row", "height"), ("column", "width"))[int(freedom[1] < freedom[0])]
    share = np.median(
        [d.size[i := int(axis == "column")] / (d.scale_y, d.scale_x)[i] / facts.size[i] for d in _visible(facts)]
    )
    yield Diagnostic(
        "error",
        f"the crop starts at the same {axis} in all {len(_visible(facts))} draws: it moves by {min(freedom):.1%} of "
        f"its {along}, since it takes {min(share, 1):.0%} of the image's {along}",
        {"freedom_y": freedom[0], "freedom_x": freedom[1], "share": float(share)},
    )


def _aspect(facts: Facts) -> Iterator[Diagnostic]:
    ratios = [draw.scale_x / draw.scale_y for draw in _visible(facts)]
    if ratios and max(max(ratios), 1 / min(ratios)) > 1.02:
        worst = max(ratios, key=lambda r: abs(math.log(r)))
        yield Diagnostic(
            "warning",
            f"width and height are scaled differently, by up to {worst:.2f} (median {np.median(ratios):.2f})",
            {"worst": worst, "median": float(np.median(ratios))},
        )


def _rotation(facts: Facts) -> Iterator[Diagnostic]:
    draws = _visible(facts)
    if len(draws) < ENOUGH:
        return
    angles = np.array([abs(draw.rotation) for draw in draws])
    if (angles > 90).any():
        return
    largest, wanted = angles.max(), max(facts.reference.rotate)
    share = float((angles > 0.1).mean())
    if largest < wanted / 2 or largest > 1.05 * wanted or not 0.2 <= share <= 0.8:
        yield Diagnostic(
            "warning",
            f"{share:.0%} of {len(draws)} draws are rotated, by up to {largest:.1f} degrees; official: "
            f"{facts.reference.turned:.0%}, up to {wanted:g}",
            {"share": share, "largest": float(largest), "draws": len(draws)},
        )


def _upside_down(facts: Facts) -> Iterator[Diagnostic]:
    draws = _visible(facts)
    turned = sum(abs(draw.rotation) > 90 for draw in draws)
    if turned:
        yield Diagnostic(
            "error",
            f"{turned} of {len(draws)} draws are upside down: a vertical mirror or a half turn",
            {"draws": len(draws), "upside_down": turned},
        )


def _mirror(facts: Facts) -> Iterator[Diagnostic]:
    draws = _visible(facts)
    if len(draws) < ENOUGH:
        return
    share = sum(draw.mirrored for draw in draws) / len(draws)
    if not 0.2 <= share <= 0.8:
        yield Diagnostic(
            "warning",
            f"{share:.0%} of {len(draws)} draws are mirrored, official {facts.reference.mirrored:.0%}",
            {"share": share, "draws": len(draws)},
        )


def _shift(facts: Facts) -> Iterator[Diagnostic]:
    for step in facts.steps:
        moved = [d for d in step.draws if step.shifts(d)]
        if moved:
            furthest = max(max(abs(d.top - 0.5), abs(d.left - 0.5)) for d in moved)
            yield Diagnostic(
                "note",
                f"step '{step.name}' moves the image on its canvas by up to {furthest:.1%} before the crop; in the "
                "official recipe the crop is the only translation",
                {"step": step.name, "furthest": furthest},
            )


def _warped(facts: Facts) -> Iterator[Diagnostic]:
    residuals = [draw.residual for draw in _visible(facts)]
    if residuals and max(residuals) > 2:
        yield Diagnostic(
            "warning",
            f"pixels lie up to {max(residuals):.1f} source pixels (root mean square) from any straight map: an "
            "elastic or perspective warp",
            {"residual": max(residuals)},
        )


def _output_size(facts: Facts) -> Iterator[Diagnostic]:
    sizes = {draw.size for draw in facts.draws}
    crop = tuple(facts.recipe.data.crop)
    if sizes and sizes != {crop}:
        found = ", ".join(f"{h} x {w}" for h, w in sorted(sizes)[:4])
        yield Diagnostic(
            "error",
            f"the augmentation gives {found}, data.crop says {crop[0]} x {crop[1]}",
            {"sizes": [list(size) for size in sorted(sizes)], "crop": list(crop)},
        )


SCALE = "augmentation.steps.scale: semseg_ref.transform.RandScale with scale: [0.5, 2.0]"
DRAWN = "known images sent through the real augmentation, some draws"
ALONE = "each step of the augmentation alone, on a small image"

RULES = (
    Rule("no-scale-jitter", ("error",), "official recipe", DRAWN, f"add {SCALE}", _no_scale, (FOUNDING,)),
    Rule(
        "scale-jitter-cancelled",
        ("error",),
        "own words",
        f"{DRAWN}; {ALONE}",
        "take the later resize out of augmentation.order, or put it before the random scale",
        _cancelled_scale,
        (FOUNDING,),
    ),
    Rule(
        "scale-jitter-range",
        ("warning",),
        "official recipe",
        DRAWN,
        SCALE,
        _scale_range,
        (FOUNDING,),
        official_only=True,
    ),
    Rule(
        "scale-jitter-seldom",
        ("warning",),
        "official recipe",
        DRAWN,
        f"scale every image: {SCALE}",
        _seldom_scaled,
        (FOUNDING,),
        official_only=True,
    ),
    Rule(
        "scale-on-fixed-canvas",
        ("warning",),
        "official recipe",
        ALONE,
        f"resize the image itself before the crop: {SCALE}",
        _fixed_canvas,
        (FOUNDING,),
    ),
    Rule(
        "train-test-resolution",
        ("error", "warning"),
        "own protocol",
        f"{DRAWN}: their scale beside protocol.base_size and protocol.scales",
        "see the finding",
        _resolution,
        (FOUNDING, SHIPPED_CONFIG),
    ),
    Rule(
        "crop-does-nothing",
        ("error",),
        "official recipe",
        f"{DRAWN}: where the crop's centre lies",
        "drop the resize to the crop's size before it, and crop with crop_type: rand",
        _crop_fixed,
        (FOUNDING,),
    ),
    Rule(
        "crop-full-side",
        ("error",),
        "official recipe",
        f"{DRAWN}: where the crop's centre lies",
        "drop the resize of the shorter side to the crop's size",
        _crop_one_axis,
        (FOUNDING,),
    ),
    Rule("aspect-distorted", ("warning",), "official recipe", DRAWN, "scale both sides by one factor", _aspect),
    Rule(
        "rotation-unlike-official",
        ("warning",),
        "official recipe",
        DRAWN,
        "augmentation.steps.rotate: semseg_ref.transform.RandRotate with rotate: [-10, 10], p: 0.5",
        _rotation,
        official_only=True,
    ),
    Rule("upside-down", ("error",), "official recipe", DRAWN, "mirror left and right only", _upside_down),
    Rule(
        "mirror-unlike-official",
        ("warning",),
        "official recipe",
        DRAWN,
        "augmentation.steps.flip: semseg_ref.transform.RandomHorizontalFlip with p: 0.5",
        _mirror,
        official_only=True,
    ),
    Rule("extra-shift", ("note",), "official recipe", ALONE, "drop the step", _shift, official_only=True),
    Rule(
        "elastic-warp", ("warning",), "official recipe", DRAWN, "drop the step that warps", _warped, official_only=True
    ),
    Rule(
        "output-size",
        ("error",),
        "own words",
        DRAWN,
        "let the augmentation's last crop have size ${data.crop}",
        _output_size,
    ),
)
