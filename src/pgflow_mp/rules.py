"""What a slug, an option and a keyword may be: plain rules that answer with a sentence or with None.

The rules are those of the database (contract core 2.1, 2.2; generations SL-1), told early, in the
writer's words, before anything is sent. They know nothing of flows: callers say where it was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_FLOW_SLUG: Final = 47
"""pgmq's longest queue name; the queue of a flow is named like the flow (core Q-2)."""
MAX_STEP_SLUG: Final = 128
"""The contract's longest slug (core 3.1)."""

_SLUG = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*", re.ASCII)
_INT_MAX: Final = 2**31 - 1

FLOW_OPTIONS: Final = ("max_attempts", "base_delay", "timeout")
STEP_OPTIONS: Final = (*FLOW_OPTIONS, "start_delay")
CONDITIONS: Final = ("when", "unless")
SKIP_MODES: Final = ("when_unmet", "when_exhausted")
MODES: Final = ("fail", "skip", "skip-cascade")
RUN_OPTIONS: Final = ("executor", "processes", "concurrency", "retry_on")
"""Options of a step that only its worker knows: they are no part of the shape (D-22)."""
FLOW_RUN_OPTIONS: Final = ("executor", "retry_on")
"""Those that a flow may give for all its steps."""
EXECUTORS: Final = ("process", "async", "thread", "inline")

_LEAST: Final = {
    "max_attempts": 0,
    "base_delay": 0,
    "timeout": 1,
    "start_delay": 0,
    "processes": 1,
    "concurrency": 1,
}
_UNIT: Final = {
    "max_attempts": "",
    "base_delay": " of seconds",
    "timeout": " of seconds",
    "start_delay": " of seconds",
    "processes": "",
    "concurrency": "",
}


def slug_problem(slug: object, longest: int = MAX_STEP_SLUG) -> str | None:
    """Say what is wrong with a slug (generations SL-1), or None when it is good.

    Args:
        slug: What was given.
        longest: The most characters allowed: `MAX_FLOW_SLUG` for flows, `MAX_STEP_SLUG` for steps.
    """
    if not isinstance(slug, str):
        return f"a slug is a string, not {shown(slug)}"
    if slug == "run":
        return "`run` is a reserved word of pgflow and cannot be a slug"
    if not _SLUG.fullmatch(slug):
        return (
            f"{shown(slug)} cannot be a slug: a slug starts with a letter, ends with a letter or digit, "
            f"and has only ASCII letters, digits and single underscores{_repaired(slug, longest)}"
        )
    if len(slug) > longest:
        return f"the slug `{slug}` has {len(slug)} characters; the most is {longest}"
    return None


def _repaired(slug: str, longest: int) -> str:
    repaired = re.sub(r"[^A-Za-z0-9]+", "_", slug).strip("_").lstrip("0123456789_")
    good = repaired and slug_problem(repaired, longest) is None
    return f" (`{repaired}` would do)" if good else ""


def option_problem(name: str, value: object) -> str | None:
    """Say what is wrong with the value of a number option, or None when it is good (core 2.1, 2.2).

    Args:
        name: One of `STEP_OPTIONS`, `processes` or `concurrency`.
        value: What was given; None means "not set" and is always good.
    """
    if value is None:
        return None
    least = _LEAST[name]
    if isinstance(value, bool) or not isinstance(value, int):
        return f"{name} must be a whole number{_UNIT[name]}, not {shown(value)}"
    if not least <= value <= _INT_MAX:
        return f"{name} must be at least {least} and at most {_INT_MAX}, not {value}"
    return None


def mode_problem(name: str, value: object) -> str | None:
    """Say what is wrong with `when_unmet` or `when_exhausted`, or None when it is good (core 2.2)."""
    if isinstance(value, str) and value in MODES:
        return None
    allowed = ", ".join(repr(mode) for mode in MODES)
    return f"{name} must be one of {allowed}, not {shown(value)}{did_you_mean(value, MODES)}"


def executor_problem(value: object) -> str | None:
    """Say what is wrong with `executor`, or None when it is good."""
    if value is None or (isinstance(value, str) and value in EXECUTORS):
        return None
    allowed = ", ".join(repr(executor) for executor in EXECUTORS)
    return f"executor must be one of {allowed}, not {shown(value)}{did_you_mean(value, EXECUTORS)}"


def exceptions_problem(value: object) -> str | None:
    """Say what is wrong with `retry_on`, or None when it is good: an exception class, or several."""
    several = value if isinstance(value, tuple | list | set | frozenset) else (value,)
    for one in several:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            return f"retry_on takes an exception class or a tuple of them, not {shown(one)}"
    return None


def unknown_option(given: Iterable[str], known: Collection[str]) -> str | None:
    """Name the first keyword that is no option, and the one that was likely meant."""
    for name in given:
        if name not in known:
            meant = did_you_mean(name, known)
            return f"there is no option `{name}`{meant}; the options are {', '.join(known)}"
    return None


def did_you_mean(word: object, candidates: Iterable[str]) -> str:
    """Give `` (did you mean `x`?)`` for the candidate next to `word`, or nothing when none is near."""
    import difflib  # only on the way to an error: keeps `import pgflow_mp` cheap

    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1)
    return f" (did you mean `{by_lower[close[0]]}`?)" if close else ""


def shown(value: object) -> str:
    """Show any value in a sentence: its repr, bounded, and never an exception."""
    import reprlib

    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001  (whatever a broken __repr__ raises, the sentence must come out)
        return f"an unprintable {type(value).__name__}"


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many: ``1 task``, ``2,000 tasks``; `many` where adding an s would not do."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
