"""Schemas pgflow that others made, for tests: `build(conn, name)` makes one in an empty database.

Written from the facts of the contract, in words of our own: no line is upstream's, and a database of theirs may differ
where the contract is silent. A generation is its predecessor's files and one more, like a migration. The state machine
(`sql/state.sql` and its kin) is written once, a run and a step at a time, and reads from the tables which rules it
has to keep; the simple functions that no generation ever changed are this package's own files, put into schema pgflow.

Only "0.8.1" is upstream's own: its migrations come from the npm package, which nobody commits. They run where
`PGFLOW_TEST_NPM` names a folder whose node_modules has @pgflow/core 0.8.1.

Rules: core 2, 3, 8.2; generations 1 to 7; all fingerprints of generations 10 (see test_builders).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgflow_mp.core import pgmq, scripts

from .catalog import catalog

if TYPE_CHECKING:
    import psycopg

__all__ = ["BUILT", "NAMES", "NO_PLATFORM", "NPM", "build", "catalog", "npm_folder", "platform", "upgrade"]

_SQL = Path(__file__).with_name("sql")
_CREATE_EXTENSION = re.compile(rb"^create extension [^;]*;", re.IGNORECASE | re.MULTILINE)

# Files of the package that do what every generation does.
_OURS = (
    "define/calculate_retry_delay",
    "define/is_local",
    "define/_lock_definition",
    "define/_pattern_to_shape",
    "define/_pattern_from_shape",
    "define/_get_flow_shape",
    "define/_sorted_dependencies",
    "define/_compare_steps",
    "define/_compare_flow_shapes",
    "define/_shape_steps",
    "define/_shape_flow_options",
    "define/_create_flow_with_one_queue",
    "read/get_run_with_states",
    "read/start_flow_with_states",
    "work/mark_worker_stopped",
    "work/poll_for_tasks",
    "work/set_vt_batch",
)
_OURS_OF_QUEUES = ("define/is_valid_queue_name", "define/_listed_queue_name")
_OURS_OF_STEP_QUEUES = (
    "define/is_valid_slug",
    "define/_assert_valid_slugs",
    "define/_assert_map_step_has_one_dependency",
    "define/_resolve_step_queue_name",
    "define/_derive_queue_routes",
    "define/_queue_owners",
    "define/_assert_step_queue_available",
    "define/_create_flow_with_step_queues",
    "define/_create_flow_from_shape",
    "define/_compile_answer",
    "define/_assert_route_map",
    "define/_flow_routes",
    "define/_routes_as_text",
)
_OURS_OF_ELIXIR = ("read/flow_exists", "read/get_flow_input", "read/get_step_output", "work/register_worker")

_CORE = ("tables.sql", "state.sql", "claims.sql", "outcomes.sql", "definitions.sql", *_OURS)
_TYPESCRIPT = ("platform.sql", *_CORE, "jobs.sql")
_HARDENED = ("0.15.0.sql", "0.15.1.sql")
_QUEUES = (*_OURS_OF_QUEUES, "queue_identity.sql")
_STEP_QUEUES = (*_QUEUES, "0.17.0.sql", *_OURS_OF_STEP_QUEUES)

_PARTS = {
    "0.14.1": _TYPESCRIPT,
    "0.15.0": (*_TYPESCRIPT, "0.15.0.sql"),
    "0.15.1": (*_TYPESCRIPT, *_HARDENED),
    "0.16.0": (*_TYPESCRIPT, *_HARDENED, "0.16.0.sql"),
    "0.17.0": (*_TYPESCRIPT, *_HARDENED, "0.16.0.sql", *_STEP_QUEUES),
    "0.17.1": (*_TYPESCRIPT, *_HARDENED, "0.16.0.sql", *_STEP_QUEUES, "0.17.1.sql"),
    "elixir 0.3": (*_CORE, "elixir_0.3.sql", *_OURS_OF_ELIXIR),
    "elixir 0.4": (
        *(*_CORE, *_HARDENED, "0.16.0.sql", "elixir_0.3.sql"),
        *(*_OURS_OF_ELIXIR, *_QUEUES, "elixir_0.4.sql"),
    ),
}
BUILT = tuple(_PARTS)
"""The generations that are built from the contract."""
NPM = "0.8.1"
"""The generation that npm has."""
NAMES = (NPM, *BUILT)
_QUICK = ("0.14.1", "0.17.1", "elixir 0.4")
EACH = (
    pytest.param(NPM, marks=pytest.mark.npm),
    *(pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow) for name in BUILT),
)
"""The same for parametrized tests; ci/npm runs what needs the package, and one of each kind is with the quick tests."""
NO_PLATFORM = "drop schema if exists realtime, vault, net, cron cascade"
"""Takes away what `platform` brings."""


def build(conn: psycopg.Connection[Any], name: str) -> None:
    """Make a schema pgflow of generation `name` in the database of `conn`, with pgmq under it.

    Raises:
        KeyError: Nobody builds such a generation.
        FileNotFoundError: It is the one of npm, and there is no package.
    """
    with conn.transaction():
        conn.execute("set local client_min_messages = warning")
        conn.execute("set local check_function_bodies = off")
        pgmq.ensure(conn)
        if name == NPM:
            _run_migrations(conn)
            return
        conn.execute("create schema pgflow")
        conn.execute("revoke all on schema pgflow from public")
        for part in _PARTS[name]:
            conn.execute(_text(part).encode())


def upgrade(conn: psycopg.Connection[Any], was: str, now: str) -> None:
    """Bring a schema pgflow from one generation to a later one of its family, as its migrations would."""
    with conn.transaction():
        conn.execute("set local check_function_bodies = off")
        for part in _PARTS[now]:
            if part not in _PARTS[was]:
                conn.execute(_text(part).encode())


def platform() -> str:
    """The SQL of what the hosted platform brings, as far as a core looks at it."""
    return _text("platform.sql")


def npm_folder() -> Path | None:
    """The folder of @pgflow/core 0.8.1; None where the environment names none that has it."""
    given = os.environ.get("PGFLOW_TEST_NPM")
    if not given:
        return None
    folder = Path(given, "node_modules", "@pgflow", "core")
    manifest = folder / "package.json"
    has_it = manifest.is_file() and json.loads(manifest.read_text("utf-8"))["version"] == NPM
    return folder if has_it else None


def _text(part: str) -> str:
    """The SQL of one part: a file beside this one, or one of the package with its internals moved to schema pgflow."""
    if part.endswith(".sql"):
        return (_SQL / part).read_text("utf-8")
    return (scripts.root() / f"{part}.sql").read_text("utf-8").replace("pgflow_mp.", "pgflow.")


def _run_migrations(conn: psycopg.Connection[Any]) -> None:
    """Run upstream's own migrations, after what the platform brings."""
    folder = npm_folder()
    if folder is None:
        raise FileNotFoundError(f"PGFLOW_TEST_NPM names no folder with @pgflow/core {NPM} in its node_modules")
    conn.execute(platform().encode())
    for migration in sorted((folder / "dist" / "supabase" / "migrations").glob("*.sql")):
        # pgmq is here already, and not every server offers it as an extension.
        conn.execute(_CREATE_EXTENSION.sub(b"", migration.read_bytes()))
