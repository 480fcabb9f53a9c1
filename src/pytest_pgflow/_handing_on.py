"""Databases that go from test to test, because nobody but the runner has seen them.

A test that asks for `flow_runner` alone can neither look into its database nor leave anything there but what the
runner wrote: flows with their queues, runs, workers. Emptied of these it is as good as new, and goes to the next such
test together with its connection, which knows the tables and functions by now. To make that known to a connection, and
a clone for it, is most of what a test costs otherwise.

Flows stay defined, so that they need not be made again, until somebody may look: whoever asks for the DSN, a handler
that is lent a connection, children of a worker, time that stands still. Then those of earlier tests are deleted, and
the database goes to nobody after this test.

A database that tests share by their own wish (`delete`, `none`) stays whoever has seen it; what is defined in it is
known only as far as nobody has.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pgflow_mp.core.queries.definitions import delete_flow
from pgflow_mp.core.statement import Statement, execute, value
from pytest_pgflow import _reset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import psycopg

    from pgflow_mp.definition import FlowDefinition
    from pytest_pgflow._reset import Table
    from pytest_pgflow._spares import Spares

MOST_FLOWS = 30
"""How many flows a database may have and still be handed on: each has queues that the catalogue remembers."""


class HandedOn:
    """A database that goes from test to test.

    Args:
        dsn: The database, fresh.
        bookkeeping: Its tables that have rows.
        spares: Where its connections are kept.
        lasts: Whether it stays for all tests, seen or not.
    """

    def __init__(self, dsn: str, bookkeeping: frozenset[Table], spares: Spares, *, lasts: bool = False) -> None:
        self.dsn = dsn
        self.lasts = lasts
        self._seen = False
        self._watchers = 0
        self._bookkeeping = bookkeeping
        self._spares = spares
        self._flows: dict[str, FlowDefinition] = {}
        self._of_test: set[str] = set()
        spares.keep(dsn)

    @property
    def may_go_on(self) -> bool:
        """Whether the next test may have it."""
        return not self.seen and len(self._flows) <= MOST_FLOWS

    @property
    def seen(self) -> bool:
        """Whether somebody may look, or has looked, during this test."""
        return self._seen or self._watchers > 0

    def begin(self, *, empty: bool = True) -> None:
        """Begin with another test, without what the tests before it did if `empty`; flows stay defined.

        Raises:
            psycopg.Error: The server has gone.
        """
        if empty:
            queues = None if self.seen else [slug.lower() for slug in self._of_test]
            with self._connection() as conn:
                _reset.empty(conn, keep=self._bookkeeping, queues=queues)
        self._of_test.clear()
        self._seen = False

    def now(self) -> datetime:
        """Return what its clock says."""
        with self._connection() as conn:
            return execute(conn, Statement("select clock_timestamp()", (), value))  # type: ignore[no-any-return]

    def has(self, flow: FlowDefinition) -> bool:
        """Whether the flow is defined here as the test has it, so that compiling it would do nothing.

        A flow with schedules never is: `empty` takes them away.
        """
        known = self._flows.get(flow.slug)
        if self.seen or known is None or known != flow or known.is_job != flow.is_job or flow.schedules:
            return False
        self._of_test.add(flow.slug)
        return True

    def left_by_another_test(self, slug: str) -> bool:
        """Whether a flow of this name is here only because an earlier test has defined it."""
        return not self.lasts and slug in self._flows and slug not in self._of_test

    def compiled(self, flow: FlowDefinition) -> None:
        """Remember that a test defined this flow here."""
        if not (self.seen and self.lasts):
            self._flows[flow.slug] = flow
        self._of_test.add(flow.slug)

    def show(self) -> None:
        """Make it as new as a clone but for what the test itself did: somebody is about to look."""
        if self._seen:
            return
        self._seen = True
        if self.lasts:
            self._flows.clear()
            return
        others = [slug for slug in self._flows if self.left_by_another_test(slug)]
        if others:
            with self._connection() as conn:
                for slug in others:
                    execute(conn, delete_flow(slug))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have it seen for as long as a fixture of a wider scope than a test has it."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self._seen = True  # the test after that has to take away what this one did

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        conn = self._spares.take(self.dsn)
        try:
            yield conn
        finally:
            self._spares.give(self.dsn, conn)
