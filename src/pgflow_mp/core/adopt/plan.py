"""The plan of an adoption: what is in the way, what is changed, what is left alone.

One and the same object is printed by a dry run and carried out by an adoption, statement by statement.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Change", "Plan", "quoted"]


def quoted(name: str) -> str:
    """A name of somebody else's, as a statement takes it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        about: What kind of thing: ``rights``, ``locks``, ``types``, ``tables``, ``data``, ``functions``,
            ``constraints``, ``indexes``, ``stamps``.
        text: What is done, in plain words.
        statements: How, in order.
    """

    about: str
    text: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an adoption does, or did.

    Attributes:
        database: Its name.
        found: What is there, and whose it is, in a sentence.
        is_ours: The schema is pgflow-mp's own already; there is nothing to do.
        changes: In the order in which they are made.
        notes: What is left as it is, and what a person should know or do afterwards.
        obstacles: What is in the way, each with what to do; with one of them nothing is changed.
        done: Whether the changes were made.
    """

    database: str
    found: str
    is_ours: bool = False
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    done: bool = False

    @property
    def statements(self) -> tuple[str, ...]:
        """Every statement, in order; inside one transaction they are the adoption."""
        return tuple(statement for change in self.changes for statement in change.statements)
