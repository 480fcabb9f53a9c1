"""Connections to databases that outlive a test: taken by one test after the other.

What a statement of ours costs on a new connection is mostly what the server finds out once for each of them, the
catalogue and the plans of functions: six times what it costs the second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from pgflow_mp.connecting import connect

if TYPE_CHECKING:
    from collections.abc import Iterable

SPARES = pytest.StashKey["Spares"]()


class Spares:
    """Open connections that nobody uses, by database."""

    def __init__(self) -> None:
        self._idle: dict[str, list[psycopg.Connection[Any]]] = {}

    def keep(self, dsn: str) -> None:
        """Keep connections to this database from now on, until `forget`."""
        self._idle.setdefault(dsn, [])

    def take(self, dsn: str) -> psycopg.Connection[Any]:
        """Return a connection in autocommit mode with the settings of a new one.

        Raises:
            DatabaseUnreachable: None could be opened.
        """
        idle = self._idle.get(dsn, [])
        while idle:
            conn = idle.pop()
            try:
                conn.execute("reset all")
            except psycopg.Error:
                conn.close()
            else:
                return conn
        return connect(dsn, purpose="tests")

    def give(self, dsn: str, conn: psycopg.Connection[Any]) -> None:
        """Take a connection back, or close it if it is of no use to anybody."""
        if dsn in self._idle and not conn.closed and conn.info.transaction_status is TransactionStatus.IDLE:
            self._idle[dsn].append(conn)
        else:
            conn.close()

    def forget(self, dsns: Iterable[str] | None = None) -> None:
        """Close what is kept for these databases, or for all."""
        for dsn in list(self._idle) if dsns is None else dsns:
            for conn in self._idle.pop(dsn, []):
                conn.close()
