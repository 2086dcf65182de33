"""Random changes of the shipped recipes, and what loading one may do. Also a program that looks for a counterexample.

    PYTHONPATH=. python tests/recipe_mutations.py --seed 0 --seconds 60

`load_bytes` takes any bytes, so that it serves as the target of a coverage-guided fuzzer (atheris) as it stands.
"""

import argparse
import copy
import random
import tempfile
import time
from pathlib import Path

import yaml

from catalyst_cityscapes.recipe.loading import CONFIGS, read_with_base, resolve_recipe
from catalyst_cityscapes.recipe.loading import Layers as RecipeLayers
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.errors import InputError, one_line

SHIPPED = sorted(CONFIGS.rglob("*.yml"))
LONGEST_MESSAGE = 20_000
VALUES = (
    *(None, True, -1, 0, 1, 0.5, 10**30, float("nan"), float("inf"), "", "x", "null", "..", "/etc/passwd"),
    *("\x1b[31m", "\x00", "${data.classes}", "${.x}", "${data}", "${", "${oc.env:HOME}", "${data.${data.root}}"),
    *("os.system", "torch.nn.Linear", "catalyst_cityscapes.callbacks.PolyLR", "torch.nn", "semseg_ref.transform."),
    *([], [1, 2], [[1]], {}, {"_target_": "os.system"}, {"_target_": 5}, {"_var_": "x"}, {"_mode_": "partial"}),
    *({"_target_": "torch.nn.Linear", "in_features": 1}, {"a": {"b": 1}}),
)
KEYS = ("_target_", "_mode_", "_var_", "lr", "base", "a.b", "", " ", "name", "classes", 5, True, None, "${x}", "\u202e")
BYTES = (b"\x00", b"\xff", b"&a ", b"*a ", b"${", b"}", b": ", b"- ", b"[", b"{", b"!!python/name:os.x ", b"\t", b"\n")


def load_bytes(content: bytes, folder: Path) -> Recipe | None:
    """A recipe, or None where the content is refused in one line; any other exception is a fault of ours."""
    path = folder / "fuzzed.yml"
    path.write_bytes(content)
    try:
        # On top of a whole recipe, so that an overlay can be accepted too.
        below = read_with_base(CONFIGS / "toy" / "pspnet50.yml", "toy/pspnet50")
        return resolve_recipe(RecipeLayers([*below, *read_with_base(path, path.name)]), ())
    except InputError as error:
        message = one_line(error)
        assert message, "an empty message"
        assert message.isprintable(), message
        assert len(message) < LONGEST_MESSAGE, message[:200]
        return None


def shipped(rng: random.Random) -> dict:
    """One of the shipped recipes, with its base filled in where it has one."""
    path = rng.choice(SHIPPED)
    return RecipeLayers(read_with_base(path, path.name)).merged()


def places(value: object) -> list[tuple[object, object]]:
    """(container, key) of every value inside of one."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += [(value, key), *places(inner)]
    return found


def mutated(rng: random.Random) -> bytes:
    """A shipped recipe with a few values, keys or bytes changed."""
    content = copy.deepcopy(shipped(rng))
    for _ in range(rng.randint(0, 3)):
        if not (found := places(content)):
            break
        container, key = rng.choice(found)
        how = rng.randrange(4)
        if how == 0 and isinstance(container, dict):
            container[rng.choice(KEYS)] = container.pop(key, None)
        elif how == 1:
            del container[key]
        elif how == 2 and isinstance(container, dict):
            container[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))
        else:
            container[key] = copy.deepcopy(rng.choice(VALUES))
    text = bytearray(yaml.safe_dump(content, sort_keys=False).encode())
    for _ in range(rng.choice((0, 0, 1, 3))):
        position = rng.randrange(len(text) + 1)
        text[position : position + rng.randrange(3)] = rng.choice(BYTES)
    return bytes(text)


def main() -> None:
    """Loads random recipes until the time is up, or one of them does what it must not."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first recipe; the next one has the next seed")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    end, seed, accepted = time.monotonic() + options.seconds, options.seed, 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            content = mutated(random.Random(seed))
            try:
                accepted += load_bytes(content, Path(folder)) is not None
            except BaseException:
                print(f"seed {seed}:\n{content.decode(errors='backslashreplace')}")
                raise
            seed += 1
    print(f"{seed - options.seed} recipes, {accepted} accepted, the others refused in one line")


if __name__ == "__main__":
    main()
