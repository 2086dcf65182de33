"""Rules about what is scored and how: model selection, validation, metrics, protocol."""

from collections.abc import Iterator

from catalyst_cityscapes.callbacks.checkpoint import Checkpoint
from catalyst_cityscapes.callbacks.early_stopping import EarlyStopping
from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import (
    BATCH_AVERAGE,
    BEST_CHECKPOINT,
    FOUNDING,
    IGNORED_SCORED,
    LAST_IS_BEST,
    NO_IGNORE_INDEX,
    REDUCTIONS,
    SILENT_CONFIG,
    VAL_NOT_TEST,
    VAL_NOT_TEST_TOO,
)

SCORE = "mIoU"


def _checkpoints(facts: Facts) -> list[Checkpoint]:
    return [callback for callback in facts.callbacks.values() if isinstance(callback, Checkpoint)]


def _no_checkpoint(facts: Facts) -> Iterator[Diagnostic]:
    if not _checkpoints(facts) and not facts.refused:
        yield Diagnostic("error", "no Checkpoint callback: nothing is kept to test", {"checkpoint": False})


def _not_trained(facts: Facts) -> Iterator[Diagnostic]:
    for name, what in (("gradient_step", "takes an optimiser step"), ("aux_loss", "computes the loss")):
        kinds = {type(callback).__mro__ for callback in facts.callbacks.values()}
        wanted = {"gradient_step": "IOptimizerCallback", "aux_loss": "ICriterionCallback"}[name]
        if not any(wanted in {kind.__name__ for kind in mro} for mro in kinds) and not facts.refused:
            yield Diagnostic("error", f"no callback {what} (callbacks.{name})", {"missing": name})


def _no_metric(facts: Facts) -> Iterator[Diagnostic]:
    if not facts.metrics and not facts.refused:
        yield Diagnostic("note", "no callback reports an mIoU during training", {"metrics": 0})


def _by_other_metric(facts: Facts) -> Iterator[Diagnostic]:
    for checkpoint in _checkpoints(facts):
        if checkpoint.select == "best" and checkpoint.metric != SCORE:
            yield Diagnostic(
                "error",
                f"the tested checkpoint is the best by '{checkpoint.metric}' of loader '{checkpoint.loader}' "
                f"({'lowest' if checkpoint.minimize else 'highest'}), not by {SCORE}",
                {"metric": checkpoint.metric, "minimize": checkpoint.minimize},
            )


def _best(facts: Facts) -> Iterator[Diagnostic]:
    for checkpoint in _checkpoints(facts):
        if checkpoint.select == "best":
            yield Diagnostic(
                "warning",
                "the tested checkpoint is the best on the validation images, which are the ones that are scored; "
                f"{facts.reference.owned} test takes the last",
                {"select": checkpoint.select, "metric": checkpoint.metric},
            )


def _direction(facts: Facts) -> Iterator[Diagnostic]:
    watching = [*_checkpoints(facts), *(c for c in facts.callbacks.values() if isinstance(c, EarlyStopping))]
    for callback in watching:
        metric = callback.metric
        if metric is None:
            continue
        is_loss = "loss" in metric.lower()
        is_score = any(part in metric.lower() for part in ("iou", "acc", "dice"))
        if (is_score and callback.minimize) or (is_loss and not callback.minimize):
            yield Diagnostic(
                "error",
                f"{type(callback).__name__} takes the {'lowest' if callback.minimize else 'highest'} "
                f"'{metric}' for the best",
                {"metric": metric, "minimize": callback.minimize},
            )


def _never_best(facts: Facts) -> Iterator[Diagnostic]:
    for checkpoint in _checkpoints(facts):
        unvalidated = checkpoint.loader == "valid" and not facts.recipe.validation.every
        if checkpoint.metric is not None and unvalidated:
            yield Diagnostic(
                "error" if checkpoint.select == "best" else "warning",
                f"best.pth is decided by '{checkpoint.metric}' of loader '{checkpoint.loader}', but validation.every "
                "is 0: there will be none",
                {"metric": checkpoint.metric, "every": 0},
            )


def _early_stop(facts: Facts) -> Iterator[Diagnostic]:
    for callback in facts.callbacks.values():
        if isinstance(callback, EarlyStopping):
            yield Diagnostic(
                "warning",
                f"the training stops after {callback.patience} epochs without a better '{callback.metric}', in the "
                f"middle of its schedule; {facts.reference.one} runs to the end",
                {"patience": callback.patience, "metric": callback.metric},
            )


