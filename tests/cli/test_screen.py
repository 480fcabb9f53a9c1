from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from tests.cli.command import GREET, environment

PIECE = re.compile(r"\x1b\[([0-9;?]*)([a-zA-Z])|([^\x1b])")


@pytest.fixture
def on_a_terminal(tmp_path, pgflow_dsn):
    """Run greet.py with stderr on a terminal; give stdout and what the terminal got."""
    (tmp_path / "greet.py").write_text(GREET.replace('return f"', "print('printed', item)\n        return f\""))

    def run(**variables: str) -> tuple[str, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "pgflow_mp", "run", "greet.py", "--dsn", pgflow_dsn],
            cwd=tmp_path,
            env=environment({"TERM": "xterm-256color", "COLUMNS": "100", **variables}),
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)
        try:
            shown = read_to_the_end(ours)
            stdout, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        assert process.returncode == 0, shown
        return stdout, shown

    return run


def read_to_the_end(terminal: int) -> str:
    received = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: the last writer has closed it (Linux; pty(7))
            break
        if not data:
            break
        received += data
    return received.decode()


def picture(received: str) -> list[str]:
    """What a person sees in the end: the lines after all cursor movements (those that we use: CR, LF, up, erase)."""
    lines: dict[int, str] = {}
    row = column = 0
    for number, control, character in PIECE.findall(received):
        if control == "A":
            row -= int(number or 1)
        elif control == "K":
            lines[row] = ""
        elif character == "\n":
            row += 1
        elif character == "\r":
            column = 0
        elif character:
            line = lines.get(row, "").ljust(column)
            lines[row] = line[:column] + character + line[column + 1 :]
            column += 1
    return [lines.get(index, "").rstrip() for index in range(max(lines) + 1)]


def test_a_terminal_gets_a_live_table_and_stdout_only_the_output(on_a_terminal):
    stdout, shown = on_a_terminal()
    assert json.loads(stdout) == {"greeting": ["hello Ada", "hello Grace"]}
    assert "\x1b[" in shown
    last = [line for line in picture(shown) if line][-3:]
    assert last[0].startswith("✔ names")
    assert last[1].startswith("✔ greeting")
    assert "2/2" in last[1]
    assert last[2].startswith("completed in ")


def test_what_handlers_print_stands_above_the_table(on_a_terminal):
    _, shown = on_a_terminal()
    lines = picture(shown)
    table = next(index for index, line in enumerate(lines) if line.startswith("✔ names"))
    assert sorted(lines[2:table]) == ["greet.greeting[0] printed Ada", "greet.greeting[1] printed Grace"]


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_that_cannot_draw_gets_lines(on_a_terminal, variables):
    _, shown = on_a_terminal(**variables)
    assert "\x1b[" not in shown
    assert "names: completed in " in shown
