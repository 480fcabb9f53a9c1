"""Schema pgmq, the queues under the core: present, as an extension, or from the SQL of the `pgmq` package.

A pgmq that is there already is somebody's: it is looked at and left alone. Otherwise the extension is taken
where the server offers it in a good version and lets us create it; failing that the SQL file that the Python
package `pgmq` ships, which makes the same schema on any server. Needed is 1.5.0: from there on messages have
headers and queue names can be validated (core 1.3, generations 5.1).
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.errors import InstallError

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

__all__ = ["ensure"]

_Connection = psycopg.Connection[Any]
_OLDEST = (1, 5)

_STATE = """
select exists (
         select 1
         from pg_catalog.pg_class as c
         join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
         where n.nspname = 'pgmq' and c.relname = 'meta'
       ),
       (select extversion from pg_catalog.pg_extension where extname = 'pgmq'),
       (select default_version from pg_catalog.pg_available_extensions where name = 'pgmq'),
       exists (
         select 1
         from pg_catalog.pg_attribute as a
         join pg_catalog.pg_class as c on c.oid = a.attrelid
         join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
         where n.nspname = 'pgmq' and c.relname = 'message_record' and a.attname = 'headers'
       )
"""


def ensure(conn: _Connection) -> tuple[str, str]:
    """Make sure that schema pgmq is there, inside the current transaction.

    Returns:
        How pgmq is here (``extension 1.5.1``, ``SQL 1.13.0``, ``SQL``), and the line that says what was done.

    Raises:
        InstallError: A pgmq older than 1.5 is installed, or there is none and no way to install it.
    """
    there, installed, offered, has_headers = _row(conn, _STATE)
    if there:
        return _keep(installed, has_headers=has_headers)
    if offered is not None and _numbers(offered) >= _OLDEST and _create_extension(conn):
        version = _row(conn, _STATE)[1]
        return f"extension {version}", f"pgmq: created extension, version {version}"
    version = _run_shipped_sql(conn)
    return f"SQL {version}", f"pgmq: installed from SQL, version {version}"


def _keep(installed: str | None, *, has_headers: bool) -> tuple[str, str]:
    how = f"extension {installed}" if installed else "SQL"
    if not has_headers:
        raise InstallError(
            f"the pgmq of this database ({how}) is older than 1.5.0, which pgflow needs. "
            "Update it first: alter extension pgmq update."
        )
    return how, f"pgmq: already here ({how}), nothing to do"


def _create_extension(conn: _Connection) -> bool:
    """Create the extension; False when this role may not, so that the SQL file is taken."""
    try:
        with conn.transaction():
            conn.execute("create extension pgmq")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _run_shipped_sql(conn: _Connection) -> str:
    """Run the SQL file of the `pgmq` package and return its version."""
    folder = _shipped_folder()
    conn.execute((folder / "pgmq.sql").read_bytes())
    version = folder / "VERSION"
    return version.read_text("utf-8").strip().removeprefix("v") if version.exists() else "unknown"


def _shipped_folder() -> Path:
    """Find the SQL folder of the `pgmq` package without importing it (it would load its clients)."""
    spec = find_spec("pgmq")
    places = list(spec.submodule_search_locations or ()) if spec else []
    for folder in (Path(place) / "sql" for place in places):
        if (folder / "pgmq.sql").is_file():
            return folder
    raise InstallError(
        "this server offers no pgmq extension, and the Python package pgmq, which ships its SQL, "
        "is not installed here. Install it with: pip install 'pgmq>=1.1.3'."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _row(conn: _Connection, query: str) -> TupleRow:
    found = conn.cursor(row_factory=psycopg.rows.tuple_row).execute(query.encode()).fetchone()
    assert found is not None
    return found
