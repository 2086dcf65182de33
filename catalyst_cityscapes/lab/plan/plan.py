"""The plan of a lab: which recipes (arms) are trained with which seeds, in which folder.

    LAB/plan.json                      the plan
    LAB/runs/<arm>/seed_<n>/           one run folder for each arm and seed
    LAB/runs/<arm>/seed_<n>/score/     its score.json and score.npz; score.json is written last

Seeds are paired: every arm is trained with the same ones. All randomness comes from the named streams of
`semseg_ref.base.seed_streams`, each draw a function of (seed, stream, position), so two runs of one seed share whatever
their recipes leave alone:

- the initial weights, as long as the same parameters of the same shapes are initialised in the same order (layers
  built before the first difference keep theirs in any case);
- which image is which sample of which epoch, where the list and `sampling.shuffle` agree (another batch size cuts the
  same order into other batches);
- the augmentation draws of (epoch, image), where the transforms agree in what they draw and in which order;
- the dropout masks of (epoch, step), where the layers and the batch agree.

Arithmetic is shared only on one kind of machine: on a CPU with the same number of threads an arm with the recipe of
the base gives the same bits; on a GPU some kernels add in an order that is not fixed, so it gives close numbers only.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError

from catalyst_cityscapes.recipe.changes import differing
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError, printable
from semseg_ref.base.files import create_folder, replace_atomically

PLAN_FILE = "plan.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
"""Of an arm: it names a folder."""
SET_BY_THE_LAB = ("seed", "name", "logdir")
"""Keys of `experiment` that a plan fills in for each run; they are no difference between recipes."""


@dataclass(frozen=True)
class Arm:
    """One recipe of a lab.

    Attributes:
        name: also a folder's name.
        recipe: checked; its `experiment.seed`, `name` and `logdir` are replaced in each run.
        source: config files and settings it was made of, in order, for people.
    """

    name: str
    recipe: Recipe
    source: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A lab.

    Attributes:
        folder: where it writes.
        arms: the first one is the base that the others are compared with.
        seeds: the same for every arm.
        trusted: packages allowed in recipes beside the standing list (`--trust`).
        threads: CPU threads of each run; sums of floats depend on their number.
        kind: `ab`, or `ladder`.
        extra: what else the kind has to remember; JSON values.
    """

    folder: Path
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    trusted: tuple[str, ...] = ()
    threads: int = 1
    kind: str = "ab"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]

    def arm(self, name: str) -> Arm:
        """The arm of a name; KeyError without one."""
        return {arm.name: arm for arm in self.arms}[name]

    def runs(self) -> list[tuple[str, int]]:
        """(arm name, seed) of every run, all arms of a seed before the next, so that a part of a lab is paired too."""
        return [(arm.name, seed) for seed in self.seeds for arm in self.arms]


def _folder_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot name a folder")
    return name


def _each_once(arms: "tuple[_ArmEntry, ...]") -> "tuple[_ArmEntry, ...]":
    if len({arm.name.casefold() for arm in arms}) < len(arms):
        raise ValueError("two arms of one name")
    return arms


class _ArmEntry(BaseModel):
    name: Annotated[str, AfterValidator(_folder_name)]
    recipe: Recipe
    source: tuple[Annotated[str, AfterValidator(printable)], ...]


class _File(BaseModel):
    kind: Literal["ab", "ladder"]
    seeds: tuple[NonNegativeInt, ...]
    threads: PositiveInt
    machine: dict[str, str]
    trusted: tuple[str, ...]
    arms: Annotated[tuple[_ArmEntry, ...], Field(min_length=1), AfterValidator(_each_once)]
    extra: dict[str, Any]


def run_folder(plan: Plan, arm_name: str, seed: int) -> Path:
    """Run folder of an arm and a seed."""
    return folder_of(plan.folder, arm_name, seed)


def folder_of(lab: Path, arm_name: str, seed: int) -> Path:
    """Run folder of an arm and a seed in a lab's folder."""
    return Path(lab) / "runs" / arm_name / f"seed_{seed}"


def recipe_of(plan: Plan, arm_name: str, seed: int) -> Recipe:
    """The recipe of one run: the arm's, with `experiment.seed`, `experiment.name` and `experiment.logdir` set."""
    recipe = plan.arm(arm_name).recipe
    values = {
        "seed": seed,
        "name": f"{arm_name}-seed_{seed}",
        "logdir": str(run_folder(plan, arm_name, seed)),
    }
    return recipe.model_copy(update={"experiment": recipe.experiment.model_copy(update=values)})


def differences(left: Recipe, right: Recipe) -> list[tuple[str, Any, Any]]:
    """Key paths at which two recipes differ, each with both values; `...` stands for a key that is not there.

    Mappings are compared key by key, anything else as a whole. What a lab sets itself (`experiment.seed`, `name`,
    `logdir`) is left out.
    """
    return [(".".join(path), old, new) for path, old, new in differing(_content(left), _content(right))]


