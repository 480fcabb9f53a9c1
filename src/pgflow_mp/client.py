"""PgFlow: what application code calls.

Construction does no I/O (D-16); connections open when the first call needs one. Every call is one statement in a
transaction of its own, or, with `conn=`, a part of the caller's transaction: the run then exists if and only if the
caller commits. `start_flow` never compiles: a flow that the database does not know is `FlowNotFound`.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from uuid import UUID

from psycopg_pool import ConnectionPool

from pgflow_mp import jsonvalue
from pgflow_mp.connecting import DSN_VARIABLE, connect
from pgflow_mp.core.queries import definitions, runs
from pgflow_mp.core.refusals import spoken
from pgflow_mp.core.statement import execute
from pgflow_mp.core.waiting import RunWatch
from pgflow_mp.errors import (
    FlowNotFound,
    InvalidInput,
    InvalidRunId,
    PgflowError,
    RunFailed,
    RunNotFound,
    ShapeMismatch,
)
from pgflow_mp.flow import Flow, as_definition
from pgflow_mp.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    import psycopg

    from pgflow_mp.core.queries.definitions import Compiled
    from pgflow_mp.core.statement import Statement
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.results import Run

T = TypeVar("T")

# The contract version that the schema of `pgflow-mp install` fulfils (D-25).
CORE_VERSION = "0.17.1"

MOST_CONNECTIONS = 10

# Told apart from None, which is JSON null.
_NO_INPUT: Final = object()


class PgFlow:
    """An application's access to its flows: start runs and read what became of them.

    Safe to share between threads. Use it as a context manager, or call `close`, to end its connections.

    Args:
        dsn: A libpq connection string or URL; the environment variable PGFLOW_DSN by default (D-21).
        flows: Flows that may be named by their slug in `get_flow` and are listed by `list_flows`.

    Raises:
        PgflowError: No DSN was given.
    """

    def __init__(self, dsn: str | None = None, *, flows: Iterable[type[Flow] | FlowDefinition] = ()) -> None:
        found = dsn or os.environ.get(DSN_VARIABLE)
        if not found:
            raise PgflowError(f"no database was named: pass a DSN to PgFlow(...) or set {DSN_VARIABLE}")
        self._dsn = found
        self._flows = {definition.slug: definition for definition in map(as_definition, flows)}
        self._pool: ConnectionPool[psycopg.Connection[Any]] | None = None
        self._watches: list[RunWatch] = []
        self._opening = threading.Lock()

    # Runs

    def start_flow(
        self,
        flow: type[Flow] | FlowDefinition | str,
        input: object = _NO_INPUT,  # noqa: A002 - the contract's word (core 3.6)
        *,
        run_id: UUID | None = None,
        conn: psycopg.Connection[Any] | None = None,
    ) -> UUID:
        """Start one run and return its id.

        Args:
            flow: The flow class, its definition, or its slug.
            input: A JSON value; `{}` by default, an array where the flow has a root map step (core 3.6.1).
            run_id: Use this id; a time-ordered one is made otherwise (D-9).
            conn: Join the transaction of this connection.

        Raises:
            FlowNotFound: The database has no such flow: compile it first.
            InvalidInput: The input is no JSON, or no array where one is needed.
        """
        return self.start_flows(flow, [input], run_ids=[run_id or new_id()], conn=conn)[0]

    def start_flows(
        self,
        flow: type[Flow] | FlowDefinition | str,
        inputs: Sequence[object],
        *,
        run_ids: Sequence[UUID] | None = None,
        conn: psycopg.Connection[Any] | None = None,
    ) -> list[UUID]:
        """Start one run for each input, all in one round trip and one transaction; return the ids in order.

        Raises:
            FlowNotFound: The database has no such flow: compile it first.
            InvalidInput: An input is no JSON, or no array where one is needed; then no run was started.
        """
        ids = list(run_ids) if run_ids is not None else [new_id() for _ in inputs]
        slug = _slug(flow)
        self._run(
            runs.start_flows(slug, [_encoded(value) for value in inputs], ids),
            conn,
            doing=f"starting flow `{slug}`",
        )
        return ids

    def start_flow_sync(
        self,
        flow: type[Flow] | FlowDefinition | str,
        input: object = _NO_INPUT,  # noqa: A002 - the contract's word (core 3.6)
        *,
        timeout: float = 60,
        poll_interval: float = 0.5,
        conn: None = None,
    ) -> Run:
        """Start one run and wait until it is completed.

        Args:
            flow: The flow class, its definition, or its slug.
            input: A JSON value; `{}` by default.
            timeout: Seconds to wait at the most.
            poll_interval: Seconds between looks when no notification comes.
            conn: Not possible here: a run inside an open transaction can never finish.

        Raises:
            RunFailed: The run failed; its attribute `run` tells all.
            RunTimeout: The run goes on; its attribute `run_id` names it.
            FlowNotFound, InvalidInput: As for `start_flow`.
        """
        if conn is not None:
            raise PgflowError(
                "start_flow_sync cannot join a transaction: no worker sees the run before you commit; "
                "call start_flow(..., conn=conn), commit, then wait"
            )
        with self._watching() as watch, watch.listening() as listener:
            run_id = self.start_flow(flow, input, conn=listener)
            run = watch.wait(run_id, timeout=timeout, poll_interval=poll_interval)
        if run.failed:
            raise RunFailed(run)
        return run

    def get_run(self, run_id: UUID | str, *, conn: psycopg.Connection[Any] | None = None) -> Run:
        """Return the run, without its steps.

        Raises:
            InvalidRunId: The text is no UUID.
            RunNotFound: There is no such run.
        """
        return self._found(run_id, runs.get_run(_run_id(run_id)), conn)

    def get_run_with_states(self, run_id: UUID | str, *, conn: psycopg.Connection[Any] | None = None) -> Run:
        """Return the run with its step states and their tasks.

        Raises:
            InvalidRunId: The text is no UUID.
            RunNotFound: There is no such run.
        """
        return self._found(run_id, runs.get_run_with_states(_run_id(run_id)), conn)

    # Definitions

    def compile(
        self,
        flow: type[Flow] | FlowDefinition,
        *,
        recompile: bool = False,
        conn: psycopg.Connection[Any] | None = None,
    ) -> Compiled:
        """Make the flow in the database, or verify that the one there is the same.

        Changed options (attempts, delays, timeouts) are updated in place; a changed shape is refused (D-17).

        Args:
            flow: The flow.
            recompile: Where the shape differs, delete the flow with all its runs and make it anew.
            conn: Join the transaction of this connection.

        Raises:
            ShapeMismatch: The database has another shape; its attribute `differences` lists how. Nothing changed.
        """
        definition = as_definition(flow)
        compiled = self._run(
            definitions.compile_flow(definition.slug, definition.shape(), recompile=recompile),
            conn,
            doing=f"compiling flow `{definition.slug}`",
        )
        if compiled.status == "mismatch":
            raise ShapeMismatch(definition.slug, compiled.differences)
        return compiled

    def flow_exists(
        self, flow: type[Flow] | FlowDefinition | str, *, conn: psycopg.Connection[Any] | None = None
    ) -> bool:
        """Return whether the database has the flow."""
        return self._run(definitions.flow_exists(_slug(flow)), conn)

    def delete_flow(
        self, flow: type[Flow] | FlowDefinition | str, *, conn: psycopg.Connection[Any] | None = None
    ) -> None:
        """Delete the flow's definition, its runs and tasks, and its queue.

        Raises:
            FlowNotFound: The database has no such flow.
        """
        slug = _slug(flow)
        if not self._run(definitions.delete_flow(slug), conn, doing=f"deleting flow `{slug}`"):
            raise FlowNotFound(f"flow `{slug}` is not in this database; nothing was deleted")

    def list_flows(self) -> list[FlowDefinition]:
        """Return the flows that this object was made with."""
        return list(self._flows.values())

    def get_flow(self, flow: type[Flow] | FlowDefinition | str) -> FlowDefinition:
        """Return the definition of one of the flows that this object was made with.

        Raises:
            FlowNotFound: It is none of them; the message lists them.
        """
        slug = _slug(flow)
        if slug not in self._flows:
            known = ", ".join(sorted(self._flows)) or "none"
            raise FlowNotFound(f"flow `{slug}` was not given to PgFlow(flows=[...]); known: {known}")
        return self._flows[slug]

    @staticmethod
    def core_version() -> str:
        """Return the version of the pgflow contract that the schema of `pgflow-mp install` fulfils (D-25)."""
        return CORE_VERSION

    # Connections

    def close(self) -> None:
        """End the connections; the next call opens new ones."""
        with self._opening:
            pool, self._pool = self._pool, None
            watches, self._watches = self._watches, []
        for watch in watches:
            watch.close()
        if pool is not None:
            pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _found(self, run_id: UUID | str, statement: Statement[Run | None], conn: psycopg.Connection[Any] | None) -> Run:
        run = self._run(statement, conn)
        if run is None:
            raise RunNotFound(f"there is no run {run_id} in this database")
        return run

    def _run(self, statement: Statement[T], conn: psycopg.Connection[Any] | None, *, doing: str = "this call") -> T:
        with spoken(doing):
            if conn is not None:
                return execute(conn, statement)
            with self._opened().connection() as own:
                return execute(own, statement)

    @contextmanager
    def _watching(self) -> Iterator[RunWatch]:
        """Lend a watch: one that nobody uses, else a new one. As many calls may wait as there are threads."""
        with self._opening:
            watch = self._watches.pop() if self._watches else None
        if watch is None or not watch.answers():
            watch = RunWatch(self._dsn)
        try:
            yield watch
        finally:
            self._keep(watch)

    def _keep(self, watch: RunWatch) -> None:
        with self._opening:
            kept = watch.usable and len(self._watches) < MOST_CONNECTIONS
            if kept:
                self._watches.append(watch)
        if not kept:
            watch.close()

    def _opened(self) -> ConnectionPool[psycopg.Connection[Any]]:
        with self._opening:
            if self._pool is None:
                # The pool would try in the background for half a minute; a wrong DSN is told at once.
                connect(self._dsn).close()
                self._pool = ConnectionPool(
                    self._dsn,
                    min_size=0,
                    max_size=MOST_CONNECTIONS,
                    open=True,
                    check=ConnectionPool.check_connection,
                    kwargs={"autocommit": True, "prepare_threshold": None, "application_name": "pgflow-mp client"},
                    name="pgflow-mp",
                )
            return self._pool


def _slug(flow: type[Flow] | FlowDefinition | str) -> str:
    return flow if isinstance(flow, str) else as_definition(flow).slug


def _run_id(run_id: UUID | str) -> UUID:
    if isinstance(run_id, UUID):
        return run_id
    try:
        return UUID(run_id)
    except (ValueError, AttributeError, TypeError):
        raise InvalidRunId(f"{run_id!r} is no run id: a run id is a UUID") from None


def _encoded(value: object) -> str:
    encoded = jsonvalue.encode({} if value is _NO_INPUT else value, error=InvalidInput)
    return "null" if encoded is None else encoded
