"""One value has one meaning by its declared type, and what has none is refused in one line."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonlab import typed
from canonlab.errors import InputError, shown
from canonlab.plugins import load_plugin
from canonlab.typed import user_path

if TYPE_CHECKING:
    from nowhere import Unknown

BIG = 10**30


@dataclasses.dataclass(frozen=True)
class Inner:
    a: int
    b: float = 1.5


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    names: tuple[str, ...] = ()
    unknown: Unknown | None = None
    made: int = dataclasses.field(default=0, init=False)


def same(value: Any, expected: Any) -> bool:
    """Whether two values are equal and of the same types, all the way down."""
    return repr(value) == repr(expected)


@pytest.mark.parametrize(
    ("declared", "value", "expected"),
    [
        (int, 2, 2),
        (int, 2.0, 2),
        (int, "2", 2),
        (int, "2.0", 2),
        (int, "-2e3", -2000),
        (int, -0.0, 0),
        (int, BIG, BIG),
        (int, str(BIG), BIG),
        (float, 2, 2.0),
        (float, "2", 2.0),
        (float, "1e-3", 0.001),
        (float, "+.5", 0.5),
        (float, -0.0, 0.0),
        (float, "-inf", -math.inf),
        (float, ".nan", math.nan),
        (bool, True, True),
        (bool, "false", False),
        (str, "2", "2"),
        (str, "", ""),
        (Path, "a/b", Path("a/b")),
        (Path, Path("a"), Path("a")),
        (None, 3, 3),
        (type(None), None, None),
        (tuple[int, float], [1.0, 2], (1, 2.0)),
        (tuple[int, ...], ("1", 2.0), (1, 2)),
        (tuple, [1, "x"], (1, "x")),
        (list[float], (1, 2), [1.0, 2.0]),
        (list, [1, "x"], [1, "x"]),
        (Sequence[int], [1.0], (1,)),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (Mapping[str, Any], {"a": "1"}, {"a": "1"}),
        (dict, {1: 2}, {1: 2}),
        (int | None, None, None),
        (int | None, "3", 3),
        (str | int, "3", "3"),
        (str | int, 3.0, 3),
        (float | int, 3.0, 3),
        (float | int, 3.5, 3.5),
        (bool | int, True, True),
        (bool | int, 1, 1),
        (Any | int, "x", "x"),
        (tuple[int, ...] | int, [1.0], (1,)),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2.0", 2),
        (Literal["x", 1] | None, 1.0, 1),
        (Annotated[int, "as text"], "3", 3),
        (Inner, {"a": "1"}, Inner(1)),
        (Inner, Inner(1), Inner(1)),
        (Outer, {"inner": {"a": 1.0, "b": 2}, "names": ["x"]}, Outer(Inner(1, 2.0), ("x",))),
        (Any, {"a": [True]}, {"a": [True]}),
        (complex, "1", "1"),
        ([int], "1", "1"),
    ],
)
def test_a_value_as_its_field_declares_it(declared: Any, value: Any, expected: Any) -> None:
    assert same(typed.coerce(value, declared, "field"), expected)


@pytest.mark.parametrize(
    ("declared", "value", "message"),
    [
        (int, True, "f = True: must be an integer"),
        (int, 2.5, "f = 2.5: must be an integer"),
        (int, math.nan, "f = nan: must be an integer"),
        (int, math.inf, "f = inf: must be an integer"),
        (int, "inf", "f = 'inf': must be an integer"),
        (int, "1_000", "f = '1_000': must be an integer"),
        (int, "010", "f = '010': must be an integer"),
        (int, "0x10", "f = '0x10': must be an integer"),
        (int, " 1", "f = ' 1': must be an integer"),
        (int, "\u0663", "f = '\u0663': must be an integer"),  # a digit to Python
        (int, "", "f = '': must be an integer"),
        (int, None, "f = None: must be an integer"),
        (float, False, "f = False: must be a number"),
        (float, "1e999", "f = '1e999': must be a number"),
        (float, "infinity", "f = 'infinity': must be a number"),
        (float, 10**400, f"f = {shown(10**400)}: must be a number"),
        (float, "9" * 5000, f"f = {shown('9' * 5000)}: must be a number"),
        (bool, 1, "f = 1: must be true or false"),
        (bool, "yes", "f = 'yes': must be true or false"),
        (str, 2, "f = 2: must be text"),
        (str, None, "f = None: must be text"),
        (Path, 2, "f = 2: must be a path"),
        (type(None), 0, "f = 0: must be null"),
        (tuple[int, int], [1], "f = [1]: must be a list of 2"),
        (tuple[int, int], "12", "f = '12': must be a list of 2"),
        (tuple[int, ...], 1, "f = 1: must be a list"),
        (list[int], [1, [2]], "f[1] = [2]: must be an integer"),
        (dict[str, int], [1], "f = [1]: must be a mapping"),
        (dict[str, int], {"a": "b"}, "f.a = 'b': must be an integer"),
        (dict[str, int], {1: 1}, "name in f = 1: must be text"),
        (int | None, "x", "f = 'x': must be an integer or null"),
        (int | str, [], "f = []: must be an integer or text"),
        (tuple[int, int] | None, [1, "x"], "f[1] = 'x': must be an integer"),
        (Literal["first", "last"], "lst", "unknown f 'lst'; did you mean 'last'? (allowed: first, last)"),
        (Literal[1, "x"], True, "f = True: must be 1 or 'x'"),
        (Inner, 3, "f = 3: must be a mapping"),
        (Inner, {}, "f.a: missing"),
        (Inner, {"a": 1, "bb": 2}, "unknown field of f 'bb'; did you mean 'b'? (allowed: a, b)"),
        (Outer, {"inner": {"a": "x"}}, "f.inner.a = 'x': must be an integer"),
        (Outer, {"inner": {"a": 1}, "made": 1}, "unknown field of f 'made'"),
        (Outer, {"inner": {"a": 1}, "names": "xy"}, "f.names = 'xy': must be a list"),
    ],
)
def test_what_is_refused_says_where_and_what_is_allowed(declared: Any, value: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        typed.coerce(value, declared, "f")
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(InputError) as error:
        typed.coerce("x" * 10_000, int, "f")
    assert len(str(error.value)) < 200 and "xx...xx" in str(error.value)
    with pytest.raises(InputError) as error:
        typed.coerce(list(range(1000)), dict, "f")
    assert str(error.value) == "f = [0, 1, 2, 3, 4, 5, ...]: must be a mapping"


def test_one_part_of_a_class() -> None:
    assert same(typed.arguments(Inner, {"b": 2}), {"b": 2.0})
    with pytest.raises(InputError, match=r"unknown word 'c' \(allowed: a, b\)"):
        typed.arguments(Inner, {"c": 2}, what="word")


@given(st.integers(-(10**40), 10**40))
def test_an_integer_is_one_value_however_it_is_written(value: int) -> None:
    forms = [value, str(value), f"{value}.0", f"{value}."] if abs(value) < 2**53 else [value, str(value)]
    forms += [float(value)] if abs(value) < 2**53 else []
    assert {repr(typed.coerce(form, int, "f")) for form in forms} == {repr(value)}


@given(st.floats(allow_nan=False))
def test_a_float_is_what_python_writes(value: float) -> None:
    assert typed.coerce(repr(value), float, "f") == typed.coerce(value, float, "f") == value


@given(st.text("0159+-._eExoinfa :"))
def test_no_text_is_a_number_by_accident(text: str) -> None:
    if (found := typed.number(text)) is not None:
        finite = math.isfinite(found)
        assert repr(float(text if finite else text.replace(".", ""))) == repr(float(found))
        digits = text.lstrip("+-").lower().partition("e")[0]
        assert not finite or (set(digits) <= set("0159.") and not digits.startswith(("00", "01", "05", "09")))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_what_stays_is_never_of_another_type(value: Any) -> None:
    for declared, kinds in ((int, int), (float, float), (str, str), (bool, bool), (list[int] | None, list | None)):
        try:
            made = typed.coerce(value, declared, "f")
        except InputError:
            continue
        assert isinstance(made, kinds) and (declared is bool or not isinstance(made, bool))


FILES = {
    "base": "from __future__ import annotations\nimport dataclasses\nfrom pathlib import Path as Where\n"
    "@dataclasses.dataclass(frozen=True)\nclass Base:\n    where: Where\n    N: int = 3\n",
    "own": "from __future__ import annotations\nimport dataclasses\nfrom typing import TYPE_CHECKING, ClassVar\n"
    "import sys\nsys.path.insert(0, {folder!r})\nfrom typed_base import Base\nsys.path.pop(0)\n"
    "if TYPE_CHECKING:\n    from nowhere import Thing\n"
    "@dataclasses.dataclass(frozen=True)\nclass Own(Base):\n    thing: Thing = 1\n    share: float = 1\n"
    "    odd: 1 + 'x' = 2\n    name: ClassVar[str] = 'own'\n",
}


def test_annotations_as_text_are_read_where_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "typed_base.py").write_text(FILES["base"])
    (tmp_path / "own.py").write_text(FILES["own"].replace("{folder!r}", repr(str(tmp_path))))
    own = load_plugin(f"{tmp_path / 'own.py'}:Own").cls
    assert typed.fields(own) == {"where": Path, "N": int, "thing": Any, "share": float, "odd": Any}
    values = typed.arguments(own, {"where": "x", "N": "2", "thing": [1], "share": 2, "odd": "2"})
    assert same(values, {"where": Path("x"), "N": 2, "thing": [1], "share": 2.0, "odd": "2"})


def test_plain_data_and_back() -> None:
    value = Outer(Inner(1, 2.0), ("x", "y"), {"p": [Path("a/b"), (1, Inner(2))]})
    plain = typed.plain(value)
    assert plain["unknown"] == {"p": ["a/b", (1, {"a": 2, "b": 1.5})]} and plain["names"] == ("x", "y")
    content = json.loads(json.dumps({key: plain[key] for key in ("inner", "names")}))
    assert typed.build(Outer, content) == Outer(Inner(1, 2.0), ("x", "y"))


def test_a_users_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("USERPROFILE", "/home/ann")
    expanded = {"~/a": "/home/ann/a", "~": "/home/ann", "a/~": "a/~", "./~": "~"}
    assert {path: str(user_path(path)) for path in expanded} == expanded
    assert user_path("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")
