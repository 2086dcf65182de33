"""Rules about the network, its initial weights, its loss and the arithmetic."""

from collections.abc import Iterator

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import (
    DETERMINISTIC,
    FOUNDING,
    IGNORED_SCORED,
    POOL_BACKWARD,
    SAME_SEED,
    SILENT_CONFIG,
    UPSAMPLE_BACKWARD,
)
from catalyst_cityscapes.lab.measure.network import NO_DETERMINISTIC_FORM
from semseg_ref.base.checkpoints.architecture import DEEP_STEM, UNKNOWN


def _refused(facts: Facts) -> Iterator[Diagnostic]:
    for part, message in facts.refused.items():
        if part != "samples" or facts.lists is None or facts.lists.is_usable:
            yield Diagnostic("error", message, {"part": part})


def _crop_size(facts: Facts) -> Iterator[Diagnostic]:
    if facts.network is not None and facts.network.refused:
        crop = facts.recipe.data.crop
        yield Diagnostic("error", f"data.crop {crop[0]} x {crop[1]}: {facts.network.refused}", {"crop": list(crop)})


def _other_network(facts: Facts) -> Iterator[Diagnostic]:
    if facts.network is None:
        return
    found = facts.network.identity
    if found.family == UNKNOWN or not found.is_segmentation:
        yield Diagnostic(
            "note",
            f"the network is none of the reference's: {found}; its checkpoints load into no official code",
            {"network": str(found)},
        )
    elif found.stem != DEEP_STEM:
        yield Diagnostic(
            "warning",
            f"the network is {found}; the official stem is three 3x3 convolutions, and its checkpoints do not fit",
            {"network": str(found)},
        )


def _no_aux(facts: Facts) -> Iterator[Diagnostic]:
    if facts.network is None or facts.network.step is None or facts.network.step.has_aux:
        return
    # Many networks have none, and a recipe that leaves its loss out says so.
    is_left_out = facts.loss is not None and facts.loss.aux_weight == 0
    if facts.network.has_reference_parts or not is_left_out:
        yield Diagnostic("error", "a training step of the network gives no auxiliary logits", {"has_aux": False})


def _aux_weight(facts: Facts) -> Iterator[Diagnostic]:
    if facts.loss is None or facts.loss.aux_weight is None:
        return
    weight, wanted = facts.loss.aux_weight, facts.reference.aux_weight
    if abs(weight - wanted) > 0.005:
        yield Diagnostic(
            "warning",
            f"the auxiliary loss counts {weight:.3g} times the main one, official {wanted:g}",
            {"aux_weight": weight},
        )


def _zoom(facts: Facts) -> Iterator[Diagnostic]:
    if facts.network is None or facts.network.step is None:
        return
    crop, output = tuple(facts.recipe.data.crop), facts.network.step.output
    if output != crop:
        yield Diagnostic(
            "warning",
            f"the loss is taken at {output[0]} x {output[1]} for a crop of {crop[0]} x {crop[1]}; official: "
            "at the crop's size",
            {"output": list(output), "crop": list(crop)},
        )


def _dropout(facts: Facts) -> Iterator[Diagnostic]:
    if facts.network is None:
        return
    found, wanted = facts.network.dropout, facts.reference.dropout
    if len(found) != 2 or any(abs(p - wanted) > 1e-9 for p in found):
        said = ", ".join(f"{p:g}" for p in found) or "none"
        yield Diagnostic(
            "warning",
            f"dropout probabilities: {said}; official {wanted:g} in each of the two heads",
            {"dropout": list(found)},
        )


def _norm_settings(facts: Facts) -> Iterator[Diagnostic]:
    if facts.network is None:
        return
    others = {key: n for key, n in facts.network.norm_settings.items() if key != (0.1, 1e-5)}
    if others:
        (momentum, eps), count = next(iter(others.items()))
        total = sum(facts.network.norm_settings.values())
        yield Diagnostic(
            "warning",
            f"{sum(others.values())} of {total} batch norm layers have momentum {momentum} and eps {eps:g}, official "
            "0.1 and 1e-05",
            {"layers": count, "momentum": momentum, "eps": eps},
        )


