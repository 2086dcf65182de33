"""Rules about the optimiser's kind and direction, momentum and weight decay."""

from collections.abc import Iterator

import numpy as np

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import FOUNDING, SHIPPED_CONFIG
from catalyst_cityscapes.lab.measure.optimisation import KINDS, PARTS

SGD_KINDS = ("SGD", "DecoupledSGD")
IMPULSE = "moves of a weight after a single gradient, under the real optimiser"
IDLE = "weights without a gradient under the real optimiser, over every step"


def is_alike(facts: Facts) -> bool:
    """Whether the optimiser is of the reference's kind, so that rates compare: SGD for the official recipe."""
    kind = facts.optimisation.optimizer
    if facts.reference.is_official:
        return kind in SGD_KINDS
    return facts.reference.recipe.optimizer["_target_"].rpartition(".")[2] == kind


def _other_optimizer(facts: Facts) -> Iterator[Diagnostic]:
    if facts.optimisation is not None and facts.optimisation.optimizer != "SGD":
        yield Diagnostic(
            "warning",
            f"the optimiser is {facts.optimisation.optimizer}, official SGD",
            {"optimizer": facts.optimisation.optimizer},
        )


def _momenta(facts: Facts) -> np.ndarray:
    groups = facts.optimisation.groups if facts.optimisation is not None else ()
    return np.concatenate([g.momentum for g in groups if g.parameters]) if groups else np.empty(0)


def _no_momentum(facts: Facts) -> Iterator[Diagnostic]:
    momenta = _momenta(facts)
    # Others rescale their gradients, and a step is not ten times smaller without momentum.
    if momenta.size and momenta.max() == 0 and facts.optimisation.optimizer in SGD_KINDS:
        yield Diagnostic(
            "error",
            f"no step of any group uses momentum, {facts.reference.called} {facts.reference.momentum:g}: without it "
            "the effective step is ten times smaller",
            {"momentum": 0.0},
        )


def _momentum(facts: Facts) -> Iterator[Diagnostic]:
    momenta, wanted, called = _momenta(facts), facts.reference.momentum, facts.reference.called
    if momenta.size and momenta.max() > 0 and np.abs(momenta - wanted).max() > 0.005:
        yield Diagnostic(
            "warning",
            f"momentum runs from {momenta.min():.3g} to {momenta.max():.3g}, {called} {wanted:g} throughout",
            {"low": float(momenta.min()), "high": float(momenta.max())},
        )


def _ascent(facts: Facts) -> Iterator[Diagnostic]:
    groups = facts.optimisation.groups if facts.optimisation is not None else ()
    upwards = [g.name for g in groups if g.parameters and g.response is not None and g.response[0] < 0]
    if upwards:
        yield Diagnostic(
            "error",
            f"a step goes up the gradient and not down, in {len(upwards)} of {len(groups)} groups: training makes the "
            "loss larger",
            {"groups": upwards},
        )


def _responding(facts: Facts) -> Iterator[tuple[float, float, float]]:
    """(highest momentum, size of a gradient's move in its own step, in the next one) of SGD's groups."""
    if facts.optimisation is None or facts.optimisation.optimizer not in SGD_KINDS:
        return
    for group in facts.optimisation.groups:
        if group.parameters and group.response is not None:
            own, following = map(abs, group.response)
            yield float(group.momentum.max()), own, following


def _nesterov(facts: Facts) -> Iterator[Diagnostic]:
    for momentum, own, following in _responding(facts):
        # Nesterov's step adds the momentum of the step to come: 1 + m, m^2, m^3 where plain momentum has 1, m, m^2.
        if momentum > 0.005 and abs(own - 1 - momentum) < 0.005 and abs(following - momentum**2) < 0.005:
            yield Diagnostic(
                "warning",
                f"momentum is Nesterov's: a gradient moves a weight by {own:.3g} and then {following:.3g} times the "
                f"rate, officially by 1 and then {momentum:.3g}",
                {"own": own, "following": following},
            )
            return


