"""From the jobs of a table to recipes: what each changes of the recipe it starts from, and its name."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalyst_cityscapes.lab.generate.table import Job
from catalyst_cityscapes.recipe.changes import differing
from catalyst_cityscapes.recipe.key_roles import is_counted
from catalyst_cityscapes.recipe.loading import (
    Layers,
    Source,
    find_config,
    load_recipe,
    overlay,
    parse_settings,
    read_with_base,
    resolve_recipe,
)
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError

if TYPE_CHECKING:
    from torch import nn

KeyPath = tuple[str, ...]
OF_THE_RUN = (("experiment", "name"), ("experiment", "logdir"))


@dataclass(frozen=True)
class Generated:
    """A job's recipe.

    Attributes:
        job: what it was made from.
        name: of the file, without its ending, and of the experiment.
        start: the recipe that it starts from.
        recipe: what the file resolves to.
        own: keys that the file sets itself, on top of the starting recipe and the overlays; (key path, value).
        changes: (key path, before, now) of all that differs from the starting recipe; `...` is absent.
        is_published: nothing that can change a number differs, so that the published number is this recipe's too.
    """

    job: Job
    name: str
    start: Recipe
    recipe: Recipe
    own: tuple[tuple[KeyPath, Any], ...]
    changes: tuple[tuple[KeyPath, Any, Any], ...]
    is_published: bool


def generate(jobs: Sequence[Job]) -> list[Generated]:
    """The recipe of each job.

    Args:
        jobs: of a table.

    Raises:
        InputError: two jobs that would have one name, or the same recipe; a batch that cannot be dealt out; a recipe
            that is refused, as a crop that its network does not take. Naming the job's place.
    """
    made = [_generated(job, name) for job, name in zip(jobs, _names(jobs), strict=True)]
    for index, one in enumerate(made):
        for other in made[:index]:
            same_processes = one.job.processes == other.job.processes
            if same_processes and one.job.model == other.job.model and _trained(one) == _trained(other):
                raise InputError(
                    f"{one.job.place}: {one.name} is the same training as {other.name} ({other.job.place})"
                )
    return made


def _names(jobs: Sequence[Job]) -> list[str]:
    """A name for each job: what it says of itself, and its overlays and settings where it would not be the only one.

    Raises:
        InputError: names that are the same all the same, since one file would be written over the other.
    """
    names = [job.name or _name(job) for job in jobs]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    for index, job in enumerate(jobs):
        if names[index] in repeated and job.name is None:
            names[index] = "_".join(
                [names[index], *(Path(each).stem for each in job.overlays), *map(_word, job.settings)]
            )
    first: dict[str, Job] = {}
    for name, job in zip(names, jobs, strict=True):
        if name in first:
            raise InputError(f"{job.place}: {name}: {_clash(job, first[name])}")
        first[name] = job
    return names


def _clash(job: Job, other: Job) -> str:
    if job == other:
        return "the same combination is given twice; leave one out"
    if job.place == other.place:
        return "the name of two combinations; give each a row of a table, with a name"
    return f"the name of another job, {other.place}; give one a name"


def _name(job: Job) -> str:
    parts = ["_".join(Path(job.model.removesuffix(".yml")).parts[-2:]).lstrip("/._")]
    if job.crop is not None:
        parts.append("crop_{}x{}".format(*job.crop))
    if job.length is not None:
        unit, number = job.length
        parts.append(f"{number}{unit[0]}")
    if job.processes is not None:
        parts.append(f"{job.processes}x{job.images}" if job.images is not None else f"{job.processes}p")
    return "_".join(parts)


def _word(setting: str) -> str:
    return "".join(character if character.isalnum() or character in ".-" else "_" for character in setting)


@cache
def _start(model: str) -> Recipe:
    return load_recipe([model])


def _generated(job: Job, name: str) -> Generated:
    start = _start(job.model)
    sources = [source for part in (job.model, *job.overlays) for source in read_with_base(find_config(part), part)]
    try:
        below = resolve_recipe(Layers(sources))
        own = {("experiment", "name"): name, **_own_keys(job, below), **_flat(parse_settings(job.settings))}
        recipe = _resolved(sources, own, job)
        changes = tuple(change for change in differing(start.plain(), recipe.plain()) if change[0] not in OF_THE_RUN)
        counted = [path for path, _, _ in changes if path[0] != "expected" and is_counted(path, recipe.plain())]
        if counted and recipe.expected is not None and recipe.expected.miou is not None:
            own[("expected", "mIoU")] = None
            recipe = _resolved(sources, own, job)
        _check_network(recipe)
    except InputError as error:
        raise InputError(f"{job.place}: {error}") from error
    shown = tuple(change for change in changes if change[0][0] != "expected")
    return Generated(job, name, start, recipe, tuple(own.items()), shown, not counted)


def _check_network(recipe: Recipe) -> None:
    # Here, because it needs torch, for which a misspelt key does not wait.
    from catalyst_cityscapes.models.outputs import check_sides

    network = _network(json.dumps(recipe.model, sort_keys=True))
    check_sides(network, recipe.data.crop, "data.crop")
    if isinstance(recipe.protocol.crop, tuple):
        check_sides(network, recipe.protocol.crop, "protocol.crop")


@lru_cache(maxsize=1)
def _network(model: str) -> "nn.Module":
    # Jobs of one network mostly stand together; kept is one, since each may be large.
    from catalyst_cityscapes.recipe.nodes.targets import build, without_pretrained

    return build(without_pretrained(json.loads(model)), "model")


def _resolved(sources: Sequence[Source], own: dict[KeyPath, Any], job: Job) -> Recipe:
    return resolve_recipe(Layers([*sources, Source("set" if job.settings else "crop, length, batch", nested(own))]))


def nested(own: dict[KeyPath, Any]) -> dict[str, Any]:
    """Key paths and their values as the mapping that a recipe file holds."""
    content: dict[str, Any] = {}
    for path, value in own.items():
        for key in reversed(path):
            value = {key: value}
        content = overlay(content, value)
    return content


def _flat(content: dict[str, Any], path: KeyPath = ()) -> dict[KeyPath, Any]:
    found: dict[KeyPath, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value and "_target_" not in value:
            found |= _flat(value, (*path, str(key)))
        else:
            found[(*path, str(key))] = value
    return found


def _own_keys(job: Job, below: Recipe) -> dict[KeyPath, Any]:
    """What crop, length and batch write on a recipe that has its overlays already; nothing where it says so itself."""
    own: dict[KeyPath, Any] = {}
    crop = tuple(below.data.crop)
    if job.crop is not None and job.crop != crop:
        own["data", "crop"] = list(job.crop)
        protocol = below.protocol
        if protocol.crop is not None and protocol.crop == crop:
            # Windows of the training crop stay windows of it, and step by the same share of themselves.
            own["protocol", "crop"] = list(job.crop)
            if protocol.stride is not None:
                shares = zip(protocol.stride, crop, job.crop, strict=True)
                own["protocol", "stride"] = [math.ceil(stride * new / old) for stride, old, new in shares]
    if job.length is not None and getattr(below.experiment, job.length[0]) != job.length[1]:
        own["experiment", job.length[0]] = job.length[1]
    own.update(_batch(job, below))
    return own


def _batch(job: Job, below: Recipe) -> dict[KeyPath, Any]:
    sampling, processes = below.sampling, job.processes
    if processes is None:
        return {}
    if job.images is None:
        if not sampling.per_process and sampling.batch_size % processes:
            raise InputError(
                f"processes: {processes}: sampling.batch_size {sampling.batch_size} cannot be dealt out evenly; say "
                "how many images each takes (images)"
            )
        return {}
    size = job.images if sampling.per_process else job.images * processes
    return {} if size == sampling.batch_size else {("sampling", "batch_size"): size}


def _trained(made: Generated) -> dict[str, Any]:
    """A plain recipe without its run's name and folder, by which two of the same training differ."""
    content = made.recipe.plain()
    return {**content, "experiment": {**content["experiment"], "name": "", "logdir": ""}}
