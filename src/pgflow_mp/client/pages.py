"""Pages of runs, and the text that says where a page ended.

A page is followed by the time and the id of its last run (keyset), so a page costs the same however far down it is, and
runs that start meanwhile move nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import overload
from uuid import UUID

from pgflow_mp.errors import InvalidCursor
from pgflow_mp.results import Run

__all__ = ["RunPage", "place_after"]


@dataclass(frozen=True, slots=True)
class RunPage(Sequence[Run]):
    """Some runs, the latest first; a sequence of them.

    Attributes:
        runs: The runs, without their steps.
        next: What to pass as `after=` for the runs that follow; None where none do.
    """

    runs: tuple[Run, ...]
    next: str | None

    @classmethod
    def of(cls, found: Sequence[Run], limit: int) -> RunPage:
        """Make a page of `limit` runs from those and, if there are more, one more."""
        shown = tuple(found[:limit])
        return cls(shown, _place(shown[-1]) if len(found) > limit else None)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Run, ...]: ...

    def __getitem__(self, index: int | slice) -> Run | tuple[Run, ...]:
        return self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)


def place_after(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Return the start and the id of the run that a page ended with; None for the first page.

    Raises:
        InvalidCursor: The text was not `next` of a page.
    """
    if cursor is None:
        return None
    started, _, run_id = cursor.partition("/")
    try:
        place = datetime.fromisoformat(started), UUID(run_id)
    except ValueError:
        raise InvalidCursor(f"{cursor!r} does not say where a page ended; pass what `next` of a page was") from None
    if place[0].tzinfo is None:
        raise InvalidCursor(f"{cursor!r} has no time zone; pass what `next` of a page was")
    return place


def _place(run: Run) -> str:
    if run.started_at is None:  # the column is not null (core 2.4)
        raise InvalidCursor(f"run {run.run_id} was read without its start")
    return f"{run.started_at.isoformat()}/{run.run_id}"
