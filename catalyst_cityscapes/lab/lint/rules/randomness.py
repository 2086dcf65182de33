"""Rules about seeds and random draws."""

from collections.abc import Iterator

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import FOUNDING, SAME_SEED, SEEDS_CUSTOM, SEEDS_PSPNET, SEEDS_SEGNEXT


def _unseeded(facts: Facts) -> Iterator[Diagnostic]:
    if facts.randomness is not None and not facts.randomness.seeded:
        yield Diagnostic(
            "note",
            "neither the order nor the augmentation is seeded, as in the official code: two runs cannot be compared "
            "image by image",
            {"seeded": False},
        )


def _replayed(facts: Facts) -> Iterator[Diagnostic]:
    if facts.randomness is not None and facts.randomness.replayed:
        yield Diagnostic(
            "error", "every image gets the same draws in the second epoch as in the first", {"replayed": True}
        )


def _shared(facts: Facts) -> Iterator[Diagnostic]:
    if facts.randomness is not None and facts.randomness.shared_by_workers:
        yield Diagnostic(
            "error",
            "two loader workers draw the same numbers: the generator is copied with the data set",
            {"shared": True},
        )


def _not_repeatable(facts: Facts) -> Iterator[Diagnostic]:
    if facts.randomness is not None and not facts.randomness.repeatable:
        yield Diagnostic(
            "warning",
            "the same seed, epoch and image gave other pixels the second time: the augmentation draws from a "
            "generator that the seed does not reach",
            {"repeatable": False},
        )


def _nothing_random(facts: Facts) -> Iterator[Diagnostic]:
    if facts.randomness is not None and not facts.randomness.varies:
        yield Diagnostic("error", "every draw of the augmentation is the same", {"varies": False})


def _not_shuffled(facts: Facts) -> Iterator[Diagnostic]:
    if facts.randomness is not None and not facts.randomness.reshuffled:
        yield Diagnostic("error", "images come in the same order in every epoch", {"reshuffled": False})


AGAIN = "a known image sent through the recipe's own seeded data set in several places"
RULES = (
    Rule(
        "unseeded",
        ("note",),
        "own words",
        "the recipe's seed streams",
        "experiment.seed: 0 and sampling.seed_stream: named",
        _unseeded,
        (SEEDS_PSPNET, SEEDS_SEGNEXT, SEEDS_CUSTOM),
    ),
    Rule(
        "draws-replayed",
        ("error",),
        "official recipe",
        AGAIN,
        "sampling.replay_augmentation: false",
        _replayed,
        (FOUNDING,),
    ),
    Rule(
        "draws-shared-by-workers",
        ("error",),
        "official recipe",
        f"{AGAIN}, in two copies as loader workers have them",
        "draw from python's, numpy's or torch's global generator, which the loaders seed for each sample",
        _shared,
    ),
    Rule(
        "draws-not-repeatable",
        ("warning",),
        "own words",
        f"{AGAIN}, twice each",
        "draw from python's, numpy's or torch's global generator, which the loaders seed for each sample",
        _not_repeatable,
        (SAME_SEED,),
    ),
    Rule("nothing-random", ("error",), "official recipe", AGAIN, "add the official steps", _nothing_random),
    Rule(
        "not-shuffled",
        ("error",),
        "official recipe",
        "the order of two epochs",
        "sampling.shuffle: true",
        _not_shuffled,
    ),
)
