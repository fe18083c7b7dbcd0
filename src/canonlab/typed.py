"""Typed values from plain data (YAML, JSON, words of the command line), by the types that a dataclass declares.

One value has one meaning, however it is written: 2, 2.0 and "2" are the integer 2 where an integer is declared, and the
float 2.0 where a float is. True and false are never numbers, and text is never made of anything else. What is declared
by no type that is known here, or by a name that can't be found, stays as it is.
"""

import dataclasses
import functools
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from canonlab.errors import InputError, shown, unknown

T = TypeVar("T")

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DECIMAL = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.?inf|\.?nan", re.IGNORECASE)
LONGEST = 100
"""Characters of a number as text; nobody means a longer one."""


def number(value: object) -> int | float | None:
    """The number that a value is, or that a text says in plain decimals (or as inf or nan); None for anything else."""
    if isinstance(value, int | float):
        return None if isinstance(value, bool) else value
    if not isinstance(value, str) or len(value) > LONGEST:
        return None
    if INTEGER.fullmatch(value):
        return int(value)
    if NOT_FINITE.fullmatch(value):
        return float(value.replace(".", ""))
    found = float(value) if DECIMAL.fullmatch(value) else math.inf
    return found if math.isfinite(found) else None  # not 1e999


def user_path(path: str | Path) -> Path:
    """A path as a user writes it: `~` is their home folder."""
    return Path(os.path.expanduser(path))


def _boolean(value: object) -> bool | None:
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else _own(bool, value)


def _integer(value: object) -> int | None:
    found = number(value)
    return int(found) if isinstance(found, int) or (found is not None and found.is_integer()) else None


def _float(value: object) -> float | None:
    found = number(value)
    try:
        return None if found is None else float(found) + 0.0  # -0.0 and 0.0 are one value
    except OverflowError:
        return None


def _own(cls: type[T], value: object) -> T | None:
    return value if isinstance(value, cls) else None


SCALARS: dict[Any, tuple[Callable[[Any], Any], str]] = {
    str: (functools.partial(_own, str), "text"),
    Path: (lambda value: user_path(value) if isinstance(value, str | Path) else None, "a path"),
    bool: (_boolean, "true or false"),
    int: (_integer, "an integer"),
    float: (_float, "a number"),
}
"""What makes a value of a type, or None, and the words for it; in the order in which members of a union are tried."""


def coerce(value: Any, declared: Any, field: str) -> Any:
    """`value` as what is `declared`; an InputError that names the `field` where it isn't that."""
    if isinstance(declared, type) and declared in SCALARS:
        scalar, words = SCALARS[declared]
        if (made := scalar(value)) is None:
            raise _refused(value, words, field)
        return made
    origin, parts = get_origin(declared) or declared, get_args(declared)
    if origin in (Annotated, Final) and parts:
        return coerce(value, parts[0], field)
    if origin in (Union, UnionType):
        return _member(value, parts, field)
    if origin is Literal:
        return _word(value, parts, field)
    if (allowed := _allowed(declared)) is None or (origin is NoneType and value is None):
        return value
    made = None
    if isinstance(value, list | tuple) and origin in (tuple, list, Sequence):
        made = _entries(value, origin, parts, field)
    elif isinstance(value, Mapping) and origin in (dict, Mapping):
        key, entry = parts or (Any, Any)
        made = {coerce(k, key, f"name in {field}"): coerce(v, entry, f"{field}.{k}") for k, v in value.items()}
    elif isinstance(origin, type) and dataclasses.is_dataclass(origin):
        made = build(origin, value, field) if isinstance(value, Mapping) else _own(origin, value)
    if made is None:
        raise _refused(value, allowed, field)
    return made


def build(cls: type[T], given: Mapping[str, Any], field: str = "") -> T:
    """The dataclass whose fields are given as plain data. InputError for unknown, missing and wrong ones."""
    values = arguments(cls, given, field)
    for each in dataclasses.fields(cls):  # type: ignore[arg-type]
        needed = each.init and each.default is each.default_factory is dataclasses.MISSING
        if needed and each.name not in values:
            raise InputError(f"{_dotted(field, each.name)}: missing")
    return cls(**values)