def _dampened(facts: Facts) -> Iterator[Diagnostic]:
    for momentum, own, following in _responding(facts):
        if abs(own - 1) > 0.005 and abs(following - momentum * own) < 0.005:
            yield Diagnostic(
                "warning",
                f"a gradient enters the momentum {own:.3g} times, officially once: the effective step is as many times "
                "the official one",
                {"share": own},
            )
            return


def left_by_decay(lr: np.ndarray, momentum: np.ndarray, decay: float, decoupled: bool) -> float:
    """Minus the logarithm of what SGD's decay alone leaves of a weight.

    Args:
        lr, momentum: of each step, float64 [steps].
        decay: the group's weight decay.
        decoupled: it shrinks the weight before the step instead of entering the momentum.
    """
    if decoupled:
        return float(-np.log(np.maximum(1 - lr * decay, 1e-300)).sum())
    weight, velocity = 1.0, None
    for rate, keep in zip(lr.tolist(), momentum.tolist(), strict=True):
        move = decay * weight
        if keep:
            # torch's SGD starts its momentum with the first gradient, and keeps none while the momentum is 0.
            velocity = move = move if velocity is None else keep * velocity + move
        weight -= rate * move
    return float(-np.log(max(weight, 1e-300)))


def _by_kind(facts: Facts) -> dict[tuple[str, str], float]:
    """(part, kind) -> measured decay over the decay of the official 1e-4 at the measured rates and momenta."""
    found = {}
    optimisation = facts.optimisation
    if optimisation is None or optimisation.optimizer not in SGD_KINDS:
        return found
    for part in PARTS:
        lr, momentum = optimisation.lr(part), optimisation.momentum(part)
        wanted = left_by_decay(lr, momentum, facts.reference.weight_decay, False) if lr.size else 0.0
        if wanted > 0:
            found |= {key: value / wanted for key, value in optimisation.decay.items() if key[0] == part}
    return found


def _amount(facts: Facts) -> Iterator[Diagnostic]:
    shares = {key: share for key, share in _by_kind(facts).items() if key[1] == "weight"}
    if shares and max(abs(share - 1) for share in shares.values()) > 0.05:
        said = ", ".join(f"{part} {share:.2f}" for (part, _), share in shares.items())
        yield Diagnostic(
            "warning",
            f"weight decay takes this many times what {facts.reference.owned} "
            f"{facts.reference.weight_decay:g} takes at these rates: {said}",
            {part: share for (part, _), share in shares.items()},
        )


def _none(facts: Facts) -> Iterator[Diagnostic]:
    found = facts.optimisation
    if found is not None and found.decay and not any(found.decay.values()) and not any(found.rescaled_decay.values()):
        yield Diagnostic(
            "warning",
            f"no parameter decays, {facts.reference.called} {facts.reference.weight_decay:g} on all",
            {"decay": 0.0},
        )


def _exceptions(facts: Facts) -> Iterator[Diagnostic]:
    decay = facts.optimisation.decay if facts.optimisation is not None else {}
    said, measured = [], {}
    for part in PARTS:
        values = {kind: decay[part, kind] for kind in KINDS if (part, kind) in decay}
        most = max(values.values(), default=0.0)
        less = {kind: value / most for kind, value in values.items() if value < 0.95 * most}
        if less:
            said.append(f"{part}: {', '.join(f'{kind} {share:.2f}' for kind, share in less.items())}")
            measured[part] = less
    if said:
        yield Diagnostic(
            "warning",
            f"some kinds of parameters decay less, as a share of what the others do: {'; '.join(said)}; "
            "official: all alike",
            measured,
        )


def _by_part(facts: Facts) -> Iterator[Diagnostic]:
    shares = {key[0]: share for key, share in _by_kind(facts).items() if key[1] == "weight"}
    if len(shares) == 2 and max(shares.values()) > 0 and min(shares.values()) < 0.95 * max(shares.values()):
        least, most = sorted(shares, key=shares.get)
        yield Diagnostic(
            "warning",
            f"the {least}'s weight decay is {shares[least] / shares[most]:.2f} of that of the {most}; "
            "official: the same",
            shares,
        )


