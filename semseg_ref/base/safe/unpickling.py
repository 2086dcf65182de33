"""Unpickling without running anything: what a pickle asks for beyond plain values becomes a placeholder.

A pickle is a program that names classes and functions and calls them. Here each name gives one of the few stand-ins
of `PlainUnpickler`, written for this purpose, or a `Placeholder`, which does nothing whatever is done to it.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from semseg_ref.base.safe.numpy_stand_ins import CORES, Array, NumberType, make_scalar

MEMO_CODES = ("PUT", "LONG_BINPUT")
"""Instructions whose number makes python's unpickler ask for that much memory."""


class Placeholder(type):
    """A class or function that is not known here: called, filled or built from, it stays itself.

    It is a class so that a pickle can also ask for a new object of it.
    """

    asks_for: str

    def __call__(cls, *args: Any, **kwargs: Any) -> "Placeholder":
        return cls

    def __setstate__(cls, state: Any) -> None:
        """State of the object is dropped."""

    def __setitem__(cls, key: Any, value: Any) -> None:
        """So are the entries of a dict's subclass,"""

    def append(cls, value: Any) -> None:
        """the items of a list's subclass,"""

    def extend(cls, values: Any) -> None:
        """several of them at once,"""

    def add(cls, value: Any) -> None:
        """and the items of a set's."""


def placeholder(name: str) -> Placeholder:
    """A new placeholder for a dotted name."""

    def same(cls: Placeholder, *args: Any, **kwargs: Any) -> Placeholder:
        return cls

    return Placeholder("placeholder", (), {"__new__": same, "asks_for": name})


class Allowed:
    """A function that a pickle may call. Closed otherwise: a pickle may also set any object's attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("state for a function")


class _Dict(dict):
    """In the place of `OrderedDict`, without the attributes that a pickle would give it."""

    def __setstate__(self, state: Any) -> None:
        """What torch keeps there is the version of each module."""


def _array(*_: Any) -> "_LooseArray":
    return _LooseArray()


class _LooseArray(Array):
    """An array that is left out where it holds other things than numbers."""

    def __setstate__(self, state: Any) -> None:
        try:
            super().__setstate__(state)
        except Exception:  # anything that such a state may be
            self.values = placeholder("numpy.ndarray")


def _number_type(code: Any, *_: Any) -> Any:
    try:
        return NumberType(code)
    except (pickle.UnpicklingError, TypeError):
        return placeholder("numpy.dtype")


def _scalar(number_type: Any, data: Any = None) -> Any:
    is_number = isinstance(number_type, NumberType) and isinstance(data, bytes)
    return make_scalar(number_type, data) if is_number else placeholder("numpy.generic")


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in another encoding than pickles use")
    return text.encode("latin1")


_PLAIN: dict[str, Any] = {
    "collections.OrderedDict": Allowed(lambda *items: _Dict(*items)),
    "collections.defaultdict": Allowed(lambda *_: _Dict()),
    "_codecs.encode": Allowed(_bytes),
    "numpy.dtype": Allowed(_number_type),
    "numpy.ndarray": None,  # an argument of the next only
    **{f"numpy.{core}.multiarray._reconstruct": Allowed(_array) for core in CORES},
    **{f"numpy.{core}.multiarray.scalar": Allowed(_scalar) for core in CORES},
    **{f"{name}.bytes": Allowed(_bytes) for name in ("builtins", "__builtin__")},
    **{f"{name}.set": Allowed(lambda items=(): set(items)) for name in ("builtins", "__builtin__")},
}


class PlainUnpickler(pickle.Unpickler):
    """Reads one pickle.

    Args:
        data: the pickle's bytes, see `one_pickle`.
        known: stand-ins by dotted name, beside those of python and numpy: values that nothing can be done to, or
            `Allowed`.
        load: (persistent id) -> what the pickle means by it.
    """

    def __init__(self, data: bytes, known: Mapping[str, Any], load: Callable[[Any], Any]) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._known = {**_PLAIN, **known}
        self._load = load

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a class or function; it is neither imported nor looked up."""
        full = f"{module}.{name}"
        return self._known[full] if full in self._known else placeholder(full)

    def persistent_load(self, pid: Any) -> Any:
        """As given."""
        return self._load(pid)


def one_pickle(file: BinaryIO) -> bytes:
    """The bytes of the pickle that starts where `file` stands, which is behind it afterwards.

    Raises:
        ValueError: it ends early, or is no pickle.
        pickle.UnpicklingError: it is made to take far more memory than it has bytes.
    """
    start, largest = file.tell(), 0
    for code, argument, _ in pickletools.genops(file):
        largest = max(largest, argument if code.name in MEMO_CODES else 0)
    size = file.tell() - start
    if largest > size:
        raise pickle.UnpicklingError("a pickle that numbers more objects than it has bytes")
    file.seek(start)
    return file.read(size)


class LeftOutError(Exception):
    """A value is, or holds, a placeholder."""

    def __init__(self, asks_for: str) -> None:
        super().__init__(asks_for)
        self.asks_for = asks_for


class PlainValues:
    """Takes an unpickled value apart: plain ones stay, entries of dicts with a placeholder in them are left out.

    Args:
        special: (value) -> the same in plain, or None: for values of the caller's own classes.

    Attributes:
        left_out: dotted names of the placeholders, by the place of the entry, a dict's keys from the top.
    """

    def __init__(self, special: Callable[[Any], Any]) -> None:
        self.left_out: dict[tuple[str, ...], str] = {}
        self._special = special
        self._done: dict[int, Any] = {}

    def of(self, value: Any, place: tuple[str, ...] = ()) -> Any:
        """The plain value; objects that the pickle refers to several times are looked at once.

        Raises:
            LeftOutError: it is a placeholder, or a list of some.
            pickle.UnpicklingError: it holds itself.
        """
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return value
        if isinstance(value, Placeholder):
            raise LeftOutError(value.asks_for)
        if id(value) in self._done:
            found = self._done[id(value)]
            if isinstance(found, BaseException):
                raise found
            return found
        self._done[id(value)] = pickle.UnpicklingError("a value that holds itself")
        try:
            plain = self._plain(value, place)
        except LeftOutError as left:
            self._done[id(value)] = left
            raise
        self._done[id(value)] = plain
        return plain

    def _plain(self, value: Any, place: tuple[str, ...]) -> Any:
        if isinstance(value, Array):
            return self.of(value.values, place)
        if isinstance(value, dict):
            return self._dict(value, place)
        for kind in (list, tuple, set):
            if type(value) is kind:
                return kind(self.of(inner, (*place, "")) for inner in value)
        special = self._special(value)
        if special is None:
            raise LeftOutError(type(value).__name__)
        return special

    def _dict(self, value: dict, place: tuple[str, ...]) -> dict:
        plain = {}
        for key, inner in value.items():
            name = key if isinstance(key, str) else repr(key) if isinstance(key, int | float) else ""
            try:
                plain[self.of(key)] = self.of(inner, (*place, name))
            except LeftOutError as left:
                self.left_out[(*place, name)] = left.asks_for
        return plain
