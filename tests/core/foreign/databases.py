"""Databases with a schema pgflow of each generation: made once a session, cloned for each test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from . import NPM, build, npm_folder

if TYPE_CHECKING:
    from typing import LiteralString

__all__ = ["ForeignDatabases"]


class ForeignDatabases:
    """Makes and drops them on one server; what is left is dropped by `close`.

    Args:
        dsn: A database of the server, to give orders from.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._templates: dict[str, str] = {}
        self._shared: dict[str, str] = {}
        self._made: set[str] = set()

    def create(self, generation: str) -> str:
        """Return the DSN of a fresh database of that generation; skips the test where npm's is asked for in vain."""
        if generation not in self._templates:
            self._templates[generation] = self._build(generation)
        return self._dsn_of(self._new("create database {} template {}", self._templates[generation]))

    def shared(self, generation: str) -> str:
        """Return the DSN of a database of that generation for tests that take back what they do."""
        if generation not in self._shared:
            self._shared[generation] = self._build(generation)
        return self._dsn_of(self._shared[generation])

    def _build(self, generation: str) -> str:
        if generation == NPM and npm_folder() is None:
            pytest.skip(f"PGFLOW_TEST_NPM names no folder with @pgflow/core {NPM} in its node_modules")
        name = self._new("create database {} template template0")
        with psycopg.connect(self._dsn_of(name), autocommit=True) as conn:
            build(conn, generation)
        return name

    def _dsn_of(self, name: str) -> str:
        return make_conninfo(self._dsn, dbname=name)

    def drop(self, dsn: str) -> None:
        """Drop a database that `create` made, whoever is still connected to it."""
        name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
        self._order("drop database {} with (force)", name)
        self._made.discard(name)

    def close(self) -> None:
        """Drop what is left."""
        for name in sorted(self._made):
            self._order("drop database {} with (force)", name)

    def _new(self, statement: LiteralString, *more: str) -> str:
        name = f"pgflow_foreign_{uuid.uuid4().hex[:8]}"
        self._order(statement, name, *more)
        self._made.add(name)
        return name

    def _order(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
