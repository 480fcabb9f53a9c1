"""How much JSON a handler gets and returns at most (D-22, issue 4.9).

Postgres takes up to 256 MB in one jsonb string, but long before that a payload holds up everybody else's: on its way
through the pipes, in the statement that settles it with others, in each row and each answer that carries it. As
Python's values it takes many times its size. So it is refused in the process that would have to handle it (D-6).
"""

from __future__ import annotations

from pgflow_mp.errors import InvalidInput, OutputError

MAX_PAYLOAD_MB = 64.0
"""The limit, where nobody sets another one."""

_MEGABYTE = 1024 * 1024
_LONGEST_CHARACTER = 4  # bytes in UTF-8
_ELSEWHERE = "store it where large things are (a file, a bucket, a table) and"


def check_inputs(max_payload: float, *inputs: bytes | None) -> None:
    """Refuse JSON that is too large to be decoded.

    Args:
        max_payload: MB that each of them may have.
        inputs: JSON texts.

    Raises:
        InvalidInput: One has more.
    """
    size = max(map(len, filter(None, inputs)), default=0)
    if size > max_payload * _MEGABYTE:
        raise InvalidInput(f"the input is too large: {_said(size, max_payload)}; {_ELSEWHERE} pass on where it is")


def check_output(max_payload: float, output: str | None) -> None:
    """Refuse JSON that is too large to be stored.

    Args:
        max_payload: MB that it may have.
        output: JSON text.

    Raises:
        OutputError: It has more.
    """
    most = max_payload * _MEGABYTE
    if output is None or len(output) * _LONGEST_CHARACTER <= most:
        return
    size = len(output) if output.isascii() else len(output.encode())
    if size > most:
        raise OutputError(f"the output is too large: {_said(size, max_payload)}; {_ELSEWHERE} return where it is")


def _said(size: int, max_payload: float) -> str:
    return f"{size / _MEGABYTE:.1f} MB of JSON, the limit is {max_payload:g} MB (`max_payload`)"
