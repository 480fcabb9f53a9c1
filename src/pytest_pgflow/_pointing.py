"""Mistakes in a call point at the call.

A step that does not exist, input that is no JSON, an option that means nothing: the place to look at is the test's own
line, and the frames between it and the check say nothing. They are left out where all of them are ours; as soon as
code of somebody else is among them (a handler, a driver), the traceback stays as it is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pgflow_mp.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

P = ParamSpec("P")
T = TypeVar("T")

MACHINERY = ("pgflow_mp", "pytest_pgflow", "asyncio", "contextlib", "dataclasses")
"""Packages whose frames say nothing about a mistake: ours, and what stands between two functions of ours."""


def pointing(function: Callable[P, T]) -> Callable[P, T]:
    """Let what a function of ours refuses by itself be shown where it was called."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except (PgflowError, ValueError, TypeError) as error:
            if not _is_ours_alone(error.__traceback__):
                raise
            mistake = error
        # Not from within the handler above: there, the mistake would become its own context.
        raise mistake.with_traceback(None) from mistake.__cause__

    return call


def _is_ours_alone(frames: TracebackType | None) -> bool:
    return without_machinery(frames) is None


def without_machinery(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame on that is of somebody else, such as a handler; None if there is none."""
    while frames is not None and _is_machinery(frames.tb_frame):
        frames = frames.tb_next
    return frames


def _is_machinery(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in MACHINERY
