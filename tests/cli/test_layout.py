"""Where the steps of a picture stand."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pgflow_mp.cli.drawing import mermaid, svg
from pgflow_mp.cli.drawing.layout import Place, _crossings, _neighbours, arrange
from pgflow_mp.cli.drawing.picture import Node, Picture


@st.composite
def graphs(draw):
    """Nodes in an order in which parents come first, and edges between them."""
    nodes = [f"s{number}" for number in range(draw(st.integers(0, 12)))]
    pairs = [(one, other) for number, other in enumerate(nodes) for one in nodes[:number]]
    return nodes, draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []


@given(graphs())
def test_every_step_has_a_place_right_of_its_parents_and_apart_from_its_neighbours(graph):
    nodes, edges = graph
    layout = arrange(nodes, edges)
    column_of = {place.name: place.column for column in layout.columns for place in column if place.passing is None}
    assert set(column_of) == set(nodes)
    assert all(column_of[parent] < column_of[child] for parent, child in edges)
    for column in layout.columns:
        heights = [layout.heights[place] for place in column]
        assert all(below - above > 0.999 for above, below in pairwise(heights))
        assert all(height >= 0 for height in heights)
    for (parent, child), path in layout.paths.items():
        assert [place.column for place in path] == list(range(column_of[parent], column_of[child] + 1))


def test_crossings_that_need_not_be_are_taken_out():
    layout = arrange(["a", "b", "c", "x", "y", "z"], [("a", "z"), ("b", "y"), ("c", "x")])
    _, after = _neighbours(layout.paths)
    assert _crossings(layout.columns, after) == 0


def test_a_chain_is_a_straight_line_and_a_parent_stands_in_the_middle_of_its_children():
    chain = arrange(["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert len(set(chain.heights.values())) == 1
    fan = arrange(["a", "x", "y", "z"], [("a", "x"), ("a", "y"), ("a", "z")])
    assert fan.heights[Place("a", 0)] == 1.0


def test_words_of_a_picture_are_escaped():
    picture = Picture('<b>"&', (Node("end", note='<script>"#\x1b'),), ())
    drawn = svg.render(picture)
    assert "<script>" not in drawn
    assert "<title>&lt;b&gt;&quot;&amp;</title>" in drawn
    assert "\x1b" not in drawn
    assert 'n0["end<br/>#lt;script#gt;#quot;#35;\\x1b"]' in mermaid.render(picture)
