"""Operations: workers of this process, and the health of it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pgflow_mp.client.aio.definitions import AsyncDefinitions
from pgflow_mp.client.arguments import FlowRef, flows_of, slug_of
from pgflow_mp.client.health import HealthReport, judge, no_answer
from pgflow_mp.client.threads import in_thread_async
from pgflow_mp.core.queries.health import findings
from pgflow_mp.engine.background import BackgroundWorker
from pgflow_mp.errors import DatabaseUnreachable, FlowNotFound, NotInstalled
from pgflow_mp.executors.aio.pool import TASKS_PER_LOOP
from pgflow_mp.executors.payload import MAX_PAYLOAD_MB
from pgflow_mp.flow import as_definition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pgflow_mp.client.crew import Crew
    from pgflow_mp.definition import FlowDefinition


class AsyncWorkerHandle:
    """A worker that runs in this process; as a context manager it is stopped at the end of the block."""

    def __init__(self, crew: Crew, worker: BackgroundWorker) -> None:
        self._crew = crew
        self._worker = worker

    @property
    def flows(self) -> tuple[str, ...]:
        """The slugs of the flows that it serves."""
        return tuple(flow.slug for flow in self._worker.flows)

    @property
    def running(self) -> bool:
        """Whether it is at work, or finishing what it has."""
        return self._worker.running

    async def stop(self) -> None:
        """Take no more tasks, let running ones finish within the grace period, give the rest back; wait for that."""
        await in_thread_async(lambda: self._crew.end(self._worker))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()


class AsyncOperations(AsyncDefinitions):
    """The operations on workers and on the whole."""

    async def start_worker(
        self,
        flow: FlowRef | Sequence[FlowRef] | None = None,
        *,
        poll_interval: float = 1.0,
        processes: int | None = None,
        loops: int = 1,
        tasks_per_loop: int = TASKS_PER_LOOP,
        threads: int | None = None,
        grace: float = 25.0,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        max_payload: float = MAX_PAYLOAD_MB,
        listen_dsn: str | None = None,
        name: str = "pgflow-mp app",
    ) -> AsyncWorkerHandle:
        """Start a worker in this process: a thread for itself, child processes for the steps.

        The flows are compiled first (D-16). It lives until the handle's `stop`, `stop_worker`, or `close`; an
        application that ends without any of them gives running tasks back on its way out.

        Args:
            flow: What to work on: a flow, several, or by default all that this object was made with. A slug names
                one of those. By default also the flows that `upsert_flow` makes, as they come, change and go, if this
                object was made with handlers and all theirs are among them.
            poll_interval: Seconds between looks for work that no notification announced.
            processes: Children for process steps; by default one for each core that this process may use.
            loops: Children with an event loop for async steps; started when a flow has such steps.
            tasks_per_loop: Async tasks that each of them runs at a time.
            threads: Threads for steps with `executor="thread"`; a few more than there are cores by default.
            grace: Seconds that running tasks may take to finish when it is stopped.
            max_tasks_per_child: Replace a child after so many tasks.
            max_memory_per_child: Replace a child whose resident memory grew beyond so many MB (D-22).
            max_payload: MB of JSON that a handler gets or returns at most (D-22).
            listen_dsn: Where to listen for notifications, if not at the DSN: past a pooler in transaction mode.
            name: The deployment unit, for people who look into the table of workers.

        Returns:
            A handle, which is a context manager too.

        Raises:
            FlowNotFound: A slug names none of the flows that this object was made with.
            ShapeMismatch: The database has another shape of a flow.
            PgflowError: No flow to work on, or a worker of this object serves one of them already.
        """
        dynamic = flow is None and bool(self._handlers)
        definitions = [] if dynamic and not self._flows else self._wanted(flow)
        for definition in definitions:
            await self.compile(definition)
        worker = BackgroundWorker(
            self._connections.dsn,
            definitions,
            handlers=self._handlers if dynamic else None,
            poll_interval=poll_interval,
            processes=processes,
            loops=loops,
            tasks_per_loop=tasks_per_loop,
            threads=threads,
            grace=grace,
            max_tasks_per_child=max_tasks_per_child,
            max_memory_per_child=max_memory_per_child,
            max_payload=max_payload,
            listen_dsn=listen_dsn,
            name=name,
            plugins=self._telling.plugins,
        )
        await in_thread_async(lambda: self._crew.start(worker))
        return AsyncWorkerHandle(self._crew, worker)

    async def stop_worker(self, flow: FlowRef) -> None:
        """Stop the worker that `start_worker` started for a flow; one that serves several flows stops for all.

        It takes no more tasks, lets running ones finish within its grace period and gives the rest back.

        Raises:
            WorkerNotFound: No worker that this object started serves the flow.
        """
        slug = slug_of(flow)
        await in_thread_async(lambda: self._crew.stop(slug))

    async def health_check(self) -> HealthReport:
        """Look at database, schema, workers and queues, in one round trip, and say what is wrong.

        A database that does not answer, or that has no pgflow, is a status of the report and no error.
        """
        try:
            return judge(await self._connections.run(findings(), doing="checking the health"))
        except (DatabaseUnreachable, NotInstalled) as error:
            return no_answer(error)

    def _wanted(self, flow: FlowRef | Sequence[FlowRef] | None) -> list[FlowDefinition]:
        given = self.list_flows() if flow is None else flows_of(flow)
        found = [self.get_flow(one) if isinstance(one, str) else as_definition(one) for one in given]
        if not found:
            raise FlowNotFound("no flow to work on: name one, or give some to AsyncPgFlow(flows=[...])")
        return found
