"""Times as they are typed: of a clock, or so long from now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from pgflow_mp.cli.exits import UsageError
from pgflow_mp.rules import shown

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_moment(text: str, *, past: bool = False) -> datetime:
    """A time, with a zone: the reader's where none is given.

    Args:
        text: ISO 8601 (``2026-11-23``, ``2026-11-23T14:00+01:00``), or a span (``90s``, ``15m``, ``2h``, ``3d``).
        past: A span is that long ago, else from now.

    Raises:
        UsageError: It is neither.
    """
    if _SPAN.fullmatch(text):
        span = timedelta(seconds=read_span(text))
        return datetime.now(UTC) - span if past else datetime.now(UTC) + span
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{shown(text)} is no time: write 2026-11-23T14:00 (with +01:00 for a zone other than yours), "
            "or a span like 90s, 15m, 2h, 3d"
        ) from None


def read_span(text: str) -> float:
    """Seconds of a span like ``90s``, ``15m``, ``2h``, ``3d``, ``1w``; a bare number is seconds.

    Raises:
        UsageError: It is none, or longer than a hundred years.
    """
    span = _SPAN.fullmatch(text if text[-1:] in _SECONDS else f"{text}s")
    seconds = float(span[1]) * _SECONDS[span[2]] if span else -1.0
    if not 0 <= seconds <= 100 * 366 * 86_400:
        raise UsageError(f"{shown(text)} is no span of time: write seconds, or 90s, 15m, 2h, 3d, 1w")
    return seconds
