"""Facts about what the network gets to see: where it comes from, at which size, and with which values and labels."""

from collections import Counter

import numpy as np

from catalyst_cityscapes.lab.diff.distance import Measure, amount, choice, draws, grey_levels, linear, shares
from catalyst_cityscapes.lab.diff.fact import Collector, draws_text, written
from catalyst_cityscapes.lab.diff.subject import Subject

SCALE_RESOLUTION = 0.001
"""Decades; 0.2 %, what rounding the size of a crop to whole pixels makes of a scale."""
LEAST_SCALE = 0.05
"""Decades; 12 %."""
SHARE_RESOLUTION, LEAST_SHARE = 0.002, 0.05
ANGLE_RESOLUTION, LEAST_ANGLE = 0.02, 1.0
PIXEL_RESOLUTION, LEAST_PIXELS = 0.2, 2.0
VALUE_RESOLUTION, LEAST_VALUE = 0.001, 0.05


SHARE = draws(SHARE_RESOLUTION, LEAST_SHARE)
VALUE = draws(VALUE_RESOLUTION, LEAST_VALUE)


def input_facts(subject: Subject) -> Collector:
    """Facts about position, size, values and labels of the training input."""
    found = Collector()
    _position(found, subject)
    _values(found, subject)
    _labels(found, subject)
    if subject.profile.samples is None:
        replayed = subject.recipe.sampling.replay_augmentation
        found.read("draws replayed in every epoch", "replay augmentation", replayed, choice)
    else:
        _samples(found, subject)
    return found


def drawn(subject: Subject, field: str) -> np.ndarray:
    """A field of all draws, float64 [draws]."""
    return np.array([getattr(draw, field) for draw in subject.profile.draws], np.float64)


def train_scale(subject: Subject) -> np.ndarray:
    """Training pixels per native pixel of each draw, float64 [draws]."""
    return drawn(subject, "scale")


def sizes_at_test(subject: Subject) -> np.ndarray:
    """Test pixels per native pixel at each of the protocol's scales."""
    return np.array(subject.profile.protocol.scales) * subject.profile.test_scale


def _draws(found: Collector, name: str, values: np.ndarray, measure: Measure = SHARE, pattern: str = "{:.3g}") -> None:
    found.add(name, "augmentation image_size", values, measure, draws_text(values, pattern))


def _logarithms(found: Collector, name: str, values: np.ndarray, topics: str = "augmentation image_size") -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log10(values)
    found.add(name, topics, logarithms, draws(SCALE_RESOLUTION, LEAST_SCALE), draws_text(values))


def _position(found: Collector, subject: Subject) -> None:
    sizes = Counter(draw.size for draw in subject.profile.draws)
    size = sizes.most_common(1)[0][0]
    found.add(
        "input size", "augmentation image_size", float(np.sqrt(np.prod(size))), amount(), f"{size[0]} x {size[1]}"
    )
    scale = train_scale(subject)
    _logarithms(found, "scale", scale)
    middle = float(np.exp(np.log(sizes_at_test(subject)).mean()))
    _logarithms(found, "size of objects, test / training", middle / scale, "augmentation image_size test")
    _logarithms(found, "height / width of objects", drawn(subject, "scale_y") / drawn(subject, "scale_x"))
    _draws(found, "rotation in degrees", drawn(subject, "rotation"), draws(ANGLE_RESOLUTION, LEAST_ANGLE))
    residual = drawn(subject, "residual")
    _draws(found, "distortion in source pixels", residual, draws(PIXEL_RESOLUTION, LEAST_PIXELS), "{:.1f}")
    mirrored = drawn(subject, "mirrored")
    found.add("mirrored", "augmentation", mirrored, SHARE, f"{mirrored.mean():.0%}")
    _draws(found, "visible share of the input", drawn(subject, "visible"))
    _draws(found, "visible share of the image", drawn(subject, "source"))
    _draws(found, "position across", drawn(subject, "left"), SHARE, "{:.2f}")
    _draws(found, "position down", drawn(subject, "top"), SHARE, "{:.2f}")


def _values(found: Collector, subject: Subject) -> None:
    mean, std = subject.profile.normalisation
    shown = "mean {}, std {}".format(*(" ".join(f"{value:.4g}" for value in values) for values in (mean, std)))
    detail = {"mean": mean.tolist(), "std": std.tolist()}
    found.add("normalisation", "augmentation", np.array([mean, std]), grey_levels, shown, detail)
    order = "".join("RGB"[index] for index in subject.profile.colours.order)
    found.add("order of the colours", "augmentation", order, choice)
    _draws(found, "pixel-level contrast kept", subject.detail, VALUE)


def _labels(found: Collector, subject: Subject) -> None:
    padding, aligned = drawn(subject, "padding_ignored"), drawn(subject, "labels_aligned")
    labelled = 1 - np.nanmean(padding) if np.isfinite(padding).any() else 0.0
    _share(found, "padding that has a class", float(labelled))
    displaced = 1 - np.nanmean(aligned) if np.isfinite(aligned).any() else 0.0
    _share(found, "labels beside their pixels", float(displaced))
    invented = not all(draw.labels_kept for draw in subject.profile.draws)
    found.add("label values invented", "augmentation", invented, choice)
    _draws(found, "ignored within the image", drawn(subject, "labels_ignored"))


def _share(found: Collector, name: str, value: float) -> None:
    rounded = value if value > SHARE_RESOLUTION else 0.0
    found.add(name, "augmentation labels", rounded, linear, f"{rounded:.1%}")


def _samples(found: Collector, subject: Subject) -> None:
    samples = subject.profile.samples
    measures: list[tuple[str, np.ndarray, Measure]] = [
        ("ignored pixels", samples.ignored, SHARE),
        ("sharpness of the input", samples.sharpness, VALUE),
        ("mean of the input", samples.each_mean.mean(axis=1), VALUE),
        ("std of the input", samples.each_std.mean(axis=1), VALUE),
    ]
    for name, values, measure in measures:
        topics = "augmentation train_data labels"
        found.add(name, topics, values, measure, draws_text(values))
    total = samples.pixels.sum()
    top = np.argsort(-samples.pixels, kind="stable")[:3]
    shown = ", ".join(f"{index}: {samples.pixels[index] / max(total, 1):.0%}" for index in top)
    detail = {"pixels": samples.pixels.tolist()}
    found.add("class shares", "augmentation train_data labels", samples.each_pixels, shares, shown, detail)
    strange = " ".join(map(str, samples.values)) or "none"
    found.add("labels that are no class", "train_data labels augmentation", strange, choice)
    found.add("draws replayed in every epoch", "replay augmentation", samples.replayed, choice)


def shown_scales(subject: Subject) -> str:
    """The test's sizes for people."""
    return " ".join(written(float(value)) for value in sizes_at_test(subject))