def _decoupled(facts: Facts) -> Iterator[Diagnostic]:
    optimisation = facts.optimisation
    # Dampening thins out the decay as it does the gradients, and is a finding of its own.
    if optimisation is None or not optimisation.momentum_given or any(_dampened(facts)):
        return
    said, shares = [], {}
    for part in PARTS:
        lr, momentum = optimisation.lr(part), optimisation.momentum(part)
        decays = [g.weight_decay for g in optimisation.groups if g.part == part and g.weight_decay > 0]
        measured = optimisation.decay.get((part, "weight"), 0.0)
        if not lr.size or not decays or not measured:
            continue
        coupled, apart = (left_by_decay(lr, momentum, max(decays), how) for how in (False, True))
        if abs(np.log(measured / apart)) < 0.02 < abs(np.log(measured / coupled)):
            said.append(f"{part} by {1 - np.exp(-measured):.2%} and not {1 - np.exp(-coupled):.2%}")
            shares[part] = measured / coupled
    if said:
        yield Diagnostic(
            "warning",
            "weights without a gradient shrink over the training as decay apart from the momentum does, the official "
            f"L2 being part of it: {', '.join(said)}",
            shares,
        )


SGD = "optimizer: torch.optim.SGD with lr: 0.01, momentum: 0.9, weight_decay: 0.0001"
RULES = (
    Rule(
        "optimizer-unlike-official",
        ("warning",),
        "official recipe",
        "class of the built optimiser",
        SGD,
        _other_optimizer,
        official_only=True,
    ),
    Rule(
        "no-momentum",
        ("error",),
        "official recipe",
        "momentum of every group at every step",
        SGD,
        _no_momentum,
        (FOUNDING,),
        official_fix=True,
    ),
    Rule(
        "momentum-unlike-official",
        ("warning",),
        "official recipe",
        "momentum of every group at every step",
        "optimizer.momentum: 0.9, and no schedule that writes it",
        _momentum,
        (FOUNDING,),
        official_fix=True,
    ),
    Rule(
        "nesterov-momentum",
        ("warning",),
        "official recipe",
        IMPULSE,
        "optimizer.nesterov: false",
        _nesterov,
        sgd=True,
        official_only=True,
    ),
    Rule(
        "dampened-gradients",
        ("warning",),
        "official recipe",
        IMPULSE,
        "optimizer.dampening: 0",
        _dampened,
        sgd=True,
        official_only=True,
    ),
    Rule("gradient-ascent", ("error",), "official recipe", IMPULSE, "optimizer.maximize: false", _ascent),
    Rule(
        "weight-decay-unlike-official",
        ("warning",),
        "official recipe",
        IDLE,
        SGD,
        _amount,
        (FOUNDING, SHIPPED_CONFIG),
        sgd=True,
        official_fix=True,
    ),
    Rule(
        "no-weight-decay",
        ("warning",),
        "official recipe",
        IDLE,
        "optimizer.weight_decay: 0.0001",
        _none,
        official_fix=True,
    ),
    Rule(
        "weight-decay-exceptions",
        ("warning",),
        "official recipe",
        f"{IDLE}, by kind of parameter",
        "optimizer.groups: catalyst_cityscapes.optim.reference_groups, which decays biases and batch norm too",
        _exceptions,
        (FOUNDING,),
        sgd=True,
        official_only=True,
    ),
    Rule(
        "weight-decay-by-part",
        ("warning",),
        "official recipe",
        f"{IDLE}, in backbone and heads",
        "one weight_decay for all groups",
        _by_part,
        (FOUNDING,),
        sgd=True,
        official_only=True,
    ),
    Rule(
        "weight-decay-decoupled",
        ("warning",),
        "official recipe",
        IDLE,
        SGD,
        _decoupled,
        (FOUNDING,),
        official_only=True,
    ),
)
