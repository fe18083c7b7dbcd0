"""Grammars: the shipped ones are what is published, and every way to get one wrong is named."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from canonlab.errors import InputError
from canonlab.tasks.lano import read_grammar
from canonlab.tasks.lano.grammar import grammar_from
from plain_lano import TINY, language

NAMES = [f"cfg3{letter}" for letter in "bfghijk"]
GOOD: dict[str, Any] = {
    "name": "two",
    "root": 5,
    "levels": [[5], [3, 4], [1, 2]],
    "rules": {"5": [[3, 4], [4]], "3": [[1, 2, 1]], "4": [[2], [1, 1]]},
}


@pytest.mark.parametrize(
    ("name", "extremes", "mean"),
    [
        ("cfg3b", (138, 432), 275.6),
        ("cfg3f", (64, 729), 249.9),
        ("cfg3j", (128, 2052), 543.9),
        ("cfg3k", (132, 1458), 516.3),
    ],
)
def test_published_lengths(name: str, extremes: tuple[int, int], mean: float) -> None:
    grammar = read_grammar(name)
    assert grammar.lengths[grammar.root] == extremes
    law = grammar.length_law(extremes[1])
    assert law.sum() == pytest.approx(1, abs=1e-12)
    assert law @ np.arange(len(law)) == pytest.approx(mean, abs=0.1)
    assert grammar.length_law(300) == pytest.approx(law[:301], rel=1e-12)


@pytest.mark.parametrize(("name", "low", "high"), [("cfg3f", 119, 444), ("cfg3j", 267, 920), ("cfg3k", 294, 796)])
def test_published_spread(name: str, low: int, high: int) -> None:
    """99.8% of the sentences are that long; what is published was counted on a sample."""
    law = read_grammar(name).length_law(1500)
    assert law[low : high + 1].sum() == pytest.approx(0.998, abs=0.001)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_grammars(name: str) -> None:
    grammar = read_grammar(name)
    assert [len(level) for level in grammar.levels] == [1] + [3] * (7 if name in ("cfg3j", "cfg3k") else 6)
    assert grammar.terminals == 3 and {len(side) for sides in grammar.rules.values() for side in sides} == {2, 3}
    assert len({read_grammar(other).sha256 for other in NAMES}) == len(NAMES)


def test_length_law_by_enumeration() -> None:
    counted: Counter[int] = Counter()
    for sentence, probability in language(TINY)[0].items():
        counted[len(sentence)] += probability  # type: ignore[assignment]
    assert TINY.length_law(40).tolist() == pytest.approx([float(counted[n]) for n in range(41)])


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "two.json"
    path.write_text(json.dumps(GOOD))
    grammar = read_grammar(str(path))
    assert (grammar.root, grammar.terminals, grammar.levels) == (5, 2, ((5,), (3, 4), (1, 2)))
    assert grammar.rules == {5: ((3, 4), (4,)), 3: ((1, 2, 1),), 4: ((2,), (1, 1))}
    assert grammar.lengths == {1: (1, 1), 2: (1, 1), 3: (3, 3), 4: (1, 2), 5: (1, 5)}
    assert grammar.sha256 == grammar_from({**GOOD, "name": "other"}).sha256
    assert grammar.sha256 != grammar_from({**GOOD, "rules": {**GOOD["rules"], "3": [[1, 2, 2]]}}).sha256
    path.write_text('{"root": 5, "root": 6}')
    with pytest.raises(InputError, match="two.json: grammar: 'root' stands twice in one object"):
        read_grammar(str(path))
    path.write_text("{")
    with pytest.raises(InputError, match="two.json' is not valid JSON"):
        read_grammar(str(path))
    with pytest.raises(InputError, match="grammar = .*: cannot read .*: No such file"):
        read_grammar(str(tmp_path / "none.json"))
    with pytest.raises(InputError, match="unknown grammar 'cfg3x'; did you mean 'cfg3"):
        read_grammar("cfg3x")
    with pytest.raises(InputError, match="grammar = 3: must be a name"):
        read_grammar(3)  # type: ignore[arg-type]


def rules(**changed: Any) -> dict[str, Any]:
    return {"rules": {**GOOD["rules"], **{key[1:]: value for key, value in changed.items()}}}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rule": {}}, "unknown grammar field 'rule'; did you mean 'rules'"),
        ({"root": 4}, r"root = 4: must be the one symbol of levels\[0\] = \[5\]"),
        ({"levels": 3}, "levels = 3: must be a list"),
        ({"levels": [[5]]}, "levels must be two or more"),
        ({"levels": [[5, 6], [3, 4], [1, 2]]}, "root = 5: must be the one symbol"),
        ({"levels": [[5], [3, 3, 4], [1, 2]]}, "symbol 3 stands twice in levels"),
        ({"levels": [[5], [3, 4], [1, 3]]}, "symbol 3 stands twice in levels"),
        ({"levels": [[5], [3, 4], [2, 6]]}, r"the last of levels = \[2, 6\]: must be the terminals 1, ..., T"),
        ({"levels": [[5], [3, 4], []]}, r"the last of levels = \[\]"),
        ({"levels": [[5], [3, 4.0], [1, 2]]}, r"levels\[1\]\[1\] = 4.0: must be an integer"),
        ({"levels": [[5], [3, 4, 7], [1, 2]]}, r"7 of levels\[1\] is unreachable from the root 5"),
        ({"levels": [[5], [3, 4], [1, 2, 6]]}, "last of levels"),
        ({"levels": [[5], [3, 4], [1, 2, 3]]}, "symbol 3 stands twice"),
        ({"levels": [[6], [7, 8], [1, 2, 3]], "root": 6, "rules": {"6": [[7, 8]], "7": [[1]], "8": [[2]]}},
         "terminal 3 is unreachable from the root 6"),
        (rules(_5=[[3]]), r"4 of levels\[1\] is unreachable"),
        (rules(_5=[[3, 1]]), r"rules\[5\]\[0\] = \[3, 1\]: 1 is of levels\[2\], must be of levels\[1\]"),
        (rules(_5=[[3, 4, 5]]), r"5 is of levels\[0\]"),
        (rules(_3=[[1, 8]]), r"rules\[3\]\[0\] = \[1, 8\]: 8 stands in no level"),
        (rules(_3=[]), "symbol 3 has no rules"),
        (rules(_3=[[]]), r"rules\[3\]\[0\] = \[\]: must have at least one symbol"),
        (rules(_3=[[1], [1]]), r"rules\[3\]: \[1\] stands twice"),
        (rules(_3=[1]), r"rules\[3\]\[0\] = 1: must be a list"),
        (rules(_3=[["1"]]), r"rules\[3\]\[0\]\[0\] = '1': must be an integer"),
        (rules(_3=[[True]]), r"rules\[3\]\[0\]\[0\] = True"),
        (rules(_1=[[2]]), "rules of 1, which is a terminal"),
        (rules(_8=[[2]]), "rules of 8, which stands in no level"),
        (rules(_x=[[2]]), "a key of rules = 'x': must be an integer"),
        (rules(_05=[[3]]), "rules of 5 stand twice"),
        ({"rules": []}, "rules must be an object"),
        ({"rules": {}}, "symbol 5 has no rules"),
    ],
)  # fmt: skip
def test_wrong_grammars(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        grammar_from({**GOOD, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["root", "levels", "rules"])
def test_missing_fields(field: str) -> None:
    with pytest.raises(InputError, match=f"grammar: {field} is missing"):
        grammar_from({key: value for key, value in GOOD.items() if key != field})
    with pytest.raises(InputError, match="must be an object"):
        grammar_from([])
