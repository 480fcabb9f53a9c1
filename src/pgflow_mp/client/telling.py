"""What a client tells observers: the runs that it started, the flows that it compiled.

In the caller's thread (or task), after the transaction: what happened in a transaction of the caller's own is not told,
for nobody knows here whether it will be committed. Observers that are slow keep the caller waiting; plugins for that
belong into a worker.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.hooks.deciders import run_carriers
from pgflow_mp.hooks.events import RunInfo
from pgflow_mp.hooks.manager import Plugins
from pgflow_mp.hooks.observers import Direct, tell_started, wants_states

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.definitions import Compiled
    from pgflow_mp.core.queries.runs import StartedRun
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.results import Run


class Telling:
    """The observers of an application object.

    Args:
        plugins: What `PgFlow(plugins=)` was given. Given ones are loaded at once, so that what is wrong with them is an
            error there; the installed ones when something is first told.

    Raises:
        PluginError: A plugin cannot be loaded, or has what is no hook.
    """

    def __init__(self, plugins: Sequence[object] | Plugins) -> None:
        self._given = plugins
        if plugins:
            _ = self.plugins

    @cached_property
    def plugins(self) -> Plugins:
        """The plugins, given and installed."""
        return self._given if isinstance(self._given, Plugins) else Plugins.load(self._given)

    @cached_property
    def _observers(self) -> Direct:
        return Direct(self.plugins)

    def wants_states_of(self, run: StartedRun, flow: FlowDefinition | None) -> bool:
        """Whether somebody will ask what the start of this run has ended."""
        return wants_states(self._observers, run.status, flow)

    def carriers(self, flow_slug: str, run_ids: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
        """Ask the plugins what shall be passed along with runs that are being started, each with its id."""
        return run_carriers(self.plugins, flow_slug, run_ids)

    def started(self, flow_slug: str, run: StartedRun, states: Run | None) -> None:
        """Tell of a run that was started, and of what its start has ended."""
        info = RunInfo(flow_slug, run.run_id, run.started_at)
        tell_started(self._observers, info, run.status, run.ended_at, states)

    def cancelled(self, run: Run) -> None:
        """Tell of a run that was cancelled: it has failed."""
        assert run.started_at is not None, "every row has it"
        info = RunInfo(run.flow_slug, run.run_id, run.started_at, run.failed_at)
        self._observers.tell("pgflow_run_failed", run=info, error=run.error or "")

    def compiled(self, flow_slug: str, compiled: Compiled) -> None:
        """Tell of a flow that was compiled."""
        self._observers.tell(
            "pgflow_flow_compiled",
            flow_slug=flow_slug,
            status=compiled.status,
            differences=tuple(compiled.differences),
            options_changed=tuple(compiled.options_changed),
        )


def is_committed(conn: object) -> bool:
    """Whether what was just done is certainly committed: on a connection of our own, or one in autocommit mode.

    Args:
        conn: What the caller gave as `conn=`; a connection of another library is taken to be in a transaction.
    """
    if isinstance(conn, psycopg.Connection | psycopg.AsyncConnection):
        return conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    return conn is None
