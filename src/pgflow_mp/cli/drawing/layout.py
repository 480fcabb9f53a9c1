"""Where the nodes of a directed acyclic graph stand: in columns, parents left of children, with few crossings.

The layered method of Sugiyama, Tagawa and Toda (1981), small: a node's column is the length of the longest path to it;
an edge that passes a column gets a place there as well, so that it does not run through a node; each column is sorted
by the mean place of its neighbours, forth and back, and the order with the fewest crossings is kept; then each place
moves as near to its neighbours as the order lets it (isotonic regression: least squares with one unit between places).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: How often the columns are sorted, and then moved, forth and back.
_SWEEPS: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """What stands in a column: a node, or an edge on its way past.

    Attributes:
        name: The node; of an edge, the node that it comes from.
        passing: The child that a passing edge leads to; None for a node.
        column: Which column.
    """

    name: str
    column: int
    passing: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The places and how high each stands.

    Attributes:
        columns: The places of each column, from the top.
        heights: How far from the top each place stands; places of a column are 1 apart or more.
        paths: For each edge, the places from its parent to its child.
    """

    columns: tuple[tuple[Place, ...], ...]
    heights: Mapping[Place, float]
    paths: Mapping[tuple[str, str], tuple[Place, ...]]


def arrange(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layout:
    """Lay a graph out.

    Args:
        nodes: The nodes, parents before their children.
        edges: From parent to child.
    """
    column_of = _columns_of(nodes, edges)
    paths = {edge: _path(edge, column_of) for edge in edges}
    columns = _filled(nodes, column_of, paths)
    before, after = _neighbours(paths)
    columns = _sorted(columns, before, after)
    return Layout(tuple(map(tuple, columns)), _heights(columns, before, after), paths)


def _columns_of(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    column_of = dict.fromkeys(nodes, 0)
    parents: dict[str, list[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(parent)
    for node in nodes:
        column_of[node] = max((column_of[parent] + 1 for parent in parents.get(node, ())), default=0)
    return column_of


def _path(edge: tuple[str, str], column_of: Mapping[str, int]) -> tuple[Place, ...]:
    parent, child = edge
    passed = range(column_of[parent] + 1, column_of[child])
    return (
        Place(parent, column_of[parent]),
        *(Place(parent, column, child) for column in passed),
        Place(child, column_of[child]),
    )


def _filled(
    nodes: Sequence[str], column_of: Mapping[str, int], paths: Mapping[tuple[str, str], tuple[Place, ...]]
) -> list[list[Place]]:
    columns: list[list[Place]] = [[] for _ in range(max(column_of.values(), default=-1) + 1)]
    for node in nodes:
        columns[column_of[node]].append(Place(node, column_of[node]))
    for path in paths.values():
        for place in path[1:-1]:
            columns[place.column].append(place)
    return columns


_Neighbours = dict[Place, list[Place]]


def _neighbours(paths: Mapping[tuple[str, str], tuple[Place, ...]]) -> tuple[_Neighbours, _Neighbours]:
    """The neighbours of each place in the column before it, and in the one after it."""
    before: _Neighbours = {}
    after: _Neighbours = {}
    for path in paths.values():
        for left, right in pairwise(path):
            before.setdefault(right, []).append(left)
            after.setdefault(left, []).append(right)
    return before, after


def _sorted(columns: list[list[Place]], before: _Neighbours, after: _Neighbours) -> list[list[Place]]:
    best, fewest = columns, _crossings(columns, after)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        columns = _swept(columns, before, after, forth=sweep % 2 == 0)
        crossings = _crossings(columns, after)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _swept(columns: list[list[Place]], before: _Neighbours, after: _Neighbours, *, forth: bool) -> list[list[Place]]:
    """Sort each column by the mean place of its neighbours in the column that was sorted before it."""
    columns = [list(column) for column in columns]
    rank = {place: float(number) for column in columns for number, place in enumerate(column)}
    for column in columns if forth else reversed(columns):
        neighbours = before if forth else after
        column.sort(key=lambda place: _mean((rank[other] for other in neighbours.get(place, ())), rank[place]))
        rank.update((place, float(number)) for number, place in enumerate(column))
    return columns


def _crossings(columns: Sequence[Sequence[Place]], after: _Neighbours) -> int:
    """How many pairs of edges cross: inversions among the right ends of the edges, taken from the top left."""
    crossings = 0
    for column, following in pairwise(columns):
        rank = {place: number for number, place in enumerate(following)}
        ends: list[int] = []
        for place in column:
            own = sorted(rank[other] for other in after.get(place, ()))
            crossings += sum(len(ends) - bisect_right(ends, end) for end in own)
            for end in own:
                insort(ends, end)
    return crossings


def _heights(columns: list[list[Place]], before: _Neighbours, after: _Neighbours) -> dict[Place, float]:
    heights = {place: float(number) for column in columns for number, place in enumerate(column)}
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        neighbours = before if forth else after
        for column in columns if forth else reversed(columns):
            wished = [
                _mean((heights[other] for other in neighbours.get(place, ())), heights[place]) for place in column
            ]
            heights.update(zip(column, _spaced(wished), strict=True))
    top = min(heights.values(), default=0.0)
    return {place: height - top for place, height in heights.items()}


def _spaced(wished: Sequence[float]) -> list[float]:
    """The heights nearest to the wished ones (least squares) that keep the order, with 1 between neighbours.

    Without the units between them this is isotonic regression: neighbours in the wrong order share their mean.
    """
    blocks: list[tuple[float, int]] = []
    for number, height in enumerate(wished):
        mean, size = height - number, 1
        while blocks and blocks[-1][0] > mean:
            other, others = blocks.pop()
            mean, size = (mean * size + other * others) / (size + others), size + others
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    return [mean + number for number, mean in enumerate(flat)]


def _mean(values: Iterable[float], otherwise: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else otherwise
