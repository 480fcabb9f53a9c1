"""The SQL files of the package, in the order in which they are run.

`tables.sql` is version 1 of the schema; every file ``migrations/NNNN_name.sql`` makes version NNNN of it. All
other files create one function each and are replaced as a whole when any of them changes. A function that has
two bodies, one for a database with a realtime service and one without, lies in ``name.realtime.sql`` and
``name.silent.sql``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

__all__ = ["Script", "content_hash", "functions", "migrations", "root"]

# The constraints of the tables call these, so they come first.
_BEFORE_TABLES = ("define/is_valid_slug.sql", "define/is_valid_queue_name.sql")
_TABLES = "tables.sql"
_MIGRATIONS = "migrations"
_REALTIME, _SILENT = ".realtime.sql", ".silent.sql"


@dataclass(frozen=True, slots=True)
class Script:
    """One SQL file.

    Attributes:
        name: Its path below the SQL folder.
        sql: Its text; may hold several statements.
    """

    name: str
    sql: str


def root() -> Traversable:
    """Return the folder of the package's SQL files."""
    return files("pgflow_mp.core") / "sql"


def functions(folder: Traversable, *, realtime: bool) -> list[Script]:
    """Return every function file, those first that the tables need, the others by name.

    Args:
        folder: What `root` returns.
        realtime: Whether the database has ``realtime.send``; picks one of two variants of a file.
    """
    unwanted = _SILENT if realtime else _REALTIME
    found = [script for script in _walk(folder, "") if not script.name.endswith(unwanted)]
    return sorted(found, key=lambda script: (script.name not in _BEFORE_TABLES, script.name))


def migrations(folder: Traversable) -> list[tuple[int, list[Script]]]:
    """Return the versions of the schema, oldest first, with the scripts that make each of the one before."""
    first = [Script(name, (folder / name).read_text("utf-8")) for name in (*_BEFORE_TABLES, _TABLES)]
    later = folder / _MIGRATIONS
    found = sorted(_files(later), key=lambda file: file.name) if later.is_dir() else []
    return [(1, first)] + [
        (int(file.name.partition("_")[0]), [Script(f"{_MIGRATIONS}/{file.name}", file.read_text("utf-8"))])
        for file in found
    ]


def content_hash(scripts: list[Script]) -> str:
    """Return a digest over the names and texts of `scripts`."""
    digest = hashlib.sha256()
    for script in scripts:
        digest.update(f"{script.name}\0{script.sql}\0".encode())
    return digest.hexdigest()


def _walk(folder: Traversable, path: str) -> Iterator[Script]:
    """Yield the function files below `folder`, which lies at `path` below the root."""
    for entry in folder.iterdir():
        name = f"{path}{entry.name}"
        if entry.is_dir():
            if name != _MIGRATIONS:
                yield from _walk(entry, f"{name}/")
        elif name.endswith(".sql") and name != _TABLES:
            yield Script(name, entry.read_text("utf-8"))


def _files(folder: Traversable) -> Iterator[Traversable]:
    return (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
