"""Rules that hold a recipe against the published one that it was made from: what it trains and tests otherwise."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import FOUNDING, PROTOCOLS, SEEDS_SEGNEXT, SHIPPED_CONFIG
from catalyst_cityscapes.lab.measure.optimisation import BACKBONE
from catalyst_cityscapes.recipe.changes import differing

CURVE = 0.01
"""Mean distance of two rates, as a share of the highest, from which on they are other schedules and not other ends."""
SAME = 1e-6
SHOWN = 6


def _keys(
    facts: Facts, section: str, without: tuple[str, ...] = (), below: str | None = None
) -> list[tuple[str, Any, Any]]:
    """(dotted key, published value, this one's) of a section, without what follows from the crop or is left out."""
    recipe, published = facts.recipe.plain(), facts.reference.recipe.plain()
    sides = [
        (content[section] or {}) if below is None else content[section].get(below) or {}
        for content in (published, recipe)
    ]
    crops = (published["data"]["crop"], recipe["data"]["crop"])
    prefix = section if below is None else f"{section}.{below}"
    return [
        (".".join((prefix, *path)), old, new)
        for path, old, new in differing(*sides)
        if (old, new) != crops and path[0] not in without
    ]


def _shown(keys: list[tuple[str, Any, Any]]) -> str:
    said = [f"{key} {_value(new)} for {_value(old)}" for key, old, new in keys[:SHOWN]]
    return ", ".join(said) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def _value(value: Any) -> str:
    if value is ...:
        return "absent"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _measured(keys: list[tuple[str, Any, Any]]) -> dict[str, Any]:
    return {key: None if new is ... else new for key, _, new in keys}


def _section(facts: Facts, keys: list[tuple[str, Any, Any]], what: str) -> Iterator[Diagnostic]:
    if keys and not facts.reference.is_official:
        yield Diagnostic("warning", f"{what} unlike {facts.reference.name}: {_shown(keys)}", _measured(keys))


def _denominator(facts: Facts) -> Iterator[Diagnostic]:
    loss, wanted = facts.loss, facts.reference.loss
    if loss is None or wanted is None or loss.refused or abs(loss.scale / wanted.scale - 1) < 0.02:
        return
    yield Diagnostic(
        "warning",
        f"with a third of the pixels ignored the gradient is {loss.scale:.3g} times that of a mean over the valid "
        f"pixels, {facts.reference.name} {wanted.scale:.3g} times: the loss is divided by another number of pixels",
        {"scale": loss.scale, "published": wanted.scale},
    )


def _crop(facts: Facts) -> Iterator[Diagnostic]:
    crop, wanted = facts.recipe.data.crop, facts.reference.recipe.data.crop
    if not facts.reference.is_official and tuple(crop) != tuple(wanted):
        share = crop[0] * crop[1] / (wanted[0] * wanted[1])
        yield Diagnostic(
            "warning",
            f"crops of {crop[0]} x {crop[1]}, {facts.reference.name} {wanted[0]} x {wanted[1]}: {share:.2f} times the "
            "pixels in each",
            {"crop": list(crop), "published": list(wanted), "share": share},
            f"data.crop: [{wanted[0]}, {wanted[1]}]",
        )


def _schedule(facts: Facts) -> Iterator[Diagnostic]:
    optimisation, wanted = facts.optimisation, facts.reference
    if optimisation is None or wanted.rates is None:
        return
    rates = optimisation.lr(BACKBONE)
    if rates.size < 2 or rates.max() <= 0:
        return
    curve, published = rates / rates.max(), wanted.curve(rates.size)
    # A warm-up of so many steps and a last step have other shares of a training of another length.
    bound = SAME if rates.size == wanted.rates.size else CURVE
    distance = np.abs(curve - published)
    if distance.max() <= bound or (rates.size != wanted.rates.size and distance.mean() <= CURVE):
        return
    step = int(distance.argmax())
    yield Diagnostic(
        "warning" if distance.mean() > CURVE else "note",
        f"the rate follows another curve than {wanted.name}: {distance.mean():.2%} of the highest away on average, "
        f"at most {distance.max():.2%} (step {step} of {rates.size}); the last step has {curve[-1]:.3g} of the highest "
        f"for {published[-1]:.3g}",
        {"mean": float(distance.mean()), "most": float(distance.max()), "last": float(curve[-1])},
    )


def _optimizer(facts: Facts) -> Iterator[Diagnostic]:
    yield from _section(facts, _keys(facts, "optimizer"), "the optimiser is set")


def _network(facts: Facts) -> Iterator[Diagnostic]:
    yield from _section(facts, _keys(facts, "model", without=("pretrained",)), "the network is set")


def _loss(facts: Facts) -> Iterator[Diagnostic]:
    keys = _keys(facts, "criterion") + _keys(facts, "callbacks", below="aux_loss")
    yield from _section(facts, keys, "the loss is set")


def _augmentation(facts: Facts) -> Iterator[Diagnostic]:
    yield from _section(facts, _keys(facts, "augmentation"), "the augmentation is set")


def _protocol(facts: Facts) -> Iterator[Diagnostic]:
    yield from _section(facts, _keys(facts, "protocol"), "the test is")


def _idle_rules(facts: Facts) -> Iterator[Diagnostic]:
    optimisation = facts.optimisation
    if optimisation is not None and optimisation.idle_rules:
        names = ", ".join(f"'{name}'" for name in optimisation.idle_rules)
        yield Diagnostic(
            "note",
            f"{names} is part of no parameter's name: what the rule says of rate and decay holds for nothing",
            {"rules": list(optimisation.idle_rules)},
        )


def _decayed_norms(facts: Facts) -> Iterator[Diagnostic]:
    names = facts.optimisation.decayed_norms if facts.optimisation is not None else ()
    if not names:
        return
    wanted = facts.reference
    as_published = not wanted.is_official and len(names) == wanted.decayed_norms
    said = f", as in {wanted.name}" if as_published else ""
    yield Diagnostic(
        "note" if as_published else "warning",
        f"{len(names)} tensors of normalisation layers decay while others do not, first {names[0]}: the rule goes by "
        f"names, and theirs do not fit{said}",
        {"decayed": len(names), "first": names[0]},
    )


def _random_at_test(facts: Facts) -> Iterator[Diagnostic]:
    if facts.network is not None and facts.network.random_at_test:
        seed = facts.recipe.experiment.seed
        yield Diagnostic(
            "note",
            f"the network draws random numbers in every forward, in the test too: a score goes with the draws, which "
            f"follow experiment.seed ({'none' if seed is None else seed}) and the image's place",
            {"random_at_test": True, "seed": seed},
        )


SETTINGS = "keys of the recipe beside those of the published one"
COMPARE = "catalyst-dl diff with the published recipe shows what it does"
AS_PUBLISHED = f"take the published value, or drop the published number (expected.mIoU: null); {COMPARE}"

RULES = (
    Rule(
        "crop-unlike-published",
        ("warning",),
        "published recipe",
        SETTINGS,
        "the published data.crop",
        _crop,
        (SHIPPED_CONFIG,),
    ),
    Rule("augmentation-unlike-published", ("warning",), "published recipe", SETTINGS, AS_PUBLISHED, _augmentation),
    Rule("network-unlike-published", ("warning",), "published recipe", SETTINGS, AS_PUBLISHED, _network),
    Rule("loss-unlike-published", ("warning",), "published recipe", SETTINGS, AS_PUBLISHED, _loss),
    Rule(
        "loss-denominator",
        ("warning",),
        "published recipe",
        "gradients of the built criterion on small logits, of which a third is ignored",
        "criterion.average: all divides by all pixels, valid by those with a class",
        _denominator,
    ),
    Rule("optimizer-unlike-published", ("warning",), "published recipe", SETTINGS, AS_PUBLISHED, _optimizer),
    Rule(
        "schedule-unlike-published",
        ("warning", "note"),
        "published recipe",
        "the real optimiser and schedule callbacks of both, run over every step without a network",
        "callbacks.lr_schedule as the published recipe has it",
        _schedule,
        (FOUNDING,),
    ),
    Rule(
        "protocol-unlike-published", ("warning",), "published recipe", SETTINGS, AS_PUBLISHED, _protocol, (PROTOCOLS,)
    ),
    Rule(
        "rule-without-parameters",
        ("note",),
        "own words",
        "names of the network's parameters beside optimizer.groups.rules",
        "drop the rule, or write what the parameter is called",
        _idle_rules,
    ),
    Rule(
        "norms-decayed-in-part",
        ("warning", "note"),
        "own words",
        "weight decay of each normalisation layer's tensors in the optimiser's groups",
        "optimizer.groups.rules: - {kind: norm, decay_mult: 0} takes all of them, whatever their names",
        _decayed_norms,
    ),
    Rule(
        "random-at-test",
        ("note",),
        "own words",
        "what the built network says of itself",
        "give the seed with the score, or a mean and a spread over several seeds",
        _random_at_test,
        (SEEDS_SEGNEXT,),
    ),
)
