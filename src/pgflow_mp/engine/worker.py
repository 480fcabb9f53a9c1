"""One worker: the composition root of the engine, and its life.

    start:  worker rows, children, recovery, then claim, settle, beat and listen side by side
    stop:   drain, give back, settle what came, mark the worker stopped (`engine.departure`)

Whatever ends it, nothing claimed is left behind: what it could not give back itself (kill -9), recovery does.

Which flows it serves, and how they come and go, is the business of `engine.roster`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp import __version__
from pgflow_mp.engine.announce import Announcer
from pgflow_mp.engine.appetite import Appetite
from pgflow_mp.engine.cancelling import Canceller
from pgflow_mp.engine.claim import Claimer
from pgflow_mp.engine.departure import Departure
from pgflow_mp.engine.dispatch import Dispatch
from pgflow_mp.engine.drift import outdated
from pgflow_mp.engine.dynamic import DynamicFlows
from pgflow_mp.engine.errands import TaskErrands
from pgflow_mp.engine.gauges import Meter
from pgflow_mp.engine.health import Health
from pgflow_mp.engine.heartbeat import LONGEST_BEAT_SECONDS, Heart
from pgflow_mp.engine.holding import Holding
from pgflow_mp.engine.host import this_process
from pgflow_mp.engine.link import Link
from pgflow_mp.engine.listen import Listener
from pgflow_mp.engine.occupancy import HORIZON_SECONDS
from pgflow_mp.engine.reconcile import Reconciler
from pgflow_mp.engine.recovery import Recovery
from pgflow_mp.engine.retention import Sweeper
from pgflow_mp.engine.returning import Returner, key_of_call
from pgflow_mp.engine.roster import Changes, Roster
from pgflow_mp.engine.schedules import Schedules
from pgflow_mp.engine.settle import Settler
from pgflow_mp.engine.status import WorkerStatus
from pgflow_mp.engine.strangers import UNKNOWN_STEP_TIMEOUT, Strangers
from pgflow_mp.executors.aio.pool import TASKS_PER_LOOP, LoopPool
from pgflow_mp.executors.base import Failed
from pgflow_mp.executors.fleet import Fleet, kinds_of
from pgflow_mp.executors.payload import MAX_PAYLOAD_MB
from pgflow_mp.executors.process.output import to_stderr
from pgflow_mp.executors.process.pool import ProcessPool
from pgflow_mp.executors.thread import ThreadExecutor
from pgflow_mp.hooks.deciders import Deciders
from pgflow_mp.hooks.events import WorkerInfo
from pgflow_mp.hooks.handling import HandlerHooks, luggage
from pgflow_mp.hooks.manager import Plugins
from pgflow_mp.hooks.observers import Background
from pgflow_mp.registry import registered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.tasks import Settled
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.executors.base import Outcome
    from pgflow_mp.executors.process.nursery import PoolBroken
    from pgflow_mp.executors.process.output import OutputSink
    from pgflow_mp.registry import Handlers

logger = logging.getLogger("pgflow_mp.worker")

# The hooks that executors have to tell of.
_WITNESSED = frozenset({"pgflow_task_started", "pgflow_child_started", "pgflow_child_lost"})

# Calls that wait in the parent longer than this are given back: something slower than expected is in front.
UNSTARTED_SECONDS = 5 * HORIZON_SECONDS

OBSERVERS_SECONDS = 5.0
"""For observers to hear what they have not heard yet, when the worker has ended."""


class Worker:
    """Runs the steps of some flows, in child processes if they do not ask for less, until it is stopped.

    Args:
        dsn: The database; `pgflow-mp install` has made it ready.
        flows: The flows whose tasks it takes; each must be compiled in the database.
        handlers: Functions by name, for flows that `upsert_flow` makes; these are served as they come, change and go,
            where all their handlers are here. Without it, flows are served that were given, and no others.
        processes: Children for process steps; by default one for each core that this process may use.
        loops: Children with an event loop for async steps; started when a flow has such steps.
        tasks_per_loop: Async tasks that each of them runs at a time.
        threads: Threads for steps with `executor="thread"`; a few more than there are cores by default.
        grace: Seconds that running tasks may take to finish after `stop`.
        poll_interval: Seconds between looks for work that no notification announced.
        only_runs: Take tasks of these runs only (D-24).
        task_dsn: What handlers connect to that ask for a connection (`ctx.connection()`); `dsn` by default. Name a role
            with less rights here, or a pooler.
        listen_dsn: Where to listen for notifications, if not at `dsn`: past a pooler in transaction mode.
        max_tasks_per_child: Replace a child after so many tasks.
        max_memory_per_child: Replace a child whose resident memory grew beyond so many MB (D-22).
        max_payload: MB of JSON that a handler gets or returns at most (D-22).
        unknown_step_timeout: Seconds after which a task fails whose step neither this worker nor any other that is
            there knows (D-24).
        preload: Modules that the children find already imported.
        name: The deployment unit, for people who look into the table of workers; `python` by default.
        on_output: Called in the loop with what children print (the call that printed it if any, and whole lines).
        amend: Is shown every outcome before it is settled and returns what to settle instead; quick, and in the loop.
        plugins: Modules, objects or names (`module`, `module:attribute`) with hooks, besides the installed ones; or a
            `Plugins`, for these and no other.

    Attributes:
        ready: Set when it is registered, its children have started, and it takes tasks.

    Raises:
        PluginError: A plugin cannot be loaded, or has what is no hook.
    """

    def __init__(
        self,
        dsn: str,
        flows: Sequence[FlowDefinition],
        *,
        handlers: Handlers | None = None,
        processes: int | None = None,
        loops: int = 1,
        tasks_per_loop: int = TASKS_PER_LOOP,
        threads: int | None = None,
        grace: float = 25.0,
        poll_interval: float = 1.0,
        only_runs: Sequence[UUID] | None = None,
        task_dsn: str | None = None,
        listen_dsn: str | None = None,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        max_payload: float = MAX_PAYLOAD_MB,
        unknown_step_timeout: float = UNKNOWN_STEP_TIMEOUT,
        preload: Sequence[str] = (),
        name: str = "python",
        on_output: OutputSink = to_stderr,
        amend: Callable[[Outcome], Outcome] | None = None,
        plugins: Sequence[object] | Plugins = (),
    ) -> None:
        self._identity = this_process()
        self._roster = Roster(flows, name, self._identity)
        self._name = name
        self._amend = amend
        self.ready = asyncio.Event()
        self._stopped = asyncio.Event()
        self._breakage: PoolBroken | None = None
        self._links = _links(dsn, listen_dsn or dsn)
        self._plugins = plugins if isinstance(plugins, Plugins) else Plugins.load(plugins)
        self._observers = Background(self._plugins)
        self._announcer = Announcer(self._observers)
        self._appetite = Appetite()
        self._holding = Holding()
        self._errands = TaskErrands(self._links["errands"], task_dsn or dsn)
        self._fleet = self._make_fleet(
            {"size": processes},
            {"loops": loops, "tasks_per_loop": tasks_per_loop},
            {"size": threads},
            {
                "preload": preload,
                "max_tasks_per_child": max_tasks_per_child,
                "max_memory_per_child": max_memory_per_child,
                "max_payload": max_payload,
                "on_output": on_output,
            },
        )
        self._deciders = Deciders(self._plugins)
        self._settler = Settler(self._links["settle"], self._holding, self._settled, self._announcer, self._deciders)
        self._returner = Returner(self._links["settle"], self._holding)
        self._claimer = self._make_claimer(poll_interval, only_runs, unknown_step_timeout)
        self._changes = Changes(self._roster, self._links["recovery"], self._fleet, self._claimer)
        self._departure = Departure(
            self._links,
            grace=grace,
            worker_ids=self._roster.worker_ids,
            claimer=self._claimer,
            fleet=self._fleet,
            returner=self._returner,
            settler=self._settler,
            errands=self._errands,
        )
        self._heart = Heart(
            self._links["heartbeat"], self._roster.worker_ids, self._deprecated, self._roster.registration
        )
        self._canceller = Canceller(self._links["recovery"], self._fleet, self._holding)
        self._dynamic = None if handlers is None else self._make_dynamic(handlers)
        self._listener = Listener(
            self._links["listen"],
            self._links["heartbeat"],
            self._roster.flows.keys(),
            self._claimer.wake,
            self._canceller.heard,
            None if self._dynamic is None else self._dynamic.wake,
        )
        self._recovery = Recovery(self._links["recovery"], self._identity, self._announcer)
        self._meter = Meter(self._links["recovery"], self._roster.flows.keys(), self._fleet, self._observers)
        # A worker for some runs only has no business with others (D-24).
        first = next(iter(self._roster.worker_ids.values()), None)
        self._schedules = None if only_runs else Schedules(self._links["recovery"], first, self._observers)
        self._sweeper = None if only_runs else Sweeper(self._links["retention"])

    def _make_fleet(
        self,
        processes: Mapping[str, Any],
        loops: Mapping[str, Any],
        threads: Mapping[str, Any],
        children: Mapping[str, Any],
    ) -> Fleet:
        """Say how each executor is made; with the witness only where somebody wants to hear of it."""
        common: dict[str, Any] = {
            "witness": self._announcer if _WITNESSED & self._observers.heard else None,
            "errands": self._errands,
        }
        pool = {**children, **common, "on_room": self._room, "on_broken": self._broken}
        thread = {**common, "hooks": HandlerHooks.of(self._plugins), "max_payload": children["max_payload"]}
        return Fleet(
            {
                "process": lambda: ProcessPool(self._finished, plugins=luggage(self._plugins), **processes, **pool),
                "async": lambda: LoopPool(self._finished, plugins=luggage(self._plugins), **loops, **pool),
                "thread": lambda: ThreadExecutor(self._finished, **threads, **thread),
                "inline": lambda: ThreadExecutor(self._finished, size=1, **thread),
            }
        )

    def _make_claimer(
        self, poll_interval: float, only_runs: Sequence[UUID] | None, unknown_step_timeout: float
    ) -> Claimer:
        link, put = self._links["claim"], self._settler.put
        flows, worker_ids = self._roster.flows, self._roster.worker_ids
        wants_carriers = self._plugins.wants_carriers
        return Claimer(
            link,
            flows=flows,
            worker_ids=worker_ids,
            executor=self._fleet,
            appetite=self._appetite,
            dispatch=Dispatch(link, flows, worker_ids, wants_carriers=wants_carriers),
            holding=self._holding,
            reconciler=Reconciler(link, self._holding, self._returner, worker_ids.values),
            returner=self._returner,
            strangers=Strangers(link, flows, worker_ids, put, unknown_step_timeout),
            announcer=self._announcer,
            poll_interval=poll_interval,
            only_runs=only_runs,
            freshen=self._freshen,
        )

    def _make_dynamic(self, handlers: Handlers) -> DynamicFlows:
        changes = self._changes
        return DynamicFlows(
            self._links["recovery"], registered(handlers), self._roster.fixed, changes.take_up, changes.let_go
        )

    def stop(self) -> None:
        """Finish: the first call drains, a second one gives running tasks back at once."""
        if self._stopped.is_set():
            self._departure.hurry()
        self._stopped.set()

    @property
    def plugins(self) -> Plugins:
        """Its plugins."""
        return self._plugins

    @property
    def left_claimed(self) -> int:
        """How many tasks it holds; after the end, those that it could not give back: recovery will (D-3)."""
        return len(self._holding)

    async def reload(self, flows: Sequence[FlowDefinition], handlers: Handlers = ()) -> None:
        """Go on with flows as they are in the code now, in children that import it anew; no task is lost.

        Tasks under way finish in the children that have them. Flows that are new are taken up; of flows that are
        gone nothing more is claimed.

        Args:
            flows: All flows to work on from now on; each is compiled in the database.
            handlers: All handlers for flows that are made at run time, where the worker was made with some.

        Raises:
            psycopg.Error: New flows cannot be registered; nothing has changed.
            PoolBroken: The first async steps need children, and these cannot start; nothing has changed.
        """
        if self._stopped.is_set():
            return
        await self._changes.replace(flows, frozenset() if self._dynamic is None else self._dynamic.served)
        if self._dynamic is not None:
            await self._dynamic.replace(registered(handlers))
        self._claimer.wake()
        logger.info("the code is loaded again; children are replaced as they become free")

    async def run(self) -> None:
        """Work until `stop` is called or every flow is deprecated.

        Raises:
            psycopg.OperationalError: The database cannot be reached at the start.
            PoolBroken: The children cannot start.
            PluginError: A plugin has hooks for the children and cannot get there.
        """
        loops: list[asyncio.Task[None]] = []
        try:
            await self._start()
            loops = [self._loop(name, loop) for name, loop in self._loops()]
            stopped = asyncio.create_task(self._stopped.wait())
            await asyncio.wait([stopped, *loops], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            for task in loops:
                if task.done() and not task.cancelled():
                    task.result()  # a loop that ended by itself ends the worker with its error
            if self._breakage is not None:
                raise self._breakage
        finally:
            self._observers.tell("pgflow_worker_stopping", worker=self._info)
            await self._departure.leave(loops)
            await self._end_hooks()

    def health(self) -> Health:
        """Return whether work is being taken, which is more than whether the process is up (D-22).

        A worker whose children are all busy asks for no tasks; its heartbeat shows then that it could.
        """
        answers = [self._claimer.last_success]
        if self._claimer.is_full:
            answers.append(self._heart.last_success)
        return Health.since(max((answer for answer in answers if answer is not None), default=None))

    def status(self) -> WorkerStatus:
        """Tell what it is doing; call it in the worker's loop."""
        return WorkerStatus(
            name=self._name,
            version=__version__,
            process=self._identity,
            health=self.health(),
            stopping=self._stopped.is_set(),
            workers=self._roster.worker_ids,
            open_flows=frozenset(self._roster.open),
            held=len(self._holding),
            executors=self._fleet.status(),
            progress_of=self._errands.progress_of,
        )

    async def _freshen(self, surely: bool) -> None:  # noqa: FBT001 - a callback
        if self._dynamic is not None:
            await self._dynamic.freshen(surely=surely)

    async def _start(self) -> None:
        """Register first: a claim refers to the worker row (core 3.13.2)."""
        await self._links["claim"].run(self._roster.registration(self._roster.worker_ids))
        if (why := await outdated(self._links["claim"])) is not None:
            logger.warning("%s", why)
        await self._fleet.start(kinds_of(self._roster.flows.values()))
        if self._dynamic is not None:
            await self._dynamic.follow()
        with suppress(psycopg.Error):
            await self._recovery.recover()
        self._observers.tell("pgflow_worker_started", worker=self._info)
        logger.info(
            "worker is ready: %d tasks at a time of %s",
            self._fleet.size,
            ", ".join(sorted(self._roster.flows)) or "no flow",
        )
        self.ready.set()

    @property
    def _info(self) -> WorkerInfo:
        ids = tuple(sorted(self._roster.worker_ids.items()))
        return WorkerInfo(self._name, self._identity.host, self._identity.pid, __version__, ids)

    async def _end_hooks(self) -> None:
        """Say the last word, and let the observers hear what is left; they have a thread, and the loop goes on."""
        self._observers.tell("pgflow_worker_stopped", worker=self._info, left_claimed=self.left_claimed)
        self._deciders.close()
        await self._observers.close(OBSERVERS_SECONDS)

    def _loops(self) -> list[tuple[str, Coroutine[None, None, None]]]:
        loops = [
            ("claim", self._claimer.run()),
            ("settle", self._settler.run()),
            ("heartbeat", self._heart.run()),
            ("listen", self._listener.run()),
            ("recovery", self._recovery.run()),
            ("cancelling", self._canceller.run()),
            ("gauges", self._meter.run()),
            ("errands", self._errands.run()),
            ("tail", self._return_tail()),
        ]
        if self._dynamic is not None:
            loops.append(("dynamic flows", self._dynamic.run()))
        if self._schedules is not None:
            loops.append(("schedules", self._schedules.run()))
        if self._sweeper is not None:
            loops.append(("retention", self._sweeper.run()))
        return loops

    @staticmethod
    def _loop(name: str, loop: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return asyncio.create_task(loop, name=f"pgflow-mp {name}")

    async def _return_tail(self) -> None:
        while True:
            await asyncio.sleep(UNSTARTED_SECONDS)
            calls = self._fleet.take_back(UNSTARTED_SECONDS)
            for call in calls:
                self._appetite.taken_back(call)
            await self._returner.give_back(key_of_call(call) for call in calls)

    def _finished(self, outcome: Outcome) -> None:
        self._appetite.finished(outcome)
        self._errands.finished(outcome.call)
        if isinstance(outcome, Failed) and outcome.reason == "cancelled":
            self._canceller.ended(outcome.call)
        else:
            self._settler.put(self._amend(outcome) if self._amend else outcome)
        if self._listener.hears:
            self._claimer.room_grew()
        else:
            self._claimer.wake()

    def _room(self) -> None:
        self._claimer.wake()

    def _broken(self, breakage: PoolBroken) -> None:
        self._breakage = breakage
        self._stopped.set()

    def _settled(self, batch: Sequence[Outcome], settled: Sequence[Settled]) -> None:
        for outcome, result in zip(batch, settled, strict=True):
            if not result.applied:
                logger.info(
                    "a late result of %s, attempt %d, changed nothing",
                    outcome.call.step.slug,
                    outcome.call.attempt,
                )

    def _deprecated(self, flow_slug: str) -> None:
        if self._changes.close(flow_slug) and not self._roster.open and self._dynamic is None:
            self.stop()


def _links(dsn: str, listen_dsn: str) -> dict[str, Link]:
    """Return a connection for each kind of work, so that a slow one holds up no other."""
    links = {name: Link(dsn, name) for name in ("claim", "settle", "recovery", "errands", "retention")}
    links["heartbeat"] = Link(dsn, "heartbeat", seconds=LONGEST_BEAT_SECONDS)
    links["listen"] = Link(listen_dsn, "listen", hears=True)
    return links
