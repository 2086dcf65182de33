"""Rules about batches: images a step, batch norm's share, steps, and what is left out."""

import math
from collections.abc import Iterator

from catalyst_cityscapes.callbacks.gradient_step import GradientStep
from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import APEX_SYNC_BN, FOUNDING, SMALL_BATCH
from catalyst_cityscapes.lab.lint.reference import IMAGES

SMALL_GROUP, USUAL_GROUP = 4, 8


def _batch(facts: Facts) -> Iterator[Diagnostic]:
    exposure, wanted = facts.exposure, facts.reference
    if exposure is not None and abs(math.log(exposure.batch / wanted.batch)) > 0.05:
        yield Diagnostic(
            "warning",
            f"{exposure.batch} images a step over {exposure.processes} processes, {wanted.called} {wanted.batch}",
            {"batch": exposure.batch, "processes": exposure.processes},
            f"sampling.batch_size: {wanted.batch}",
        )


def _rounded(facts: Facts) -> Iterator[Diagnostic]:
    exposure, sampling = facts.exposure, facts.recipe.sampling
    if exposure is None or sampling.per_process:
        return
    left = sampling.batch_size - exposure.batch_per_process * exposure.processes
    if left:
        yield Diagnostic(
            "warning",
            f"sampling.batch_size {sampling.batch_size} over {exposure.processes} processes is "
            f"{exposure.batch_per_process} each: {left} images a step less than it says",
            {"batch_size": sampling.batch_size, "processes": exposure.processes, "lost": left},
        )


def _group(facts: Facts) -> Iterator[Diagnostic]:
    exposure = facts.exposure
    if exposure is None or facts.network is None or not facts.network.norm_settings:
        return
    group = exposure.bn_group
    if group < USUAL_GROUP:
        how = "synchronised" if exposure.synchronised else "not synchronised"
        yield Diagnostic(
            "error" if group < SMALL_GROUP else "warning",
            f"batch norm takes its statistics from {group} images ({exposure.batch_per_process} each in "
            f"{exposure.processes} processes, {how}), {facts.reference.called} {facts.reference.bn_group}",
            {"group": group, "processes": exposure.processes, "synchronised": exposure.synchronised},
        )


