"""Layers of a graph: rows, ways through, and room for everything."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from canonlab.pictures.layers import LANE, Layered, Vertex, apart, depths

number = st.integers(-50, 50)


@given(st.lists(st.tuples(number, st.integers(1, 9)), min_size=1, max_size=9))
def test_apart_is_the_isotonic_regression(pairs: list[tuple[int, int]]) -> None:
    wishes, widths = [float(wish) for wish, _ in pairs], [float(width) for _, width in pairs]
    offsets = [sum(widths[:i]) + (width - widths[0]) / 2 for i, width in enumerate(widths)]
    values = [wish - offset for wish, offset in zip(wishes, offsets, strict=True)]
    n = range(len(values))
    minmax = [
        max(min(sum(values[j : k + 1]) / (k + 1 - j) for k in n if k >= i) for j in n if j <= i) for i in n
    ]  # the closed form of the nearest non-decreasing sequence
    found = apart(wishes, widths)
    assert all(abs(x - m - o) < 1e-9 for x, m, o in zip(found, minmax, offsets, strict=True))
    for (x1, w1), (x2, w2) in pairwise(zip(found, widths, strict=True)):
        assert x2 - x1 > (w1 + w2) / 2 - 1e-9


@st.composite
def graphs(draw: st.DrawFn) -> dict[Vertex, list[Vertex]]:
    """Parents of vertices that are each in an edge."""
    n = draw(st.integers(2, 12))
    parents: dict[Vertex, list[Vertex]] = {}
    for i in range(1, n):
        above = draw(st.sets(st.integers(0, i - 1), max_size=4))
        for parent in above:
            parents.setdefault((parent,), [])
        if above:
            parents[(i,)] = [(parent,) for parent in sorted(above)]
    return parents or {(0,): [], (1,): [(0,)]}


@given(graphs())
def test_layered(parents: dict[Vertex, list[Vertex]]) -> None:
    depth, graph = depths(parents), Layered(parents)
    for child, above in parents.items():
        if above:
            assert depth[child] == 1 + max(depth[parent] for parent in above)
        else:
            assert depth[child] == min(depth[other] for other in parents if child in parents[other]) - 1
    assert graph.own == set(depth.items())
    ends = [(edge[0], edge[-1]) for edge in graph.edges]
    assert set(ends) == {((p, depth[p]), (c, depth[c])) for c, above in parents.items() for p in above}
    assert all(down[1] == up[1] + 1 for edge in graph.edges for up, down in pairwise(edge))
    assert all(stop not in graph.own for edge in graph.edges for stop in edge[1:-1])
    middle = graph.middles(50)
    assert set(middle) == {stop for layer in graph.layers for stop in layer}
    width = {stop: 50 if stop in graph.own else LANE for stop in middle}
    assert abs(min(middle[stop] - width[stop] / 2 for stop in middle)) < 1e-9
    for layer in graph.layers:
        for left, right in pairwise(layer):
            assert middle[right] - middle[left] > (width[left] + width[right]) / 2 - 1e-9


def test_a_chain_is_straight_and_a_tree_is_balanced() -> None:
    chain = Layered({(1,): [], (2,): [(1,)], (3,): [(2,)]})
    assert set(chain.middles(40).values()) == {20.0}
    tree = Layered({(1,): [], (2,): [], (3,): [(1,), (2,)]}).middles(40)
    assert [round(tree[(i,), depth], 6) for i, depth in ((1, 0), (2, 0), (3, 1))] == [20, 60, 40]
