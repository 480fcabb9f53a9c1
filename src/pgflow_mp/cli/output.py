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


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        justify: Where its cells stand; numbers stand right.
        whole: Never cut, however narrow the terminal: an id to copy.
        style: How its cells look on a terminal.
    """

    title: str
    justify: Literal["left", "right"] = "left"
    whole: bool = False
    style: str = ""


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
        screen.print(_drawn(columns, cells))
    else:
        for line in _aligned(columns, cells):
            print(line)


def _drawn(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        widest = max((row[place].cell_len for row in rows), default=0)
        table.add_column(
            column.title,
            justify=column.justify,
            style=column.style,
            no_wrap=True,
            overflow="ellipsis",
            min_width=max(widest, len(column.title)) if column.whole else None,
        )
    for row in rows:
        table.add_row(*row)
    return table


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