def _frozen(facts: Facts) -> Iterator[Diagnostic]:
    if facts.network is not None and facts.network.frozen:
        yield Diagnostic(
            "warning",
            f"{len(facts.network.frozen)} parameter tensors do not train, first {facts.network.frozen[0]}",
            {"frozen": len(facts.network.frozen)},
        )


def _random_weights(facts: Facts) -> Iterator[Diagnostic]:
    if facts.weights is not None and facts.weights.random:
        is_encoder = facts.weights.option == "encoder_weights"
        yield Diagnostic(
            "warning",
            f"the backbone starts from random weights, {facts.reference.one} from ImageNet's",
            {"random": True},
            "model.encoder_weights: imagenet" if is_encoder else None,
        )


def _missing_weights(facts: Facts) -> Iterator[Diagnostic]:
    weights = facts.weights
    if weights is not None and weights.path is not None and not weights.exists:
        yield Diagnostic(
            "warning",
            f"{weights.path}: no such file here; the training stops at once without it",
            {"path": str(weights.path)},
        )


def _unfit_weights(facts: Facts) -> Iterator[Diagnostic]:
    weights = facts.weights
    if weights is not None and weights.problem:
        matched = f"{weights.matched} of {weights.expected} tensors match; " if weights.expected else ""
        yield Diagnostic(
            "error",
            f"{weights.path}: {matched}{weights.problem}",
            {"matched": weights.matched, "expected": weights.expected},
        )


def _ignored_trained(facts: Facts) -> Iterator[Diagnostic]:
    loss = facts.loss
    if loss is None:
        return
    if loss.refused:
        yield Diagnostic(
            "error",
            f"the criterion fails on a target that holds data.ignore_index {facts.recipe.data.ignore_index}: "
            f"{loss.refused}",
        )
    elif loss.ignored_gradient > 1e-6:
        yield Diagnostic(
            "error",
            f"{loss.ignored_gradient:.0%} of the gradient falls on pixels labelled {facts.recipe.data.ignore_index}, "
            "which are to be ignored",
            {"share": loss.ignored_gradient},
        )


def _unlearned(facts: Facts) -> Iterator[Diagnostic]:
    if facts.loss is not None and facts.loss.unlearned:
        classes = ", ".join(map(str, facts.loss.unlearned))
        yield Diagnostic(
            "error",
            f"pixels of class {classes} get no gradient: the criterion ignores it",
            {"classes": [*facts.loss.unlearned]},
        )


def _class_weights(facts: Facts) -> Iterator[Diagnostic]:
    if facts.loss is None:
        return
    weights = [w for w in facts.loss.class_weights if w > 0]
    if weights and max(weights) > 1.02 * min(weights):
        yield Diagnostic(
            "warning",
            f"classes weigh {min(weights):.3g} to {max(weights):.3g} times class 0 in the loss; "
            f"{facts.reference.called}: all the same",
            {"low": min(weights), "high": max(weights)},
        )


def _other_loss(facts: Facts) -> Iterator[Diagnostic]:
    loss = facts.loss
    if loss is not None and loss.difference > 0.01 and not loss.unlearned:
        yield Diagnostic(
            "warning",
            f"the loss's gradient differs by up to {loss.difference:.1%} from that of plain cross entropy on "
            "the same logits",
            {"difference": loss.difference},
        )


def _precision(facts: Facts) -> Iterator[Diagnostic]:
    precision = facts.recipe.engine.precision
    if precision != "fp32":
        yield Diagnostic(
            "warning", f"engine.precision is {precision}, {facts.reference.called} fp32", {"precision": precision}
        )


def _nondeterministic(facts: Facts) -> Iterator[Diagnostic]:
    step = facts.network.step if facts.network is not None else None
    if step is None or facts.recipe.engine.device == "cpu" or not step.nondeterministic:
        return
    said = ", ".join(f"{n} x {name.removeprefix('aten::')}" for name, n in step.nondeterministic.items())
    listed = ", ".join(sorted({NO_DETERMINISTIC_FORM[name] for name in step.nondeterministic}))
    yield Diagnostic(
        "note",
        f"a training step runs {said}, which torch lists as without a deterministic form on CUDA ({listed}): two runs "
        "of one seed differ there",
        dict(step.nondeterministic),
    )


