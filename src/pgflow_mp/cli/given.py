"""A run's input as given on the command line: JSON text, ``@file``, or ``-`` for stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pgflow_mp import jsonvalue
from pgflow_mp.cli.exits import UsageError
from pgflow_mp.errors import OutputError


def read_input(argument: str) -> Any:
    """Decode the input.

    Args:
        argument: JSON text; ``@path`` of a file with JSON; ``-`` for JSON on stdin.

    Raises:
        UsageError: The file cannot be read, or the text is no JSON: the sentence shows the place.
    """
    return _decoded(*_fetch(argument))


def read_inputs(argument: str) -> list[Any]:
    """Decode JSON lines: one input a line; empty lines do not count.

    Args:
        argument: As for `read_input`.

    Raises:
        UsageError: As for `read_input`; names the line.
    """
    name, text = _fetch(argument)
    # Not splitlines(): a JSON string may hold U+2028 as it is.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise UsageError(f"{name} has no lines: nothing would be started")
    return [_decoded(f"line {number} of {name}", line) for number, line in lines]


def _decoded(name: str, text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        jsonvalue.encode(value)  # lone surrogates and \u0000 parse, but Postgres takes neither
    except json.JSONDecodeError as error:
        raise UsageError(f"{name} is no JSON: {error.msg} at {_place(error, text)}") from None
    except OutputError as error:
        raise UsageError(f"{name} cannot be stored: {error}") from None
    except RecursionError:
        raise UsageError(f"{name} is nested more than {jsonvalue.MAX_DEPTH} levels deep; flatten it") from None
    except ValueError as error:  # a number with more digits than Python reads
        raise UsageError(f"{name} cannot be read: {error}") from None
    return value


def _fetch(argument: str) -> tuple[str, str]:
    """What to call the input in an error, and its text."""
    try:
        if argument == "-":
            return "the input from stdin", sys.stdin.read()
        if argument.startswith("@"):
            return f"the input file {argument[1:]}", Path(argument[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the input {argument}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"the input {argument} is not UTF-8: {error.reason} at byte {error.start}") from None
    return "the input", argument


def _refuse_constant(name: str) -> Any:
    """JSON has no NaN and no Infinity, though Python's parser takes them."""
    raise UsageError(f"the input is no JSON: {name} is not a JSON value")


def _place(error: json.JSONDecodeError, text: str) -> str:
    """Line and column, the line itself, and a caret under the column."""
    if not text.strip():
        return "the start: it is empty"
    line = text.splitlines()[error.lineno - 1] if error.lineno <= len(text.splitlines()) else ""
    start = max(0, error.colno - 40)
    shown = line[start : start + 72]
    return f"line {error.lineno} column {error.colno}\n  {shown}\n  {' ' * (error.colno - 1 - start)}^"
