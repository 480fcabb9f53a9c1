"""The ``pgflow`` marker: what one test, class or module wants differently."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields, replace

import pytest

from pgflow_mp.rules import did_you_mean
from pytest_pgflow._options import checked


@dataclass(frozen=True, slots=True)
class Marked:
    """What the ``pgflow`` markers of a test say; None where they say nothing."""

    executor: str | None = None
    timeout: float | None = None
    isolation: str | None = None
    skip_delays: bool | None = None
    processes: int | None = None


def pgflow(
    *,
    executor: str | None = None,
    timeout: float | None = None,
    isolation: str | None = None,
    skip_delays: bool | None = None,
    processes: int | None = None,
) -> Marked:
    """Give the marker its signature: calling this with the marker's arguments checks them.

    Args:
        executor: ``inline`` or ``process``.
        timeout: Seconds that one run of a flow may take.
        isolation: ``clone``, ``delete`` or ``none``.
        skip_delays: Whether retry and start delays are skipped in the database (the default) or waited for.
        processes: Children of the process executor.
    """
    given = Marked(executor, timeout, isolation, skip_delays, processes)
    for name in ("executor", "timeout", "isolation", "processes"):
        value = getattr(given, name)
        if value is not None:
            given = replace(given, **{name: checked(name, value)})
    if skip_delays not in (None, True, False):
        raise ValueError(f"skip_delays={skip_delays!r}: skip_delays is True or False")
    return given


def read_markers(node: pytest.Item | pytest.Collector) -> Marked:
    """Merge the ``pgflow`` markers of a test, its class and its module; the closest one wins.

    Fails the test, without a traceback, when a marker has an unknown keyword or a value that means nothing.
    """
    merged = Marked()
    for mark in reversed(list(node.iter_markers("pgflow"))):
        said = _read(mark)
        told = {f.name: value for f in fields(said) if (value := getattr(said, f.name)) is not None}
        merged = replace(merged, **told)
    return merged


def _read(mark: pytest.Mark) -> Marked:
    try:
        return pgflow(*mark.args, **mark.kwargs)
    except (TypeError, ValueError) as error:
        why = _explain(mark, error)
    # Raised here and not above: the report is to show this sentence alone, not what led to it.
    pytest.fail(f"@pytest.mark.pgflow: {why}", pytrace=False)


def _explain(mark: pytest.Mark, error: Exception) -> str:
    known = list(inspect.signature(pgflow).parameters)
    for keyword in mark.kwargs:
        if keyword not in known:
            return f"unknown keyword {keyword!r}{did_you_mean(keyword, known)}; known: {', '.join(known)}"
    if mark.args:
        return f"takes keywords only, got {', '.join(map(repr, mark.args))}; known: {', '.join(known)}"
    return str(error)
