"""The rows of one run as the reference model keeps them, and its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .definition import Json

SOME_TEXT = "<some text>"  # a text that no rule fixes
OPEN = ("queued", "started")


@dataclass(frozen=True)
class Event:
    """One event (core 7); payload without timestamps, which are only named."""

    event: str
    payload: dict
    times: frozenset[str]


@dataclass
class State:
    """A row of step_states."""

    status: str = "created"
    remaining_tasks: int | None = None
    initial_tasks: int | None = None
    remaining_deps: int = 0
    output: Json | None = None
    error: str | None = None
    skip_reason: str | None = None
    was_started: bool = False


@dataclass
class Task:
    """A row of step_tasks with its message: visible_at None when no message is in the queue."""

    visible_at: float | None
    status: str = "queued"
    attempts: int = 0
    output: Json | None = None
    error: str | None = None
    worker: str | None = None
    started_at: float | None = None
    requeued: int = 0
    given_up: bool = False
    settled: tuple | None = None  # (attempt, worker, kind) of what the row shows now
    history: set = field(default_factory=set)  # all of those
    place: int | None = None  # the message's id, once the database has told it
    sent_again: bool = False

    def show(self, at: float) -> None:
        """Make the message visible then; a message that is gone is sent again, else the task would never run."""
        if self.visible_at is None:
            self.place, self.sent_again = None, True
        self.visible_at = at

    def archive(self) -> None:
        self.visible_at = None


class OneOf(frozenset):
    """Equal to each of its members: the contract leaves the choice."""

    def __eq__(self, other: object) -> bool:
        return frozenset.__eq__(self, other) if isinstance(other, frozenset) else other in self

    __hash__ = frozenset.__hash__
