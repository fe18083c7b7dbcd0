"""Directed acyclic graphs in layers, so that edges go down, cross little and pass no vertex that they don't touch."""

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import pairwise

Vertex = tuple[int, ...]
Stop = tuple[Vertex, int]
"""A place in a layer: of a vertex, or where the edges of a vertex above go through."""

SWEEPS = 40
LANE = 14.0
"""The room between edges that go through a layer."""


class Layered:
    """A graph, given as the parents of each vertex, in layers.

    `layers` has the stops of each layer, `own` those at which a vertex stands itself, `edges` the stops on the way
    from a parent to a child. All long edges of a vertex go through the same stops until one ends.
    """

    def __init__(self, parents: Mapping[Vertex, Sequence[Vertex]]) -> None:
        depth = depths(parents)
        self.own: set[Stop] = set(depth.items())
        self.edges: list[list[Stop]] = [
            [*((parent, row) for row in range(depth[parent], depth[child])), (child, depth[child])]
            for child, above in parents.items()
            for parent in above
        ]
        stops = dict.fromkeys([*depth.items(), *(stop for edge in self.edges for stop in edge)])
        self.layers: list[list[Stop]] = [[] for _ in range(1 + max(depth.values()))]
        for stop in stops:
            self.layers[stop[1]].append(stop)

    def middles(self, slot: float) -> dict[Stop, float]:
        """Where the stops are from left to right, if a vertex needs `slot` pixels; the leftmost end is at 0.

        Layer by layer, down and up again and again, each stop moves to the mean of its neighbours in the layer before,
        as far as the others leave room; in most of the sweeps it may overtake them.
        """
        above: dict[Stop, list[Stop]] = {stop: [] for layer in self.layers for stop in layer}
        below: dict[Stop, list[Stop]] = {stop: [] for layer in self.layers for stop in layer}
        for upper, lower in dict.fromkeys(pair for edge in self.edges for pair in pairwise(edge)):
            above[lower].append(upper)
            below[upper].append(lower)
        width = {stop: slot if stop in self.own else LANE for stop in above}
        middle: dict[Stop, float] = {}
        for layer in self.layers:
            middle |= zip(layer, apart([0.0] * len(layer), [width[stop] for stop in layer]), strict=True)
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            for layer in self.layers if down else self.layers[::-1]:
                near = {stop: (above if down else below)[stop] or [stop] for stop in layer}
                wish = {stop: sum(middle[other] for other in near[stop]) / len(near[stop]) for stop in layer}
                if sweep < SWEEPS * 3 / 4:
                    layer.sort(key=wish.__getitem__)
                found = apart([wish[stop] for stop in layer], [width[stop] for stop in layer])
                middle |= zip(layer, found, strict=True)
        left = min(x - width[stop] / 2 for stop, x in middle.items())
        return {stop: x - left for stop, x in middle.items()}


def depths(parents: Mapping[Vertex, Sequence[Vertex]]) -> dict[Vertex, int]:
    """The layer of each vertex: right below its lowest parent, or, without parents, right above its highest child."""
    depth: dict[Vertex, int] = {}
    for vertex in TopologicalSorter(parents).static_order():
        depth[vertex] = max((depth[parent] + 1 for parent in parents[vertex]), default=0)
    highest: dict[Vertex, int] = {}
    for child, above in parents.items():
        for parent in above:
            highest[parent] = min(highest.get(parent, depth[child]), depth[child])
    return {vertex: depth[vertex] if above else highest.get(vertex, 1) - 1 for vertex, above in parents.items()}


def apart(wishes: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The middles, in the same order, that are nearest to the wishes (least squares) and leave each its width.

    Neighbours that would overlap form a block that moves as one (the pool adjacent violators algorithm).
    """
    offsets = [0.0]
    for left, right in pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2)
    blocks: list[tuple[float, int]] = []
    for wish, offset in zip(wishes, offsets, strict=True):
        total, count = wish - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            total, count = total + blocks[-1][0], count + blocks.pop()[1]
        blocks.append((total, count))
    shifts = [total / count for total, count in blocks for _ in range(count)]
    return [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]