def _steps(facts: Facts) -> Iterator[Diagnostic]:
    exposure, wanted = facts.exposure, facts.reference
    if exposure is None:
        return
    whole = abs(exposure.images / IMAGES - 1) < 0.05
    # Another data set has no official number of steps; the official batch and epochs would give it this many.
    expected = wanted.steps if whole else round(exposure.epochs * max(exposure.images // wanted.batch, 1))
    if exposure.steps < 0.8 * expected:
        yield Diagnostic(
            "warning",
            f"{exposure.steps:,} optimiser steps; {wanted.owned} batch of {wanted.batch} gives {expected:,} for "
            f"{exposure.images:,} images",
            {"steps": exposure.steps, wanted.key: expected},
        )


def _seen(facts: Facts) -> Iterator[Diagnostic]:
    exposure, wanted = facts.exposure, facts.reference
    if exposure is None or 0.8 <= exposure.seen / wanted.seen <= 1.25:
        return
    whole = abs(exposure.images / IMAGES - 1) < 0.05
    yield Diagnostic(
        "warning" if whole else "note",
        f"the network sees {exposure.seen:,} images in {exposure.epochs:.4g} epochs; {wanted.owned} training on "
        f"Cityscapes {wanted.seen:,} in {wanted.epochs:.4g}",
        {"seen": exposure.seen, wanted.key: wanted.seen, "epochs": exposure.epochs},
        _length_fix(facts),
    )


def _length_fix(facts: Facts) -> str | None:
    wanted = facts.reference
    if facts.recipe.experiment.iterations is None:
        return None
    if facts.exposure.steps == wanted.steps:
        return f"sampling.batch_size: {wanted.batch}"
    return f"experiment.iterations: {wanted.steps} on Cityscapes"


def _last_batch(facts: Facts) -> Iterator[Diagnostic]:
    exposure = facts.exposure
    sampling = facts.recipe.sampling
    if exposure is None or sampling.drop_last or sampling.order == "endless":
        return
    share = math.ceil(exposure.images / exposure.processes)
    rest = share % exposure.batch_per_process
    if rest:
        yield Diagnostic(
            "error" if rest == 1 else "warning",
            f"the last batch of each epoch has {rest} of {exposure.batch_per_process} images a process and "
            "steps with the "
            "same rate" + ("; batch norm on 1 x 1 features fails with a single image" if rest == 1 else ""),
            {"last": rest, "batch": exposure.batch_per_process},
        )
    else:
        yield Diagnostic(
            "note",
            f"sampling.drop_last is off; {share} images a process divide by {exposure.batch_per_process}, so it "
            f"changes nothing with {exposure.processes} processes",
            {"last": 0, "batch": exposure.batch_per_process},
        )


def _dropped(facts: Facts) -> Iterator[Diagnostic]:
    exposure = facts.exposure
    if exposure is not None and exposure.dropped > 0.1 * exposure.images:
        yield Diagnostic(
            "warning",
            f"{exposure.dropped} of {exposure.images} images are left out of every epoch to make full batches",
            {"dropped": exposure.dropped, "images": exposure.images},
        )


def _gradient_steps(facts: Facts) -> list[GradientStep]:
    return [callback for callback in facts.callbacks.values() if isinstance(callback, GradientStep)]


def _accumulation(facts: Facts) -> Iterator[Diagnostic]:
    for callback in _gradient_steps(facts):
        if callback.accumulation_steps > 1:
            yield Diagnostic(
                "warning",
                f"{callback.accumulation_steps} batches make one step; batch norm still sees "
                f"{facts.exposure.bn_group if facts.exposure else 'one batch'} images at once",
                {"accumulation_steps": callback.accumulation_steps},
            )


def _clipping(facts: Facts) -> Iterator[Diagnostic]:
    for callback in _gradient_steps(facts):
        if callback.clip_norm is not None:
            yield Diagnostic(
                "warning",
                f"gradients are clipped to a norm of {callback.clip_norm:g}; {facts.reference.title} does not clip",
                {"clip_norm": callback.clip_norm},
            )


COUNTED = "images, batches and steps, counted as the runner does"
RULES = (
    Rule(
        "batch-unlike-official",
        ("warning",),
        "official recipe",
        COUNTED,
        "sampling.batch_size: 16",
        _batch,
        (FOUNDING, SMALL_BATCH),
    ),
    Rule(
        "batch-rounded-down",
        ("warning",),
        "own words",
        COUNTED,
        "let sampling.batch_size be a multiple of the number of processes",
        _rounded,
    ),
    Rule(
        "small-batch-norm-group",
        ("error", "warning"),
        "official recipe",
        COUNTED,
        "callbacks.sync_bn: catalyst_cityscapes.callbacks.SyncBNConversion, and a larger sampling.batch_size",
        _group,
        (SMALL_BATCH, APEX_SYNC_BN),
        batch_norm=True,
    ),
    Rule(
        "fewer-steps",
        ("warning",),
        "official recipe",
        COUNTED,
        "sampling.batch_size: 16, or more epochs",
        _steps,
        (FOUNDING,),
        official_fix=True,
    ),
    Rule(
        "images-seen",
        ("warning", "note"),
        "official recipe",
        COUNTED,
        "experiment.epochs: 200 on Cityscapes",
        _seen,
    ),
    Rule(
        "last-batch",
        ("error", "warning", "note"),
        "official recipe",
        COUNTED,
        "sampling.drop_last: true",
        _last_batch,
        (FOUNDING,),
    ),
    Rule(
        "images-dropped",
        ("warning",),
        "data",
        COUNTED,
        "make sampling.batch_size smaller, or set sampling.drop_last: false",
        _dropped,
    ),
    Rule(
        "gradient-accumulation",
        ("warning",),
        "official recipe",
        "the built GradientStep",
        "callbacks.gradient_step.accumulation_steps: 1",
        _accumulation,
    ),
    Rule(
        "gradient-clipping",
        ("warning",),
        "official recipe",
        "the built GradientStep",
        "callbacks.gradient_step.clip_norm: null",
        _clipping,
    ),
)