def _content(recipe: Recipe) -> dict[str, Any]:
    content = recipe.plain()
    for key in SET_BY_THE_LAB:
        content["experiment"].pop(key)
    return content


def machine(arms: Sequence[Arm]) -> dict[str, str]:
    """What the arithmetic of a lab depends on beside the number of threads: torch's version and the device."""
    gpu = any(arm.recipe.engine.device != "cpu" for arm in arms) and torch.cuda.is_available()
    return {"torch": str(torch.__version__), "device": torch.cuda.get_device_name(0) if gpu else "cpu"}


def write_plan(plan: Plan) -> Plan:
    """Writes `plan.json`, with the arms and seeds that the folder has from before; returns that plan.

    Raises:
        InputError: see `check_same_plan`; the folder cannot be written.
    """
    before = check_same_plan(plan)
    if before is not None:
        added = tuple(arm for arm in plan.arms if arm.name not in {old.name for old in before.arms})
        plan = replace(
            plan,
            arms=(*before.arms, *added),
            seeds=tuple(sorted({*before.seeds, *plan.seeds})),
            trusted=tuple(dict.fromkeys((*before.trusted, *plan.trusted))),
        )
    content = {
        "kind": plan.kind,
        "seeds": list(plan.seeds),
        "threads": plan.threads,
        "machine": machine(plan.arms),
        "trusted": list(plan.trusted),
        "arms": [
            {
                "name": arm.name,
                "source": list(arm.source),
                "recipe": arm.recipe.plain(),
            }
            for arm in plan.arms
        ],
        "extra": plan.extra,
    }
    text = json.dumps(content, indent=1) + "\n"
    create_folder(plan.folder)
    replace_atomically(plan.folder / PLAN_FILE, lambda file: file.write(text.encode()))
    return plan


def _read(folder: Path) -> _File:
    path = Path(folder) / PLAN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        kind = "no such folder" if not Path(folder).is_dir() else f"a folder without {PLAN_FILE}"
        raise InputError(f"{folder}: no lab ({kind}); catalyst-dl ab makes one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as a lab's plan: {' '.join(str(error).split())}") from error
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(map(str, detail["loc"])) or "plan"
        raise InputError(f"{path}: no plan of a lab: {place}: {detail['msg']}") from error


def read_plan(folder: str | Path) -> Plan:
    """The plan of a lab's folder. Recipes are validated, their targets are not imported.

    Raises:
        InputError: no lab there, or a damaged plan.
    """
    file = _read(Path(folder))
    arms = tuple(Arm(arm.name, arm.recipe, arm.source) for arm in file.arms)
    return Plan(Path(folder), arms, file.seeds, file.trusted, file.threads, file.kind, file.extra)


def check_same_plan(plan: Plan) -> Plan | None:
    """The plan that the folder has from before, None without one. More arms and more seeds are allowed.

    Raises:
        InputError: the folder belongs to a lab of another kind, base, number of threads, torch or device, or an arm of
            one name has another recipe there.
    """
    path = plan.folder / PLAN_FILE
    if not path.exists():
        return None
    before, machine_before = read_plan(plan.folder), _read(plan.folder).machine
    another = "another lab needs another folder: --to FOLDER"
    if before.kind != plan.kind:
        raise InputError(f"{path}: a lab of kind {before.kind}, this one is {plan.kind}; {another}")
    if before.base.name != plan.base.name:
        raise InputError(f"{path}: the base is '{before.base.name}', here '{plan.base.name}'; {another}")
    recipes = {arm.name: arm.recipe for arm in before.arms}
    for arm in plan.arms:
        changed = differences(recipes[arm.name], arm.recipe) if arm.name in recipes else []
        if changed:
            key, old, new = changed[0]
            raise InputError(
                f"{path}: arm {arm.name}: {key} is {shown(old)} in this lab, {shown(new)} now; {another}, "
                "or give the arm another name"
            )
    if before.threads != plan.threads:
        raise InputError(
            f"{path}: this lab runs with {before.threads} threads, now {plan.threads}: sums of floats depend on their "
            f"number, and pairs would differ by it; --threads {before.threads}, or {another}"
        )
    for key, now in machine(plan.arms).items():
        if machine_before.get(key) != now:
            raise InputError(
                f"{path}: {key} was {machine_before.get(key)} in this lab, is {now} now: the runs would differ by it; "
                f"go on where it began, or {another}"
            )
    return before


def shown(value: Any, width: int = 60) -> str:
    """A recipe's value for people, shortened: a node as a call, `absent` for a key that is not there."""
    text = _written(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _written(value: Any) -> str:
    if value is ...:
        return "absent"
    if isinstance(value, dict) and isinstance(value.get("_target_"), str):
        arguments = (f"{key}={_written(inner)}" for key, inner in value.items() if key != "_target_")
        return f"{value['_target_'].rpartition('.')[2]}({', '.join(arguments)})"
    return value if isinstance(value, str) else json.dumps(value)
