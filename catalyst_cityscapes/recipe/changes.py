"""What may differ between a checkpoint's recipe and the one that goes on from it."""

from collections.abc import Iterator, Sequence
from typing import Any

from catalyst_cityscapes.recipe.key_roles import how_to_say_it, may_resume
from semseg_ref.base.errors import CheckpointError, InputError


def differing(left: Any, right: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """(key path, left, right) wherever two nested mappings differ; `...` stands for a key that is not there."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in dict.fromkeys((*left, *right)):
            yield from differing(left.get(key, ...), right.get(key, ...), (*path, str(key)))
    elif left != right:
        yield path, left, right


def is_below(path: str, names: Sequence[str]) -> bool:
    """Whether a key path is one of `names` or lies below one."""
    return any(path == name or path.startswith(name + ".") for name in names)


def check_changes(
    before: dict[str, Any] | None, now: dict[str, Any], path: object, allowed: Sequence[str] = ()
) -> list[str]:
    """Compares the recipe in a checkpoint with the one that is to go on from it.

    Args:
        before: the checkpoint's recipe, None where it has none (an official checkpoint).
        now: this run's, as JSON values.
        path: of the checkpoint, for messages.
        allowed: key paths that may differ all the same.

    Returns:
        One line for each difference that is worth telling.

    Raises:
        CheckpointError: naming the key paths that make it another training.
        InputError: an allowed key path that does not differ.
    """
    if before is None:
        return ["it holds no recipe, so nobody knows whether this run's is the same"]
    # A key that is absent means its default, and null is what keys that came later have.
    unset = (None, ...)
    paths = [key for key, old, new in differing(before, now) if not (old in unset and new in unset)]
    changed = {".".join(path): may_resume(path, before, now) for path in paths}
    for name in allowed:
        if not any(is_below(other, [name]) for other in changed):
            raise InputError(f"--allow-changed {name}: is as it was{_of_these(list(changed))}")
    refused = [name for name, answer in changed.items() if answer is False and not is_below(name, allowed)]
    if refused:
        shown = ", ".join(_described(name, before, now) for name in refused[:3])
        hint = how_to_say_it(paths[list(changed).index(refused[0])], before, now)
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        raise CheckpointError(
            f"{path}: was made with another recipe: {shown}{more}; restore the old value, start a new run with "
            f"--set experiment.name=NAME, or go on all the same with --allow-changed {refused[0]}{hint}"
        )
    told = {name: answer or "allowed; this is another training" for name, answer in changed.items()}
    return [f"{_described(name, before, now)}: {what}" for name, what in told.items() if isinstance(what, str)]


def _of_these(changed: list[str]) -> str:
    return f"; changed: {', '.join(changed[:5])}" if changed else "; nothing changed"


def _described(path: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    return f"{path} ({_value(before, path)}, now {_value(now, path)})"


def _value(content: Any, path: str) -> str:
    for key in path.split("."):
        if not isinstance(content, dict) or key not in content:
            return "absent"
        content = content[key]
    text = str(content)
    return text if len(text) <= 40 else text[:37] + "..."
