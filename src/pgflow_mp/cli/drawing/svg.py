"""A picture as SVG: self-contained, readable in light and dark, with all text escaped.

Columns run from left to right. Text is in a monospaced font, whose width is known without one: 0.6 of its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from pgflow_mp.cli.drawing.layout import arrange
from pgflow_mp.cli.text import safe

if TYPE_CHECKING:
    from pgflow_mp.cli.drawing.layout import Layout, Place
    from pgflow_mp.cli.drawing.picture import Node, Picture

_FONT: Final = 13
_SMALL: Final = 11
_CHARACTER: Final = 0.6
_PADDING: Final = 14
_BOX_HEIGHT: Final = 44
_ROW: Final = 66
_GAP: Final = 56
_MARGIN: Final = 16
#: How far the second card of a map step looks out.
_CARD: Final = 4

_STYLE: Final = """\
    text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; }
    .name { font-size: 13px; font-weight: 600; }
    .note { font-size: 11px; fill: #59636e; }
    .box { fill: #ffffff; stroke: #818b98; stroke-width: 1.2; }
    .conditional { stroke-dasharray: 5 3; }
    .completed { fill: #dafbe1; stroke: #1a7f37; }
    .started { fill: #ddf4ff; stroke: #0969da; }
    .failed { fill: #ffebe9; stroke: #cf222e; }
    .skipped { fill: #fff8c5; stroke: #9a6700; }
    .created { fill: #f6f8fa; stroke: #d1d9e0; }
    .edge { fill: none; stroke: #818b98; stroke-width: 1.3; }
    .tip { fill: #818b98; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .note { fill: #9198a1; }
      .box { fill: #151b23; stroke: #656c76; }
      .completed { fill: #12261e; stroke: #3fb950; }
      .started { fill: #121d2f; stroke: #4493f8; }
      .failed { fill: #25171c; stroke: #f85149; }
      .skipped { fill: #272115; stroke: #d29922; }
      .created { fill: #151b23; stroke: #3d444d; }
      .edge { stroke: #656c76; }
      .tip { fill: #656c76; }
    }"""


_TIP: Final = """\
  <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
    <path class="tip" d="M0 0.5 L8 4 L0 7.5 z"/>
  </marker>"""


def render(picture: Picture) -> str:
    """Write the picture as an SVG document."""
    return _Drawing(picture).document()


class _Drawing:
    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._nodes = {node.slug: node for node in picture.nodes}
        self._layout: Layout = arrange(list(self._nodes), picture.edges)
        self._widths = [
            max((_width(self._nodes[place.name]) for place in column if place.passing is None), default=0)
            for column in self._layout.columns
        ]
        self._lefts = [
            _MARGIN + sum(self._widths[:number]) + _GAP * number for number in range(len(self._layout.columns))
        ]

    def document(self) -> str:
        right = self._lefts[-1] + self._widths[-1] if self._lefts else _MARGIN
        lowest = max(self._layout.heights.values(), default=0)
        width, height = round(right + _MARGIN + _CARD), round(lowest * _ROW + _BOX_HEIGHT + 2 * _MARGIN + _CARD)
        size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"  <title>{_escaped(self._picture.title)}</title>",
            f"  <style>\n{_STYLE}\n  </style>",
            _TIP,
            *(self._edge(path) for path in self._layout.paths.values()),
            *(line for column in self._layout.columns for place in column for line in self._box(place)),
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _box(self, place: Place) -> list[str]:
        if place.passing is not None:
            return []
        node = self._nodes[place.name]
        kinds = " ".join(["box", *filter(None, [node.status]), *["conditional"] * node.is_conditional])
        left, top = self._lefts[place.column], self._middle(place) - _BOX_HEIGHT / 2
        width = self._widths[place.column]
        lines = [_rectangle(kinds, left + _CARD, top + _CARD, width)] if node.is_map else []
        lines.append(_rectangle(kinds, left, top, width))
        name_at = top + (_BOX_HEIGHT / 2 + 4.5 if not node.note else 19)
        lines.append(_words("name", node.slug, left + width / 2, name_at))
        if node.note:
            lines.append(_words("note", node.note, left + width / 2, top + 34))
        return lines

    def _edge(self, path: tuple[Place, ...]) -> str:
        """A curve that is level at both ends, and straight where it passes a column."""
        first = path[0]
        at = (self._lefts[first.column] + self._widths[first.column], self._middle(first))
        parts = [f"M{at[0]:.1f} {at[1]:.1f}"]
        for place in path[1:]:
            to = (self._lefts[place.column] - (1.0 if place.passing is None else 0.0), self._middle(place))
            half = (at[0] + to[0]) / 2
            parts.append(f"C{half:.1f} {at[1]:.1f} {half:.1f} {to[1]:.1f} {to[0]:.1f} {to[1]:.1f}")
            at = to
            if place.passing is not None:
                at = (to[0] + self._widths[place.column], to[1])
                parts.append(f"L{at[0]:.1f} {at[1]:.1f}")
        return f'  <path class="edge" marker-end="url(#tip)" d="{" ".join(parts)}"/>'

    def _middle(self, place: Place) -> float:
        return _MARGIN + _BOX_HEIGHT / 2 + self._layout.heights[place] * _ROW


def _width(node: Node) -> float:
    name, note = len(node.slug) * _FONT * _CHARACTER, len(node.note) * _SMALL * _CHARACTER
    return max(64.0, max(name, note) + 2 * _PADDING)


def _rectangle(kinds: str, left: float, top: float, width: float) -> str:
    return f'  <rect class="{kinds}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_BOX_HEIGHT}" rx="6"/>'


def _words(kind: str, text: str, middle: float, baseline: float) -> str:
    return f'  <text class="{kind}" x="{middle:.1f}" y="{baseline:.1f}" text-anchor="middle">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return escape(safe(text), {'"': "&quot;"})
