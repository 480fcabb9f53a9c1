"""The SQL files of the package, in the order in which they are run.

`tables.sql` is version 1 of the schema; every file ``migrations/NNNN_name.sql`` makes version NNNN of it. A file
``name.own.sql`` is for databases whose schema pgflow is ours too, ``name.beside.sql`` for those where it is somebody
else's. All other files create one function each and are replaced as a whole when any of them changes. A function that
has two bodies, one for a database with a realtime service and one without, lies in ``name.realtime.sql`` and
``name.silent.sql``. Folder ``beside`` holds what is different beside a foreign schema (see `beside`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.resources.abc import Traversable

__all__ = ["Script", "content_hash", "functions", "migrations", "root", "variants"]

# The constraints of the contract's tables call these, so they come first.
_BEFORE_TABLES = ("define/is_valid_slug.sql", "define/is_valid_queue_name.sql")
_TABLES = "tables.sql"
_CONTRACT = "tables.own.sql"
_REFERENCES = "references.own.sql"
_MIGRATIONS = "migrations"
_BESIDE = "beside"
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

    @property
    def function(self) -> str:
        """The name of the function that it creates."""
        return PurePosixPath(self.name).name.partition(".")[0]


def root() -> Traversable:
    """Return the folder of the package's SQL files."""
    return files("pgflow_mp.core") / "sql"


def functions(folder: Traversable, *, realtime: bool) -> list[Script]:
    """Return every function file, those first that the contract's tables need, the others by name.

    Args:
        folder: What `root` returns.
        realtime: Whether the database has ``realtime.send``; picks one of two variants of a file.
    """
    unwanted = _SILENT if realtime else _REALTIME
    found = [script for script in _walk(folder, "") if not script.name.endswith(unwanted)]
    return sorted(found, key=lambda script: (script.name not in _BEFORE_TABLES, script.name))


def variants(folder: Traversable, place: str) -> list[Script]:
    """Return the function files of one folder below ``beside``, by name; none when there is no such folder.

    Args:
        folder: What `root` returns.
        place: The path below ``beside``, such as ``every`` or ``without/flows.queue_mode``.
    """
    found = folder / _BESIDE
    for part in place.split("/"):
        found = found / part
    if not found.is_dir():
        return []
    return sorted(_read(_files(found), f"{_BESIDE}/{place}/"), key=lambda script: script.name)


def migrations(folder: Traversable, *, beside: bool = False) -> list[tuple[int, list[Script]]]:
    """Return the versions of the schema, oldest first, with the scripts that make each of the one before.

    Args:
        folder: What `root` returns.
        beside: For a database whose schema pgflow is somebody else's: our own tables only.
    """
    first = (_TABLES,) if beside else (*_BEFORE_TABLES, _TABLES, _CONTRACT, _REFERENCES)
    versions = {1: [Script(name, (folder / name).read_text("utf-8")) for name in first]}
    later = folder / _MIGRATIONS
    unwanted = ".own.sql" if beside else ".beside.sql"
    # The file for all databases comes before that for some: "0003_name" is less than "0003_name.own".
    for file in sorted(_files(later) if later.is_dir() else (), key=lambda file: file.name.removesuffix(".sql")):
        if not file.name.endswith(unwanted):
            made = versions.setdefault(int(file.name.partition("_")[0]), [])
            made.append(Script(f"{_MIGRATIONS}/{file.name}", file.read_text("utf-8")))
    return list(versions.items())


def content_hash(scripts: Iterable[Script]) -> str:
    """Return a digest over the names and texts of `scripts`."""
    digest = hashlib.sha256()
    for script in scripts:
        digest.update(f"{script.name}\0{script.sql}\0".encode())
    return digest.hexdigest()


def _walk(folder: Traversable, path: str) -> Iterator[Script]:
    """Yield the function files below `folder`, which lies at `path` below the root."""
    for entry in folder.iterdir():
        if entry.is_dir() and f"{path}{entry.name}" not in (_MIGRATIONS, _BESIDE):
            yield from _walk(entry, f"{path}{entry.name}/")
    if path:
        yield from _read(_files(folder), path)


def _read(found: Iterable[Traversable], path: str) -> Iterator[Script]:
    return (Script(f"{path}{file.name}", file.read_text("utf-8")) for file in found)


def _files(folder: Traversable) -> Iterator[Traversable]:
    return (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
