"""Judging answers to Brevo's prompts."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonlab.errors import InputError
from canonlab.tasks.base import SPLITS, Split
from canonlab.tasks.brevo import Brevo
from canonlab.tasks.brevo.score import read_prompt
from canonlab.tasks.catalog import build_task
from plain_brevo import ancestors, depth, is_right, read_window

ONE = Brevo(N=8, context=80)
TWO = Brevo(N=8, V=3, lengths=(1, 2), context=160)


def ids(task: Brevo, text: str) -> list[int]:
    return [task.vocabulary.id(word) for word in text.split()]


# b1 -> b2 -> b4 -> b5 and b1 -> b3 -> b4; b4 -> b6 and b7 -> b6 are not asked for
PROMPT = "<bos> b4 b6 b1 b2 b2 b4 b3 b4 b1 b3 b4 b5 b7 b6 <query> b5 <ans>"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("b1 b2 b3 b4 b5 <eos>", "all 5 vertices, each after its parents"),
        ("b1 b3 b2 b4 b5 <eos>", "all 5 vertices, each after its parents"),
        ("", "empty answer: no vertex"),
        ("<eos>", "empty answer: no vertex"),
        ("b1 b2 b3 b4 b5", "no <eos> after 5 tokens"),
        ("b1 b2 b3 b4 b5 <eos> b5", "trailing tokens: 1 after <eos>"),
        ("b1 b2 b3 b4 b5 <eos> <eos>", "trailing tokens: 1 after <eos>"),
        ("b1 b2 b3 b2 b4 b5 <eos>", "'b2' is repeated"),
        ("b1 b2 b3 b4 b5 b5 <eos>", "'b5' is repeated"),
        ("b1 b2 b3 b4 b5 b6 <eos>", "'b6' stands after the query 'b5'"),
        ("b1 b2 b3 b4 b7 b5 <eos>", "'b7' is not what the query 'b5' depends on"),
        ("b1 b2 b3 b4 b6 b5 <eos>", "'b6' is not what the query 'b5' depends on"),
        ("b1 b2 b4 b5 <eos>", "'b3' is missing, which 'b4' depends on"),
        ("b2 b3 b4 b5 <eos>", "'b1' is missing, which 'b2' depends on"),
        ("b1 b2 b3 b4 <eos>", "the query 'b5' itself is missing"),
        ("b1 b2 b4 b3 b5 <eos>", "'b4' stands before 'b3', which it depends on"),
        ("b1 b2 b3 b5 b4 <eos>", "'b5' stands before 'b4', which it depends on"),
        ("b1 b2 b3 b4 b8 b5 <eos>", "'b8' is no vertex of the graph"),
        ("b1 b2 <bos> b3 b4 b5 <eos>", "answer[2]: no name where a vertex must be"),
        ("b1 b2 <ans> b3 b4 b5 <eos>", "answer[2]: no name where a vertex must be"),
    ],
)
def test_reasons(answer: str, why: str) -> None:
    assert ONE.score(ids(ONE, PROMPT), ids(ONE, answer)) == (why.startswith("all"), why)


LONG = "<bos> a1 b1 a1 b2 b1 a1 b2 <query> a1 b2 <ans>"  # a1 b1 -> a1 b2 and b1 -> a1 b2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("a1 b1 b1 a1 b2 <eos>", "all 3 vertices, each after its parents"),
        ("b1 a1 b1 a1 b2 <eos>", "all 3 vertices, each after its parents"),
        ("b1 a1 b1 a1 <eos>", "answer[3]: an unfinished name where a vertex must be"),
        ("b1 a1 b1 a1 a1 b2 <eos>", "answer[3]: a name of 3 tokens, not 1 to 2, where a vertex must be"),
        ("b1 a1 b1 b2 <eos>", "'b2' is no vertex of the graph"),
        ("b1 a1 b1 a2 b2 a1 b2 <eos>", "'a2 b2' is no vertex of the graph"),
    ],
)
def test_reasons_of_longer_names(answer: str, why: str) -> None:
    assert TWO.score(ids(TWO, LONG), ids(TWO, answer)) == (why.startswith("all"), why)


def test_foreign_answers() -> None:
    for wrong in ([99], ["b1"], [5.0], [True], [-1], [None]):
        verdict = ONE.score(ids(ONE, PROMPT), [*wrong, *ids(ONE, "b1 b2 b3 b4 b5 <eos>")])  # type: ignore[list-item]
        assert verdict == (False, "answer[0]: no name where a vertex must be")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", [build_task("brevo1"), build_task("brevo2"), TWO], ids=str)
def test_generated_answers_are_right_and_changed_ones_wrong(task: Brevo, split: Split) -> None:
    rng = np.random.default_rng(0)
    for window in task.windows(4, 0, 6, split).tokens:
        for instance in read_window(task, window):
            prompt = window[instance.begin : instance.start]
            answer = window[instance.start : instance.stop]
            assert task.score(prompt, answer).right
            asked = read_prompt(task.vocabulary, task.names, task.N, prompt.tolist())
            assert asked.depth() == depth(instance.edges, instance.query)
            changed = answer.copy()
            changed[rng.integers(len(answer))] += rng.choice([-1, 1])
            for wrong in (changed, answer[:-1], [*answer, 3], [0, *answer], answer[1:], [*answer[:-1], *answer]):
                assert not task.score(prompt, wrong).right


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int]:
    """Edges of a random graph of vertices 1..7 with names in no order, shuffled, and a vertex in one of them."""
    order = draw(st.permutations(range(1, 8)))
    pairs = [(order[a], order[b]) for b in range(7) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=12, unique=True))
    return edges, draw(st.sampled_from([vertex for edge in edges for vertex in edge]))


def ask(edges: list[tuple[int, int]], query: int) -> list[int]:
    """The prompt in ONE, in which vertex v is the token 3 + v."""
    return [0, *(3 + vertex for edge in edges for vertex in edge), 1, 3 + query, 2]


@settings(max_examples=100)
@given(graphs(), st.data())
def test_every_right_order_is_accepted(graph: tuple[list[tuple[int, int]], int], data: st.DataObject) -> None:
    edges, query = graph
    parents: dict[int, set[int]] = {}
    for parent, child in edges:
        parents.setdefault(child, set()).add(parent)
    left, answer = ancestors(parents, query), []
    while left:
        free = sorted(vertex for vertex in left if not parents.get(vertex, set()) & left)
        answer.append(data.draw(st.sampled_from(free)))
        left.remove(answer[-1])
    assert ONE.score(ask(edges, query), [*(3 + vertex for vertex in answer), 3]).right


def named(edges: list[tuple[int, int]]) -> list[tuple[tuple[str], tuple[str]]]:
    return [((f"b{a}",), (f"b{b}",)) for a, b in edges]


@settings(max_examples=300)
@given(graphs(), st.data())
def test_anything_else_is_rejected(graph: tuple[list[tuple[int, int]], int], data: st.DataObject) -> None:
    """Any list of vertices is judged as the definition says: all orders of the right ones, and random changes."""
    edges, query = graph
    parents: dict[int, set[int]] = {}
    for parent, child in edges:
        parents.setdefault(child, set()).add(parent)
    answer = data.draw(st.permutations(sorted(ancestors(parents, query))))
    change = data.draw(st.sampled_from(["none", "insert", "remove", "replace"]))
    place, other = data.draw(st.integers(0, len(answer) - 1)), data.draw(st.integers(1, 8))
    answer[place : place + (change in ("remove", "replace"))] = [other] if change in ("insert", "replace") else []
    expected = is_right(named(edges), (f"b{query}",), [(f"b{vertex}",) for vertex in answer])
    assert ONE.score(ask(edges, query), [*(3 + vertex for vertex in answer), 3]).right == expected


def test_all_orders_of_a_small_graph() -> None:
    """A diamond below the query and a leaf beside it: of 120 orders, the right ones are those of the definition."""
    edges, right = [(1, 2), (1, 3), (2, 4), (3, 4), (5, 4)], 0
    for order in permutations(range(1, 6)):
        verdict = ONE.score(ask(edges, 4), [*(3 + vertex for vertex in order), 3]).right
        assert verdict == is_right(named(edges), ("b4",), [(f"b{vertex}",) for vertex in order])
        right += verdict
    assert right == 8  # two orders of the chains, four places for the leaf


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("", r"prompt\[0\]: must be <bos>, not the prompt's end"),
        ("b1 b2 <query> b2 <ans>", r"prompt\[0\]: must be <bos>, not 'b1'"),
        ("<bos>", r"prompt\[1\]: no name where the source of an edge must be"),
        ("<bos> b1 b2", r"prompt\[3\]: no name where the source of an edge must be"),
        ("<bos> b1 <query> b1 <ans>", r"prompt\[2\]: no name where the target of an edge must be"),
        ("<bos> b1 b2 <query> <ans>", r"prompt\[4\]: no name where the queried vertex must be"),
        ("<bos> b1 b2 <query> b2", r"prompt\[5\]: must be <ans>, not the prompt's end"),
        ("<bos> b1 b2 <query> b2 b1 <ans>", r"prompt\[5\]: must be <ans>, not 'b1'"),
        ("<bos> b1 b2 <query> b2 <ans> b1", r"prompt\[6\]: must be the prompt's end, not 'b1'"),
        ("<bos> b1 b2 <query> b3 <ans>", "prompt: a query about 'b3', which is in no edge"),
        ("<bos> <query> b3 <ans>", "prompt: a query about 'b3', which is in no edge"),
        ("<bos> b1 b2 b3 b2 b1 b2 <query> b2 <ans>", "prompt: the edge from 'b1' to 'b2' stands there twice"),
        ("<bos> b1 b1 <query> b1 <ans>", "prompt: the edges make a cycle: 'b1', 'b1'"),
        ("<bos> b1 b2 b3 b4 b4 b5 b5 b3 <query> b2 <ans>", "prompt: the edges make a cycle: 'b"),
    ],
)
def test_malformed_prompts(prompt: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        ONE.score(ids(ONE, prompt), ids(ONE, "b1 b2 <eos>"))
    assert "\n" not in str(caught.value)


def test_malformed_names_and_too_many_vertices() -> None:
    for prompt, complaint in (
        ("<bos> a1 a1 b1 b2 <query> b2 <ans>", r"prompt\[1\]: a name of 3 tokens, not 1 to 2, where the source"),
        ("<bos> b1 a2 <query> b1 <ans>", r"prompt\[2\]: an unfinished name where the target of an edge must be"),
        (f"<bos> {' '.join(f'b1 a{i} b{j}' for i in (1, 2, 3) for j in (1, 2, 3))} <query> b1 <ans>", "10 vertices"),
    ):
        with pytest.raises(InputError, match=complaint):
            TWO.score(ids(TWO, prompt), [])
    for wrong in (99, -1, 1.0, True, "<bos>"):
        with pytest.raises(InputError, match=r"prompt\[1\] = .*: must be a token id from 0 to 11"):
            ONE.score([0, wrong], [])  # type: ignore[list-item]
