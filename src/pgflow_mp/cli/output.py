"""What a command prints on stdout: tables and sentences for a person, JSON for a program.

On a terminal a table is as wide as the terminal and has colours (not with ``NO_COLOR``); anywhere else it is plain
text with nothing cut off. JSON is UTF-8 whatever the locale says (RFC 8259, 8.1), one value, or one line a value where
the values come one after the other.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pgflow_mp.cli.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: A cell: words, or words with a style; None is an empty one.
Cell = str | Text | None


#: Between two columns.
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        justify: Where its cells stand; numbers stand right.
        style: How its cells look on a terminal.
        least: On a terminal that is too narrow it is cut to so many cells; None if it is never cut.
        spare: It is left out where the terminal is narrower still, the highest number first; 0 if it never is.
    """

    title: str
    justify: Literal["left", "right"] = "left"
    style: str = ""
    least: int | None = None
    spare: int = 0


def print_json(value: Any) -> None:
    """Print one JSON value, indented."""
    _write(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """Print one JSON value on a line of its own, at once."""
    _write(json.dumps(value, ensure_ascii=False))


def _write(text: str) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.buffer.flush()


def console() -> Console:
    """What draws on stdout; rich looks at the terminal, ``NO_COLOR`` and ``TERM``."""
    made = Console(file=sys.stdout, highlight=False)
    if not made.is_terminal:
        made.width = 10_000  # nothing is cut or wrapped where no terminal has an edge
    return made


def print_line(line: Cell = "") -> None:
    """Print one line, wrapped by nobody."""
    console().print(line if isinstance(line, Text) else Text(safe(line or "")), soft_wrap=True)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """Print rows below headings."""
    cells = [[_text(cell) for cell in row] for row in rows]
    screen = console()
    if screen.is_terminal:
        screen.print(_drawn(columns, cells, screen.width))
    else:
        for line in _aligned(columns, cells):
            print(line)


def _drawn(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    widths = _fitted(columns, rows, width)
    for place, cells in widths.items():
        column = columns[place]
        table.add_column(
            column.title, justify=column.justify, style=column.style, no_wrap=True, overflow="ellipsis", width=cells
        )
    for row in rows:
        table.add_row(*(row[place] for place in widths))
    return table


def _fitted(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> dict[int, int]:
    """Which columns a terminal has room for, by their places, and how wide each is then."""
    natural = [max([len(column.title), *(row[place].cell_len for row in rows)]) for place, column in enumerate(columns)]
    least = [
        cells if column.least is None else min(cells, column.least)
        for cells, column in zip(natural, columns, strict=True)
    ]

    def fits(places: Iterable[int], widths: Sequence[int]) -> bool:
        return sum(widths[place] + _GAP for place in places) - _GAP <= width

    kept = list(range(len(columns)))
    left_out = []
    for place in sorted(kept, key=lambda place: -columns[place].spare):
        if columns[place].spare and not fits(kept, least):
            kept.remove(place)
            left_out.append(place)
    for place in reversed(left_out):  # a wide one that had to go may have made room for a narrow one
        if fits([*kept, place], least):
            kept.append(place)
    kept.sort()
    while not fits(kept, natural) and any(natural[place] > least[place] for place in kept):
        widest = max((place for place in kept if natural[place] > least[place]), key=lambda place: natural[place])
        natural[widest] -= 1
    return {place: natural[place] for place in kept}


def _aligned(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> Iterable[str]:
    plain = [[column.title for column in columns], *([cell.plain for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in plain) for place in range(len(columns))]
    for row in plain:
        padded = (
            cell.rjust(width) if column.justify == "right" else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        yield "  ".join(padded).rstrip()


def _text(cell: Cell) -> Text:
    text = cell if isinstance(cell, Text) else Text(safe(cell or ""))
    return Text(text.plain.replace("\n", " "), text.style) if "\n" in text.plain else text