STEP = "one training step of the built network on tensors without data"
GRADIENTS = "gradients of the built criterion on small logits"

RULES = (
    Rule(
        "component-refused",
        ("error",),
        "own words",
        "building every component, and measuring it",
        "change the value that the message names; the training would stop on it",
        _refused,
        (SILENT_CONFIG,),
    ),
    Rule(
        "crop-refused",
        ("error",),
        "own words",
        STEP,
        "data.crop: sides of the form 8 k + 1, as 713",
        _crop_size,
    ),
    Rule(
        "other-network",
        ("warning", "note"),
        "official recipe",
        "names and shapes of the network's tensors",
        "model._target_: catalyst_cityscapes.models.reference.PSPNetLogits, stem: deep",
        _other_network,
        official_only=True,
    ),
    Rule(
        "aux-head-missing",
        ("error",),
        "official recipe",
        STEP,
        "take a network that returns auxiliary logits in training, or set callbacks.aux_loss.weight: 0",
        _no_aux,
    ),
    Rule(
        "aux-weight",
        ("warning",),
        "official recipe",
        "gradients of the callback that adds up the losses",
        "callbacks.aux_loss.weight: 0.4",
        _aux_weight,
        reference_networks=True,
        official_only=True,
    ),
    Rule(
        "smaller-logits",
        ("warning",),
        "official recipe",
        STEP,
        "model.zoom_factor: 8",
        _zoom,
        reference_networks=True,
        official_only=True,
    ),
    Rule(
        "dropout-unlike-official",
        ("warning",),
        "official recipe",
        "dropout layers of the built network",
        "model.dropout: 0.1",
        _dropout,
        reference_networks=True,
        official_only=True,
    ),
    Rule(
        "batch-norm-settings",
        ("warning",),
        "official recipe",
        "batch norm layers of the built network",
        "momentum 0.1, eps 1e-5",
        _norm_settings,
        reference_networks=True,
        batch_norm=True,
        official_only=True,
    ),
    Rule(
        "frozen-parameters",
        ("warning",),
        "official recipe",
        "parameters of the built network",
        "let all parameters train",
        _frozen,
    ),
    Rule(
        "random-initial-weights",
        ("warning",),
        "official recipe",
        "what the network starts from",
        "model.pretrained: true (initmodel/README.md says which file)",
        _random_weights,
    ),
    Rule(
        "initial-weights-missing",
        ("warning",),
        "machine",
        "the file that the network starts from",
        "put it there, see initmodel/README.md",
        _missing_weights,
    ),
    Rule(
        "initial-weights-do-not-fit",
        ("error",),
        "own words",
        "every tensor of the file beside the network's backbone",
        "catalyst-dl weights inspect FILE --config RECIPE names each tensor; use the file of this depth and stem",
        _unfit_weights,
        (SILENT_CONFIG,),
    ),
    Rule(
        "ignored-pixels-trained",
        ("error",),
        "own words",
        GRADIENTS,
        "criterion.ignore_index: ${data.ignore_index}",
        _ignored_trained,
        (IGNORED_SCORED,),
    ),
    Rule(
        "class-not-learned",
        ("error",),
        "own words",
        GRADIENTS,
        "criterion.ignore_index: ${data.ignore_index}",
        _unlearned,
    ),
    Rule("class-weights", ("warning",), "official recipe", GRADIENTS, "drop the criterion's weight", _class_weights),
    Rule(
        "loss-unlike-official",
        ("warning",),
        "official recipe",
        GRADIENTS,
        "criterion: torch.nn.CrossEntropyLoss with ignore_index: ${data.ignore_index} alone",
        _other_loss,
        official_only=True,
    ),
    Rule(
        "precision-unlike-official",
        ("warning",),
        "official recipe",
        "engine.precision",
        "engine.precision: fp32",
        _precision,
        (FOUNDING, DETERMINISTIC),
    ),
    Rule(
        "nondeterministic-operations",
        ("note",),
        "machine",
        f"{STEP}: its operations, forward and backward",
        "compare runs over several seeds (catalyst-dl ab), not two runs of one",
        _nondeterministic,
        (SAME_SEED, POOL_BACKWARD, UPSAMPLE_BACKWARD),
    ),
)
