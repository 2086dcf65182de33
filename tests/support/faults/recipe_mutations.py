"""Random changes of the shipped recipes and ladder plans, and what loading one may do.

`fuzz_recipe_loader.py` is the program. `load_bytes` and `load_ladder_bytes` take any bytes, so each serves as the
target of a coverage-guided fuzzer (atheris) as it stands.
"""

import copy
import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from catalyst_cityscapes.lab.ladder.file import read_ladder
from catalyst_cityscapes.lab.ladder.ladder import Ladder, check_names
from catalyst_cityscapes.recipe.loading import CONFIGS, Layers, Source, read_with_base, resolve_recipe
from catalyst_cityscapes.recipe.places import shipped_configs
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError, one_line

LADDERS = sorted((CONFIGS / "ladders").glob("*.yml"))
RECIPES = sorted({CONFIGS / name for name in shipped_configs()} - set(LADDERS))
LONGEST_MESSAGE = 20_000
VALUES = (
    *(None, True, -1, 0, 1, 0.5, 10**30, float("nan"), float("inf"), "", "x", "null", "..", "/etc/passwd"),
    *("\x1b[31m", "\x00", "${data.classes}", "${.x}", "${data}", "${", "${oc.env:HOME}", "${data.${data.root}}"),
    *("os.system", "torch.nn.Linear", "catalyst_cityscapes.callbacks.PolyLR", "torch.nn", "semseg_ref.transform."),
    *([], [1, 2], [[1]], {}, {"_target_": "os.system"}, {"_target_": 5}, {"_var_": "x"}, {"_mode_": "partial"}),
    *({"_target_": "torch.nn.Linear", "in_features": 1}, {"a": {"b": 1}}, "a=1", "${data.crop[9]}", "${a.b.c}"),
)
KEYS = ("_target_", "_mode_", "_var_", "lr", "base", "a.b", "", " ", "name", "classes", 5, True, None, "${x}", "\u202e")
BYTES = (b"\x00", b"\xff", b"&a ", b"*a ", b"${", b"}", b": ", b"- ", b"[", b"{", b"!!python/name:os.x ", b"\t", b"\n")


class BadMessageError(Exception):
    """A refusal that is no printable line of a sensible length."""


def refused_in_one_line(load: Callable[[], Any]) -> Any:
    """What a loader returns, or None where it refuses its input as it should; any other exception is a fault of ours.

    Raises:
        BadMessageError: the refusal, as a command prints it, is empty, not one printable line, or very long.
    """
    try:
        return load()
    except InputError as error:
        message = one_line(error)
        if not message or not message.isprintable() or len(message) > LONGEST_MESSAGE:
            raise BadMessageError(repr(message[:500])) from error
        return None


@functools.cache
def _below() -> tuple[Source, ...]:
    return tuple(read_with_base(CONFIGS / "toy" / "pspnet50.yml", "toy/pspnet50"))


def load_bytes(content: bytes, folder: Path) -> Recipe | None:
    """A recipe from a file with this content on top of a whole recipe, so that an overlay can be accepted too."""
    path = folder / "fuzzed.yml"
    path.write_bytes(content)
    return refused_in_one_line(lambda: resolve_recipe(Layers([*_below(), *read_with_base(path, path.name)])))


def load_ladder_bytes(content: bytes, folder: Path) -> Ladder | None:
    """A ladder from a file with this content; its components are composed once, all of them together."""
    path = folder / "fuzzed.yml"
    path.write_bytes(content)

    def load() -> Ladder:
        ladder = read_ladder(str(path))
        check_names(ladder.names)
        ladder.compose(ladder.names)
        return ladder

    return refused_in_one_line(load)


@functools.cache
def _merged(path: Path) -> dict[str, Any]:
    return Layers(read_with_base(path, path.name)).merged()


def places(value: object) -> list[tuple[object, object]]:
    """(container, key) of every value inside of one."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += [(value, key), *places(inner)]
    return found


def mutated(rng: random.Random, files: list[Path] = RECIPES) -> bytes:
    """A shipped file, its base filled in, with a few values, keys or bytes changed."""
    content = copy.deepcopy(_merged(rng.choice(files)))
    for _ in range(rng.randint(0, 3)):
        if not (found := places(content)):
            break
        container, key = rng.choice(found)
        how = rng.randrange(5)
        if how == 0 and isinstance(container, dict):
            container[rng.choice(KEYS)] = container.pop(key, None)
        elif how == 1:
            del container[key]
        elif how == 2 and isinstance(container, dict):
            container[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))
        elif how == 3:
            other, name = rng.choice(places(_merged(rng.choice(files))))
            container[key] = copy.deepcopy(other[name])
        else:
            container[key] = copy.deepcopy(rng.choice(VALUES))
    text = bytearray(yaml.safe_dump(content, sort_keys=False).encode())
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        _change_bytes(text, rng)
    return bytes(text)


def _change_bytes(text: bytearray, rng: random.Random) -> None:
    position = rng.randrange(len(text) + 1)
    end = min(position + rng.randrange(1, 40), len(text))
    how = rng.randrange(6)
    if how == 0:
        text[position : position + rng.randrange(3)] = rng.choice(BYTES)
    elif how == 1 and position < len(text):
        text[position] ^= 1 << rng.randrange(8)
    elif how == 2:
        del text[position:end]
    elif how == 3:
        text[end:end] = text[position:end]
    elif how == 4:
        del text[position:]
    else:
        text[position:position] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5)))
