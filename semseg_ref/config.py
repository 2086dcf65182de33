"""The official configuration format: YAML sections flattened into one name space, overridden by `key value` pairs."""

import argparse
import ast
import copy
import math
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml

from semseg_ref.base.errors import InputError, OptionError, OptionTypeError, RunStopError, did_you_mean, one_line
from semseg_ref.base.safe.yaml import yaml_problem

# YAML 1.1 takes a number with an exponent but no point for text.
_TEXT_NUMBER = re.compile(r"[+-]?\d+[eE][+-]?\d+")


class MissingOptionError(OptionError, AttributeError):
    """An option that a program needs and the configuration lacks."""


class CfgNode(dict):
    """A dict whose entries are attributes too; nested dicts become nodes."""

    def __init__(self, entries: dict[str, Any] | None = None) -> None:
        super().__init__()
        for key, value in (entries or {}).items():
            self[key] = CfgNode(value) if type(value) is dict else value

    def __getattr__(self, name: str) -> Any:
        # Names with double underscores are python's own questions (copying, pickling), not the user's options.
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            hint = did_you_mean(name, self)
            near = hint if "did you mean" in hint else ""
            raise MissingOptionError(f"the configuration has no option '{name}'{near}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def load_cfg_from_cfg_file(path: str | Path) -> CfgNode:
    """Reads a YAML file of sections and drops the sections' names; of a key in two sections the later one counts.

    Raises:
        OptionError: no such file, a name that does not end in `.yaml`, invalid YAML, or an entry outside a section.
        OptionTypeError: a number such as `1e-4`, which YAML reads as text.
    """
    if not str(path).endswith(".yaml"):
        raise OptionError(f"{path}: a configuration file's name must end in .yaml")
    if not Path(path).is_file():
        raise OptionError(f"{path}: no such configuration file{_files_beside(Path(path))}")
    try:
        text = Path(path).read_text(encoding="utf-8")
        problem = yaml_problem(text)
        sections = None if problem else yaml.safe_load(text)
    except (yaml.YAMLError, OSError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise OptionError(f"{path}{place}: invalid YAML ({getattr(error, 'problem', None) or error})") from error
    if problem:
        raise OptionError(f"{path}: {problem}; this is no configuration file")
    if not isinstance(sections, dict):
        raise OptionError(f"{path}: expected sections such as DATA, TRAIN, Distributed, TEST with keys below them")
    cfg = CfgNode()
    for section, entries in sections.items():
        if entries is None:
            continue
        if not isinstance(entries, dict):
            raise OptionError(f"{path}: '{section}' is no section: expected keys indented below it, found {entries!r}")
        for key, value in entries.items():
            if isinstance(value, str) and _TEXT_NUMBER.fullmatch(value):
                digits, exponent = value.lower().split("e")
                raise OptionTypeError(f"{path}: {key}: YAML reads {value} as text; write {digits}.0e{exponent}")
        cfg.update(CfgNode(entries))
    return cfg


def _files_beside(path: Path) -> str:
    names = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    return did_you_mean(path.name, names)


def merge_cfg_from_list(cfg: CfgNode, opts: Sequence[Any]) -> CfgNode:
    """A copy of `cfg` with `[key, value, key, value, ...]` applied.

    Of a key only the part after the last dot counts (`TEST.scales` is `scales`). A value is parsed as a python literal,
    else kept as a string; its type must be that of the present value, except that tuple and list convert. So `1` is no
    float, `true` no bool, and a key whose value is empty takes nothing but `None` (reference behaviour: those are set
    in the file).

    Raises:
        OptionError: unknown key, or a key without a value.
        OptionTypeError: a value of another type.
    """
    if len(opts) % 2:
        raise OptionError(f"option '{opts[-1]}' has no value: expected pairs `key value`")
    merged = copy.deepcopy(cfg)
    for full_key, text in zip(opts[0::2], opts[1::2], strict=True):
        key = str(full_key).rsplit(".", maxsplit=1)[-1]
        if key not in cfg:
            raise OptionError(f"unknown option '{full_key}'{did_you_mean(key, cfg)}")
        merged[key] = _coerce(_decode(text), cfg[key], str(full_key))
    return merged


def _decode(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _coerce(value: Any, present: Any, key: str) -> Any:
    if type(value) is type(present):
        return value
    if isinstance(value, tuple) and isinstance(present, list):
        return list(value)
    if isinstance(value, list) and isinstance(present, tuple):
        return tuple(value)
    if present is None:
        raise OptionTypeError(f"option '{key}' is empty in the file: set it there, the command line takes only None")
    wanted, found = type(present).__name__, type(value).__name__
    hint = ""
    if isinstance(present, float) and type(value) is int:
        hint = f"; did you mean '{float(value)}'?"
    elif isinstance(present, bool) and str(value).lower() in ("true", "false"):
        hint = f"; did you mean '{str(value).capitalize()}'?"
    elif isinstance(present, str):
        hint = f"; quote it: \"'{value}'\""
    raise OptionTypeError(f"option '{key}': {value!r} is {found}, expected {wanted} such as {present!r}{hint}")


def require_whole(cfg: CfgNode, **smallest: int) -> None:
    """Raises unless each named option is a whole number and at least as large as given.

    A file may hold any type; only the command line's values are checked against the file's.

    Raises:
        OptionTypeError: another type.
        OptionError: a missing option, or a smaller number.
    """
    for key, least in smallest.items():
        value = getattr(cfg, key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise OptionTypeError(f"option '{key}': {value!r} is {type(value).__name__}, expected a whole number")
        if value < least:
            raise OptionError(f"option '{key}': {value}, expected at least {least}")


def require_numbers(cfg: CfgNode, *keys: str) -> None:
    """Raises OptionTypeError unless each named option is a finite number."""
    for key in keys:
        value = getattr(cfg, key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise OptionTypeError(f"option '{key}': {value!r} is {type(value).__name__}, expected a finite number")


@contextmanager
def exit_on_input_error(program: str = "") -> Iterator[None]:
    """Turns an `InputError` or `RunStopError` inside the block into one line on stderr and exit code 2 or its own."""
    try:
        yield
    except InputError as error:
        print(f"{program}: error: {one_line(error)}" if program else f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except RunStopError as error:
        print(f"{program}: error: {one_line(error)}" if program else f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_code)


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help shows the usage)\n")


def parse_command_line(description: str, argv: Sequence[str] | None = None) -> CfgNode:
    """Parses `--config FILE key value ...` into the merged configuration.

    Args:
        description: what the program does, for `--help`.
        argv: arguments without the program's name; None takes the process's.

    Raises:
        SystemExit: code 2 after one line on stderr when anything is wrong with the arguments or the file.
    """
    parser = _OneLineParser(description=description, allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="FILE", help="configuration in the official YAML format")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="key value", help="overrides, e.g. TEST.scales '[0.5, 1.0]'"
    )
    arguments = parser.parse_args(argv)
    with exit_on_input_error(parser.prog):
        return merge_cfg_from_list(load_cfg_from_cfg_file(arguments.config), arguments.opts)
