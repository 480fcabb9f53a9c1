"""AsyncPgFlow, put together from its subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pgflow_mp.client.aio.control import AsyncControl
from pgflow_mp.client.aio.definitions import AsyncDefinitions
from pgflow_mp.client.aio.dynamic import AsyncDynamic
from pgflow_mp.client.aio.jobs import AsyncJobs
from pgflow_mp.client.aio.operations import AsyncOperations
from pgflow_mp.client.aio.retention import AsyncHistory
from pgflow_mp.client.aio.runs import AsyncRuns
from pgflow_mp.client.aio.schedules import AsyncSchedules
from pgflow_mp.client.threads import in_thread_async

if TYPE_CHECKING:
    from types import TracebackType

# The contract version that the schema of `pgflow-mp install` fulfils (D-25).
CORE_VERSION = "0.17.1"


class AsyncPgFlow(
    AsyncRuns,
    AsyncControl,
    AsyncJobs,
    AsyncSchedules,
    AsyncHistory,
    AsyncOperations,
    AsyncDefinitions,
    AsyncDynamic,
):
    """An application's access to its flows: start runs and read what became of them.

    Construction does no I/O (D-16); connections open when the first call needs one. Every call is one statement in a
    transaction of its own, or, with `conn=`, a part of the caller's transaction: the run then exists if and only if
    the caller commits.

    Any number of tasks of one event loop may share it. Use it as a context manager, or call `close`, to end its
    connections.

    Args:
        dsn: A libpq connection string or URL; the environment variable PGFLOW_DSN by default (D-21).
        flows: Flows that may be named by their slug in `get_flow` and are listed by `list_flows`.
        handlers: Functions by name, for flows that `upsert_flow` makes: a dict, or what `handles` has decorated.
        plugins: Modules, objects or names (`module`, `module:attribute`) with hooks, besides the installed ones; or a
            `Plugins`, for these and no other. They hear what this object does, and are those of its workers.

    Raises:
        PgflowError: No DSN was given.
        PluginError: A plugin cannot be loaded, or has what is no hook.
    """

    @staticmethod
    def core_version() -> str:
        """Return the version of the pgflow contract that the schema of `pgflow-mp install` fulfils (D-25)."""
        return CORE_VERSION

    async def close(self) -> None:
        """Stop the workers that it started, and end its connections; the next call opens new ones."""
        await in_thread_async(self._crew.close)
        await self._connections.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
