"""References of a config to its other keys (`${data.classes}`): which are allowed, and how large they may make it."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from semseg_ref.base.errors import InputError

ErrorAt = Callable[[Sequence[Any], str], InputError]
MAX_CHARACTERS = 1_000_000
MAX_HOPS = 50
_NESTED = re.compile(r"\$\{[^}]*\$\{")
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")


def check_values(content: Any, error_at: ErrorAt) -> None:
    """Stops what no merged config may hold, before any reference in it is resolved.

    That is a resolver such as `${oc.env:HOME}`, which would read the machine; a control character, which no name and no
    path has; and references that lead to themselves or, by doubling again and again, to more than memory holds.

    Args:
        content: of plain types.
        error_at: makes the error of a key path.

    Raises:
        InputError: `error_at(path, message)`.
    """
    for path, text in _texts(content):
        if any(":" in part.split("}")[0] for part in text.split("${")[1:]):
            raise error_at(path, f"'{text}': only references to other keys are allowed, e.g. ${{data.classes}}")
        if _NESTED.search(text):
            raise error_at(path, f"'{text}': a reference inside of a reference; write the key out")
        if any(ord(character) < 32 and character not in "\n\t" for character in text) or "\x7f" in text:
            raise error_at(path, f"{text!r}: holds control characters")
    try:
        _Growth(content, error_at).size(content, ())
    except RecursionError as error:
        raise error_at((), f"references that go on for more than {MAX_HOPS} keys") from error


def _texts(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key), str(key)
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))
    elif isinstance(value, str):
        yield path, value


class _Growth:
    """Characters of a config once its references are filled in; each target is counted once and then remembered."""

    def __init__(self, content: Any, error_at: ErrorAt) -> None:
        self.content, self.error_at = content, error_at
        self.known: dict[tuple, int] = {}
        self.open: list[tuple] = []

    def size(self, value: Any, path: tuple) -> int:
        """Of one value, at least 1."""
        if isinstance(value, dict):
            total = sum(len(str(key)) + self.size(inner, (*path, key)) for key, inner in value.items())
        elif isinstance(value, list):
            total = sum(self.size(inner, (*path, index)) for index, inner in enumerate(value))
        elif isinstance(value, str):
            total = len(value) + sum(self.size_of_target(found[1], path) for found in _REFERENCE.finditer(value))
        else:
            total = 0
        if total >= MAX_CHARACTERS:
            raise self.error_at(path, f"more than {MAX_CHARACTERS} characters once its references are filled in")
        return total + 1

    def size_of_target(self, reference: str, path: tuple) -> int:
        """Of what a reference at `path` stands for; 0 where there is nothing, which OmegaConf reports better."""
        target = self.follow(reference, path)
        if target is None:
            return 0
        if target in self.known:
            return self.known[target]
        if target in self.open or target == path[: len(target)]:
            raise self.error_at(path, f"'${{{reference}}}' leads back to itself")
        self.open.append(target)
        if len(self.open) > MAX_HOPS:
            raise self.error_at(path, f"references that go on for more than {MAX_HOPS} keys")
        self.known[target] = self.size(_at(self.content, target), target)
        self.open.pop()
        return self.known[target]

    def follow(self, reference: str, path: tuple) -> tuple | None:
        """Where a reference points; references on the way to it are followed."""
        for _ in range(MAX_HOPS):
            keys = reference.replace("[", ".").replace("]", "")
            up = len(keys) - len(keys.lstrip("."))
            target: list[Any] = [*(path[:-up] if up else ()), *(key for key in keys.split(".") if key)]
            for depth in range(len(target) + 1):
                value = _at(self.content, tuple(target[:depth]))
                found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
                if found is not None and depth < len(target):
                    path, reference = tuple(target[:depth]), ".".join([found[1], *map(str, target[depth:])])
                    break
                if isinstance(value, list) and depth < len(target) and str(target[depth]).isdecimal():
                    target[depth] = int(target[depth])
            else:
                return None if value is None else tuple(target)
        return None


def _at(content: Any, path: tuple) -> Any:
    for key in path:
        if isinstance(content, list) and isinstance(key, int) and key < len(content):
            content = content[key]
        elif isinstance(content, dict):
            content = content.get(key)
        else:
            return None
    return content
