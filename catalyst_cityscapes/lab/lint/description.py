"""The numbers that were measured, for people, in a few lines."""

import math
from collections.abc import Iterator

import numpy as np

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.measure.optimisation import PARTS


def describe(facts: Facts) -> Iterator[tuple[str, str]]:
    """(heading, text) of what was measured; parts that could not be are left out."""
    exposure, optimisation = facts.exposure, facts.optimisation
    if exposure is not None:
        yield (
            "batches",
            f"{exposure.batch} images a step in {exposure.processes} processes, batch norm over {exposure.bn_group}; "
            f"{exposure.steps:,} steps in {exposure.epochs:.4g} epochs, {exposure.seen:,} images seen",
        )
    for part in PARTS if optimisation is not None else ():
        rates = optimisation.lr(part)
        if rates.size:
            yield (
                f"{part} rate",
                f"{rates[0]:.3g} first, {rates.max():.3g} highest, {rates[-1]:.3g} last; momentum "
                f"{optimisation.momentum(part).min():.3g} to {optimisation.momentum(part).max():.3g}",
            )
    scales = [draw.scale for draw in facts.draws if math.isfinite(draw.scale)]
    if scales:
        turned = [abs(draw.rotation) for draw in facts.draws if math.isfinite(draw.rotation)]
        yield (
            "draws",
            f"{len(scales)} of {facts.size[0]} x {facts.size[1]} images: scale {min(scales):.2f} to {max(scales):.2f} "
            f"(median {np.median(scales):.2f}), rotation up to {max(turned):.1f} degrees, "
            f"{np.mean([d.mirrored for d in facts.draws]):.0%} mirrored, "
            f"{np.mean([d.visible for d in facts.draws]):.0%} of the crop visible",
        )
    if facts.samples is not None:
        yield (
            "samples",
            f"{facts.samples.count}: {facts.samples.ignored.mean():.1%} of the pixels ignored, "
            f"{np.count_nonzero(facts.samples.pixels)} classes",
        )
    if facts.lists is not None:
        yield (
            "lists",
            f"{facts.lists.train.lines} training and {facts.lists.val.lines} validation images; "
            f"{facts.lists.labels.read} labels read whole",
        )
    if facts.protocol is not None:
        yield "protocol", f"{facts.protocol.name or 'without a name'} {facts.protocol.hash}"
