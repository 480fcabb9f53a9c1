"""Tables and JSON on stdout: what a terminal of any width gets, what a pipe gets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from rich.text import Text

from pgflow_mp.cli.output import Column, _fitted, print_json, print_json_line, print_line, print_table
from pgflow_mp.cli.text import safe

COLUMNS = (Column("ID"), Column("STARTED", spare=2), Column("TIME", justify="right", spare=1), Column("NOTE", least=6))
ROW = ("12345678", "2026-11-23 13:00:00", "7.8 s", "a long note about it")


def widths(width: int) -> dict[str, int]:
    return {COLUMNS[at].title: cells for at, cells in _fitted(COLUMNS, [[Text(cell) for cell in ROW]], width).items()}


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, {"ID": 8, "STARTED": 19, "TIME": 5, "NOTE": 20}),
        (50, {"ID": 8, "STARTED": 19, "TIME": 5, "NOTE": 12}),
        (44, {"ID": 8, "STARTED": 19, "TIME": 5, "NOTE": 6}),
        (43, {"ID": 8, "TIME": 5, "NOTE": 20}),
        (24, {"ID": 8, "TIME": 5, "NOTE": 7}),
        (20, {"ID": 8, "NOTE": 10}),
        (10, {"ID": 8, "NOTE": 6}),
    ],
)
def test_a_narrow_terminal_cuts_notes_first_and_then_leaves_columns_out(width, expected):
    assert widths(width) == expected
    assert sum(expected.values()) + 2 * (len(expected) - 1) <= width or width < 16


def test_a_pipe_gets_whole_cells_without_colours_and_without_blanks_at_the_ends(capfd):
    print_table(COLUMNS, [ROW, ("1", None, Text("10 s", "red"), "x" * 300)])
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "ID        STARTED               TIME  NOTE"
    assert lines[1] == "12345678  2026-11-23 13:00:00  7.8 s  a long note about it"
    assert lines[2] == "1                               10 s  " + "x" * 300


def test_markup_and_control_characters_are_shown_as_they_are(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table((Column("TEXT"),), [("[red]no[/red] \x1b[31m\x07\u202e",)])
    print_line("[bold]\x1b]0;title\x07")
    out = capfd.readouterr().out
    assert "[red]no[/red] \\x1b[31m\\x07\\u202e" in out
    assert "[bold]\\x1b]0;title\\x07" in out
    assert safe("a\tb\nc\x00\x85") == "a   b\nc\\x00\\x85"


def test_json_is_utf_8_and_lines_are_lines(capfdbinary):
    print_json({"a": "ä✓"})
    print_json_line([1, {"b": None}])
    first, second = capfdbinary.readouterr().out.rsplit(b"\n", 2)[:2]
    assert json.loads(first) == {"a": "ä✓"}
    assert "ä✓".encode() in first
    assert second == b'[1, {"b": null}]'


PRINTS = """
import sys
from pgflow_mp.cli import completion, main
from pgflow_mp.cli.output import print_line
from pgflow_mp.cli.words import mark
completion.run = lambda arguments: print_line(mark("completed").append("ä✓")) or 0
sys.exit(main(["completion", "bash"]))
"""


@pytest.mark.slow
def test_a_locale_without_the_signs_gets_escapes_and_no_error():
    done = subprocess.run(
        [sys.executable, "-c", PRINTS],
        env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, b"\\xe4\\u2713\n"), done.stderr