def arguments(cls: type, given: Mapping[str, Any], field: str = "", what: str = "field") -> dict[str, Any]:
    """The given fields of a dataclass as it declares them. InputError for unknown and wrong ones."""
    declared = fields(cls)
    for name in given:
        if name not in declared:
            raise unknown(f"{what} of {field}" if field else what, name, declared)
    return {name: coerce(value, declared[name], _dotted(field, name)) for name, value in given.items()}


@functools.cache
def fields(cls: type) -> dict[str, Any]:
    """What each field that a dataclass takes is declared as; Any where a name in that can't be found."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        # an annotation means what it means where it was written, and inherited fields are the very same objects
        owner = next(c for c in cls.__mro__[::-1] if vars(c).get("__dataclass_fields__", {}).get(field.name) is field)
        names = vars(owner) | vars(sys.modules.get(owner.__module__, SimpleNamespace()))
        alone = SimpleNamespace(__annotations__={field.name: field.type})
        try:
            hints = get_type_hints(alone, names, names)
        except Exception:  # an annotation may be any expression
            hints = {field.name: Any}
        if field.init:
            found |= hints
    return found


def plain(value: Any) -> Any:
    """What `coerce` made, as data that JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        entries = [plain(entry) for entry in value]
        return entries if isinstance(value, list) else tuple(entries)
    return str(value) if isinstance(value, Path) else value


def _member(value: Any, options: Sequence[Any], field: str) -> Any:
    """The value as the first member of a union that takes it: text is text where it may be, and 2.0 an integer."""
    refusals = []
    for option in sorted(options, key=_rank):
        try:
            return coerce(value, option, field)
        except InputError as error:
            refusals.append(error)
    inside = [error for error in refusals if not str(error).startswith(f"{field} = ")]  # those that say more
    raise inside[0] if inside else _refused(value, " or ".join(map(str, map(_allowed, options))), field)


def _rank(option: Any) -> int:
    order = [NoneType, Literal, *SCALARS]
    origin = get_origin(option) or option
    return order.index(origin) if origin in order else len(order) + (_allowed(option) is None)


def _word(value: Any, words: Sequence[Any], field: str) -> Any:
    for word in words:
        try:
            if coerce(value, type(word), field) == word:
                return word
        except InputError:
            continue
    if all(isinstance(word, str) for word in words):
        raise unknown(field, value, words)
    raise _refused(value, " or ".join(map(repr, words)), field)


def _entries(value: Sequence[Any], origin: Any, parts: Sequence[Any], field: str) -> Any:
    types = parts if _fixed(origin, parts) else [*parts[:1], Any][:1] * len(value)
    if len(types) != len(value):
        return None
    made = [coerce(entry, kind, f"{field}[{i}]") for i, (entry, kind) in enumerate(zip(value, types, strict=True))]
    return made if origin is list else tuple(made)


def _fixed(origin: Any, parts: Sequence[Any]) -> bool:
    """Whether a list has as many entries as are declared."""
    return origin is tuple and bool(parts) and parts[-1] is not Ellipsis


def _allowed(declared: Any) -> str | None:
    """What a declaration allows, in words; None if that is anything."""
    origin, parts = get_origin(declared) or declared, get_args(declared)
    if not isinstance(origin, type):
        return None
    if origin in SCALARS:
        return SCALARS[origin][1]
    if origin in (tuple, list, Sequence):
        return f"a list of {len(parts)}" if _fixed(origin, parts) else "a list"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(origin):
        return "a mapping"
    return "null" if origin is NoneType else None


def _refused(value: object, allowed: str, field: str) -> InputError:
    return InputError(f"{field} = {shown(value)}: must be {allowed}")


def _dotted(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
