"""What a template gets before pgflow-mp: the schema of somebody else, beside which it is then installed.

A team whose schema pgflow is made by migrations of another language tests on what production has. SQL files are read
once and run in the order of their names, each as a whole; pgmq is there before them, as on their platform. A function
can do what files cannot, such as calling the tool that makes the schema.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.connecting import connect, sentence_of
from pgflow_mp.core import pgmq
from pgflow_mp.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Migrations", "read_migrations"]


@dataclass(frozen=True, slots=True)
class Migrations:
    """What makes the schema that a template has before ours.

    Attributes:
        files: SQL files with their texts, in order.
        function: Called with the DSN instead, where there are none.
    """

    files: tuple[tuple[Path, str], ...] = ()
    function: Callable[[str], object] | None = None

    @property
    def digest(self) -> str | None:
        """What tells one set of files from another; None for a function: what it does cannot be hashed."""
        if self.function is not None:
            return None
        return hashlib.sha256("\0".join(text for _, text in self.files).encode()).hexdigest()

    def run(self, dsn: str) -> None:
        """Make the schema in a new database.

        Raises:
            PgflowError: The database refused a file; names it.
        """
        with connect(dsn, purpose="tests") as conn:
            pgmq.ensure(conn)
            for path, text in self.files:
                try:
                    conn.execute(text.encode())
                except psycopg.Error as error:
                    raise PgflowError(f"the migration {path} failed: {sentence_of(error)}") from error
        if self.function is not None:
            self.function(dsn)


def read_migrations(given: Any) -> Migrations:
    """Read what the setting ``migrations`` names: a folder of SQL files, one file, or a function.

    Raises:
        ValueError: There is no such file, or no SQL in the folder.
    """
    if isinstance(given, Migrations):
        return given
    if callable(given):
        return Migrations(function=given)
    try:
        path = Path(given)
    except TypeError:
        raise ValueError("is a folder of SQL files, one file, or a function that takes the DSN") from None
    found = sorted(path.glob("*.sql")) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise ValueError(f"is a folder of SQL files, one file, or a function; there is no SQL at {path.absolute()}")
    return Migrations(tuple((file, file.read_text("utf-8")) for file in found))
