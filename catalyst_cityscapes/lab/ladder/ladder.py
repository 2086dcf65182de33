"""A ladder: the components between two recipes, and the arms that measure each of them.

Arms: `from` and `to`; `with-X`, the first recipe and X of the second; `without-X`, the second but for X; `path-X`, the
first and everything up to X in the listed order. Arms whose recipes give the same numbers (`normal_form.fingerprint`)
are one arm, trained once: the first step of the path is `with-` its component, the last step is `to`, the one before
it `without-` the last component, and a component that changes no number, alone, is no run at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from catalyst_cityscapes.lab import DESIGNS
from catalyst_cityscapes.lab.ladder.components import Differences, combinations
from catalyst_cityscapes.lab.ladder.normal_form import fingerprint
from catalyst_cityscapes.lab.plan.plan import NAME, Arm
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError, did_you_mean, printable

FROM, TO = "from", "to"
KIND = "ladder"
LONGEST = 60 - len("without-")


@dataclass(frozen=True)
class Step:
    """A component of a ladder.

    Attributes:
        name: of the component; safe in a folder's name.
        source: what it is made of, for people: files and settings, or key paths.
        note: what is to be known of it; may be empty.
    """

    name: str
    source: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Ladder:
    """Components between two recipes, in the order of the path.

    Attributes:
        steps: the components.
        compose: the first recipe with the named components; `()` is the first recipe, all names are the second.
        source: what the first recipe is made of.
        notes: what the ladder measures and what not; may be empty.
        seeds: how many seeds the plan asks for, None where it does not say.
        trusted: packages allowed beside the standing list.
    """

    steps: tuple[Step, ...]
    compose: Callable[[Sequence[str]], Recipe]
    source: tuple[str, ...]
    notes: str = ""
    seeds: int | None = None
    trusted: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components."""
        return tuple(step.name for step in self.steps)


@dataclass(frozen=True)
class Rung:
    """Which arms measure a component; None where the design leaves that out.

    Attributes:
        name, source, note: see `Step`.
        added: the first recipe with it.
        removed: the second recipe without it.
        path: the first recipe with it and all components before it.
    """

    name: str
    source: tuple[str, ...]
    note: str
    added: str | None
    removed: str | None
    path: str | None


@dataclass(frozen=True)
class Roles:
    """What the arms of a ladder are for; kept in the lab's plan.

    Attributes:
        start, goal: the arms of the two recipes.
        rungs: one for each component.
        notes: see `Ladder`.
    """

    start: str
    goal: str
    rungs: tuple[Rung, ...]
    notes: str = ""

    def arms(self) -> tuple[str, ...]:
        """The names of all arms in use, each once, the first recipe's first."""
        used = [getattr(rung, design) for design in DESIGNS for rung in self.rungs]
        return tuple(dict.fromkeys([self.start, self.goal, *(name for name in used if name is not None)]))

    def to_json(self) -> dict[str, Any]:
        """For `Plan.extra`."""
        return asdict(self)

    @classmethod
    def from_json(cls, extra: dict[str, Any]) -> "Roles":
        """From `Plan.extra`.

        Raises:
            InputError: not of a ladder.
        """
        try:
            roles = TypeAdapter(cls).validate_python(extra)
        except ValidationError as error:
            detail = error.errors()[0]
            place = ".".join(map(str, detail["loc"]))
            raise InputError(
                f"{place}: {detail['msg']}; not the plan of a ladder, catalyst-dl ladder makes one"
            ) from error
        if not roles.rungs:
            raise InputError("rungs: not the plan of a ladder: it has no components")
        check_names([rung.name for rung in roles.rungs])
        rungs = tuple(
            replace(rung, source=tuple(map(printable, rung.source)), note=printable(rung.note)) for rung in roles.rungs
        )
        return replace(roles, rungs=rungs, notes=printable(roles.notes))