def _validation(facts: Facts) -> Iterator[Diagnostic]:
    validation = facts.recipe.validation
    if not validation.every:
        return
    reasons = []
    if validation.protocol == "crop":
        crop = facts.recipe.data.crop
        reasons.append(f"scores one centre crop of {crop[0]} x {crop[1]} instead of the whole image")
    if validation.images is not None and facts.lists is not None and validation.images < facts.lists.val.lines:
        reasons.append(f"takes {validation.images} of {facts.lists.val.lines} images")
    if reasons:
        decides = any(checkpoint.select == "best" for checkpoint in _checkpoints(facts))
        yield Diagnostic(
            "warning" if decides else "note",
            f"validation {' and '.join(reasons)}: its mIoU is not the test's"
            + (", and it decides which checkpoint is tested" if decides else ""),
            {"protocol": validation.protocol, "images": validation.images, "decides": decides},
        )


def _batch_mean(facts: Facts) -> Iterator[Diagnostic]:
    for metric in facts.metrics:
        if abs(metric.as_one - metric.as_two) > 1e-9:
            yield Diagnostic(
                "warning",
                f"'{metric.name}' of the same pixels is {metric.as_one:.3f} in one batch and {metric.as_two:.3f} in "
                "two: a mean over batches",
                {"name": metric.name, "one_batch": metric.as_one, "two_batches": metric.as_two},
                f"callbacks.{metric.callback}: catalyst_cityscapes.callbacks.MeanIoU, or null; never select by it",
            )


def _counts_ignored(facts: Facts) -> Iterator[Diagnostic]:
    for metric in facts.metrics:
        if abs(metric.as_one - metric.with_ignored) > 1e-9:
            yield Diagnostic(
                "error",
                f"'{metric.name}' goes from {metric.as_one:.3f} to {metric.with_ignored:.3f} when only ignored pixels "
                "are predicted otherwise",
                {"name": metric.name, "before": metric.as_one, "after": metric.with_ignored},
                f"callbacks.{metric.callback}.ignore_index: ${{data.ignore_index}}",
            )


BUILT = "the built callbacks"
RULES = (
    Rule(
        "no-checkpoint",
        ("error",),
        "own words",
        BUILT,
        "callbacks.checkpoint: catalyst_cityscapes.callbacks.Checkpoint",
        _no_checkpoint,
    ),
    Rule(
        "nothing-trains",
        ("error",),
        "own words",
        BUILT,
        "restore callbacks.gradient_step and callbacks.aux_loss",
        _not_trained,
        (SILENT_CONFIG,),
    ),
    Rule(
        "no-metric",
        ("note",),
        "own words",
        BUILT,
        "callbacks.mean_iou: catalyst_cityscapes.callbacks.MeanIoU",
        _no_metric,
    ),
    Rule(
        "selection-not-by-miou",
        ("error",),
        "official recipe",
        BUILT,
        "callbacks.checkpoint.select: last, or metric: mIoU with minimize: false",
        _by_other_metric,
        (FOUNDING, BEST_CHECKPOINT),
    ),
    Rule(
        "selection-of-best",
        ("warning",),
        "official recipe",
        BUILT,
        "callbacks.checkpoint.select: last",
        _best,
        (FOUNDING, LAST_IS_BEST),
    ),
    Rule(
        "selection-direction",
        ("error",),
        "own words",
        BUILT,
        "minimize: false for scores, true for losses",
        _direction,
        (BEST_CHECKPOINT,),
    ),
    Rule(
        "best-never-written",
        ("error", "warning"),
        "own words",
        f"{BUILT}, validation.every",
        "validation.every: 1, or callbacks.checkpoint.metric: null",
        _never_best,
        (BEST_CHECKPOINT,),
    ),
    Rule("early-stopping", ("warning",), "official recipe", BUILT, "callbacks.early_stopping: null", _early_stop),
    Rule(
        "validation-unlike-test",
        ("warning", "note"),
        "own protocol",
        "the validation section beside the protocol",
        "validation.protocol: test and images: null",
        _validation,
        (VAL_NOT_TEST, VAL_NOT_TEST_TOO),
    ),
    Rule(
        "metric-averaged-over-batches",
        ("warning",),
        "own protocol",
        "every metric named IoU, fed the same pixels in one and in two batches",
        "see the finding",
        _batch_mean,
        (BATCH_AVERAGE, REDUCTIONS, FOUNDING),
    ),
    Rule(
        "metric-counts-ignored",
        ("error",),
        "own protocol",
        "every metric named IoU, with other predictions on ignored pixels",
        "see the finding",
        _counts_ignored,
        (IGNORED_SCORED, NO_IGNORE_INDEX),
    ),
)
