"""Modules of a user's own that lie beside a recipe: importable when `--trust NAME` names them, and only these.

The folder itself is never put on python's path, so a file `random.py` beside a recipe shadows nothing, and no package
that looks for an optional module finds one there.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import BuiltinImporter, ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from semseg_ref.base.errors import InputError


class TrustedFiles(MetaPathFinder):
    """The last of python's finders: knows the trusted names, and where each lies.

    Attributes:
        files: top-level name -> its file, `NAME.py` or `NAME/__init__.py`.
        texts: top-level name -> its `sources` when it was trusted last.
        looked_in: folders that were searched last.
        trusted: every name that `--trust` gave, of files and of installed packages.
    """

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.texts: dict[str, dict[str, bytes]] = {}
        self.looked_in: tuple[Path, ...] = ()
        self.trusted: dict[str, None] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """python's question for a module."""
        if path is not None or name not in self.files:
            return None
        file = self.files[name]
        inside = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)


_FINDER = TrustedFiles()


def make_importable(trusted: Sequence[str], folders: Iterable[Path]) -> None:
    """Lets the trusted names that are files in the recipes' folders be imported; else those of the current folder.

    Args:
        trusted: names given with `--trust`.
        folders: of the recipe's files.

    Raises:
        InputError: a name stands for two different files, or for a file and an installed or standard module.
    """
    beside = tuple(dict.fromkeys(folder.resolve() for folder in folders))
    _FINDER.looked_in = tuple(dict.fromkeys((*beside, Path.cwd())))
    _FINDER.trusted |= dict.fromkeys(trusted)
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    for name in dict.fromkeys(name.partition(".")[0] for name in trusted):
        found = _files(name, beside) or _files(name, [Path.cwd()])
        if not found:
            continue
        first, *others = found
        for other in others:
            if sources(other) != sources(first):
                raise InputError(f"--trust {name}: {first} and {other} differ; which is meant? remove or rename one")
        elsewhere = _installed(name, first)
        if elsewhere is not None:
            raise InputError(
                f"--trust {name}: {first} and {elsewhere} have one name; rename the file beside the recipe"
            )
        text = sources(first)
        # Another recipe's file of that name, or one that was edited since, as in a notebook: it is imported anew.
        if name in _FINDER.files and (_FINDER.files[name] != first or _FINDER.texts[name] != text):
            for loaded in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
                del sys.modules[loaded]
        _FINDER.files[name], _FINDER.texts[name] = first, text


def _files(name: str, folders: Iterable[Path]) -> list[Path]:
    candidates = (folder / place for folder in folders for place in (f"{name}.py", f"{name}/__init__.py"))
    return [path.resolve() for path in candidates if path.is_file()]


def _installed(name: str, file: Path) -> str | None:
    """Where else a name comes from, None where it is only the file's or a copy of it."""
    if name in sys.stdlib_module_names or BuiltinImporter.find_spec(name) is not None:
        return "python's own module"
    spec = PathFinder.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    other = Path(spec.origin).resolve()
    is_same = other == file or (other.suffix == ".py" and other.is_file() and sources(other) == sources(file))
    return None if is_same else spec.origin


def hint_for(name: str, trusted: Sequence[str]) -> str:
    """What to do about a module that cannot be found: the tail of a message, empty where nothing is known."""
    if name in trusted:
        places = ", ".join(str(folder) for folder in _FINDER.looked_in)
        return f"; there is no {name}.py either in the folders of the recipe and of the command ({places})"
    found = _files(name, _FINDER.looked_in)
    return f"; {found[0]} is one: --trust {name} allows it for this run" if found else ""


def trusted_names() -> tuple[str, ...]:
    """The names that `--trust` gave for the recipes of this process."""
    return tuple(_FINDER.trusted)


def is_user_file(name: str) -> bool:
    """Whether a top-level name is a file beside a recipe."""
    return name in _FINDER.files


def sources(file: Path) -> dict[str, bytes]:
    """The python files of a module or package, by their path below the folder that it lies in."""
    if file.name != "__init__.py":
        return {file.name: file.read_bytes()}
    return {str(p.relative_to(file.parent.parent)): p.read_bytes() for p in sorted(file.parent.rglob("*.py"))}


def used(targets: Iterable[str]) -> dict[str, Path]:
    """The files beside a recipe that its targets come from."""
    names = {target.partition(".")[0] for target in targets}
    return {name: file for name, file in _FINDER.files.items() if name in names}


def use_code_of(folder: Path, targets: Iterable[str]) -> None:
    """Takes a run's own copies of the modules that its recipe names, where they differ from what is importable now.

    Args:
        folder: the run folder.
        targets: of the run's recipe, trusted already.
    """
    for name, file in used(targets).items():
        kept = _files(name, [folder])
        if kept and not (file.is_file() and sources(file) == sources(kept[0])):
            make_importable([name], [folder])


def digests(targets: Iterable[str]) -> dict[str, str]:
    """For each module of the user's that targets come from, 12 digits of the sha256 of its files."""
    result = {}
    for name, file in used(targets).items():
        content = b"\0".join(path.encode() + b"\0" + text for path, text in sources(file).items())
        result[f"{name} (trusted)"] = hashlib.sha256(content).hexdigest()[:12]
    return result
