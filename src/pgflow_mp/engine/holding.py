"""What this worker holds: every attempt that it has claimed and neither settled nor given back.

The books exist for the case that the database and this process disagree. When the connection breaks in a claim, the
claim may have been carried out, with nobody here who knows: its tasks would stay with a worker that is alive and well
until their timeout. So after a lost claim the worker asks for a while what the database believes it holds, and gives
back what is not in the books.

A return whose answer was lost is repeated, and between the two this worker may have claimed the same task again, as
the same attempt (a return takes the attempt back, D-4). What is claimed anew is not to be returned any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgflow_mp.core.queries.tasks import TaskKey


class Holding:
    """The attempts that are with this worker, and those among them that are on their way back."""

    def __init__(self) -> None:
        self._held: set[TaskKey] = set()
        self._returning: set[TaskKey] = set()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: TaskKey) -> bool:
        return key in self._held

    def claimed(self, keys: Iterable[TaskKey]) -> None:
        """Note what a claim has brought."""
        keys = set(keys)
        self._held |= keys
        self._returning -= keys

    def returning(self, keys: Iterable[TaskKey]) -> None:
        """Note what shall go back."""
        self._returning.update(keys)

    def still_returning(self, keys: Iterable[TaskKey]) -> list[TaskKey]:
        """Leave out what has been claimed again since it was to go back."""
        return [key for key in keys if key in self._returning]

    def returned(self, keys: Iterable[TaskKey]) -> None:
        """Note what the database has back, but for what has been claimed again meanwhile."""
        keys = self._returning.intersection(keys)
        self._held -= keys
        self._returning -= keys

    def settled(self, keys: Iterable[TaskKey]) -> None:
        """Note whose outcome the database has."""
        self._held.difference_update(keys)