def automatic_ladder(found: Differences, source: Sequence[str]) -> Ladder:
    """The ladder between two recipes, whose components are read from their keys.

    Args:
        found: the two recipes taken apart.
        source: what the first recipe is made of.

    Raises:
        InputError: the two recipes give the same numbers.
    """
    if not found.components:
        raise InputError("FROM and TO train and test the same weights: no component differs, so there is no ladder")
    return Ladder(
        tuple(Step(component.name, component.keys) for component in found.components),
        found.recipe,
        tuple(source),
        trusted=found.trusted,
    )


def check_names(names: Sequence[str]) -> None:
    """Whether components can name folders.

    Raises:
        InputError: names that are no folder names, too long, or differ in case only.
    """
    for index, name in enumerate(names):
        if not NAME.fullmatch(name) or len(name) > LONGEST:
            raise InputError(
                f"components.{name}: expected a letter or digit, then letters, digits, '_', '-', '.', {LONGEST} at most"
            )
        if name.casefold() in {other.casefold() for other in names[:index]}:
            raise InputError(f"components.{name}: there is a component of that name; names differ in more than case")


def check_designs(designs: Sequence[str]) -> tuple[str, ...]:
    """The designs in their standing order, each once.

    Raises:
        InputError: an unknown one, or none.
    """
    for design in designs:
        if design not in DESIGNS:
            raise InputError(f"--design {design}: expected some of {','.join(DESIGNS)}{did_you_mean(design, DESIGNS)}")
    if not designs:
        raise InputError(f"--design: expected some of {','.join(DESIGNS)}")
    return tuple(design for design in DESIGNS if design in designs)


def ladder_arms(ladder: Ladder, designs: Sequence[str] = DESIGNS) -> tuple[tuple[Arm, ...], Roles]:
    """The arms that a design trains, each recipe once, and what each is for.

    A name does not depend on the design, so a lab can be continued with another one.

    Args:
        ladder: its components.
        designs: some of `DESIGNS`.

    Raises:
        InputError: a combination of components is no valid recipe, or changes what is tested.
    """
    designs = check_designs(designs)
    check_names(ladder.names)
    planned: dict[str, tuple[str, ...]] = {FROM: (), TO: ladder.names}
    for index, name in enumerate(ladder.names):
        planned[f"with-{name}"] = (name,)
        planned[f"without-{name}"] = tuple(other for other in ladder.names if other != name)
        planned[f"path-{name}"] = ladder.names[: index + 1]
    recipes = {names: _composed(ladder, names) for names in combinations(ladder.names)}
    owner: dict[str, str] = {}
    shared: dict[str, str] = {}
    for arm in sorted(planned, key=_rank):
        shared[arm] = owner.setdefault(fingerprint(recipes[planned[arm]], ladder.trusted), arm)
    rungs = tuple(
        Rung(
            step.name,
            step.source,
            step.note,
            shared[f"with-{step.name}"] if "added" in designs else None,
            shared[f"without-{step.name}"] if "removed" in designs else None,
            shared[f"path-{step.name}"] if "path" in designs else None,
        )
        for step in ladder.steps
    )
    roles = Roles(shared[FROM], shared[TO], rungs, ladder.notes)
    if roles.start == roles.goal:
        raise InputError("all components together change no number: FROM and TO are the same training and test")
    arms = tuple(
        Arm(name, recipes[planned[name]], (*ladder.source, *(f"+{part}" for part in planned[name])))
        for name in roles.arms()
    )
    return arms, roles


def _rank(arm: str) -> int:
    return next(
        rank
        for rank, start in enumerate((FROM, TO, "with-", "without-", "path-"))
        if arm == start or arm.startswith(start)
    )


def _composed(ladder: Ladder, names: Sequence[str]) -> Recipe:
    try:
        return ladder.compose(names)
    except InputError as error:
        raise InputError(f"FROM with {', '.join(names) or 'no component'}: {error}") from error
