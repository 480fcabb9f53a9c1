"""Work off one run: a worker for it alone, a look at the database ten times a second, and an ear for signals.

All share one event loop. The run's end in the database decides, not what the worker thinks; a signal and the
time limit end it earlier. In each case the worker gives back at once what it holds: tasks that still run when
the run is over, or when the person has left, are nobody's business any more.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.exits import Interrupted
from pgflow_mp.cli.loading import modules_of
from pgflow_mp.cli.progress import duration
from pgflow_mp.core.queries.progress import run_progress
from pgflow_mp.engine.link import LOST, Link
from pgflow_mp.engine.worker import Worker
from pgflow_mp.errors import PgflowError, RunNotFound, RunTimeout
from pgflow_mp.executors.process.output import to_stderr_of_one_run
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from uuid import UUID

    from pgflow_mp.cli.screen import Display
    from pgflow_mp.core.queries.progress import RunProgress
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.hooks.manager import Plugins

#: Seconds from one look at the run to the next.
LOOK_SECONDS = 0.1

#: A look that takes long (a map step with very many tasks) makes the pause this many times as long as itself.
PAUSES_FOR_A_LOOK = 10

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def work_off(
    dsn: str,
    flow: FlowDefinition,
    run_id: UUID,
    screen: Display,
    *,
    processes: int,
    seconds: float | None,
    plugins: Plugins,
) -> None:
    """Run the tasks of one run until it ends, well or not.

    Args:
        dsn: The database.
        flow: The run's flow.
        run_id: The run.
        screen: Where progress is shown.
        processes: How many children.
        seconds: The time limit; None for none.
        plugins: The worker's.

    Raises:
        RunTimeout: The time is up.
        Interrupted: A signal asked us to stop.
    """
    worker = Worker(
        dsn,
        [flow],
        processes=processes,
        grace=0.0,
        only_runs=[run_id],
        preload=modules_of([flow]),
        name="pgflow-mp run",
        on_output=to_stderr_of_one_run,
        plugins=plugins,
    )
    watch = Watch(dsn, run_id, screen)
    interruption = _interruption(worker)
    try:
        await _until_the_first(worker, watch, interruption, seconds)
    finally:
        await watch.close()
    if not watch.ended:
        raise _unfinished(run_id, worker.left_claimed, interruption, seconds)


async def _until_the_first(
    worker: Worker, watch: Watch, interruption: asyncio.Future[signal.Signals], seconds: float | None
) -> None:
    """Work and watch until the run has ended, a signal has come, or the time is up; then stop the worker."""
    working = asyncio.create_task(worker.run())
    watching = asyncio.create_task(watch.until_the_end())
    ends: list[asyncio.Future[Any]] = [working, watching, interruption]
    try:
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        await working
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    if not watching.cancelled():
        watching.result()
    await watch.look()  # the picture as it is left


def _interruption(worker: Worker) -> asyncio.Future[signal.Signals]:
    """The first signal that asks us to stop; a later one ends even the wait for a database that does not answer."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[signal.Signals] = loop.create_future()

    def interrupt(number: signal.Signals) -> None:
        if future.done():
            worker.stop()
        else:
            future.set_result(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupt, number)
    return future


def _unfinished(
    run_id: UUID, claimed: int, interruption: asyncio.Future[signal.Signals], seconds: float | None
) -> PgflowError:
    tasks = f"{counted(claimed, 'task')} could not be given back" if claimed else "none of its tasks is left claimed"
    left = f"run {run_id} is unfinished and stays so; {tasks}"
    if interruption.done():
        return Interrupted(interruption.result(), left)
    if seconds is not None:
        return RunTimeout(run_id, f"not done within {duration(seconds)}: {left}")
    return PgflowError(f"the worker was asked to finish (deprecated_at in pgflow.workers): {left}")


class Watch:
    """Looks at a run and shows what it sees."""

    def __init__(self, dsn: str, run_id: UUID, screen: Display) -> None:
        self._link = Link(dsn, "progress")
        self._run_id = run_id
        self._screen = screen
        self._seen: RunProgress | None = None

    async def until_the_end(self) -> None:
        """Look until the run has ended.

        Raises:
            RunNotFound: Somebody deleted the run.
        """
        while not self.ended:
            began = time.monotonic()
            await self.look()
            took = time.monotonic() - began
            if not self.ended:
                await asyncio.sleep(max(LOOK_SECONDS, PAUSES_FOR_A_LOOK * took))

    async def look(self) -> None:
        """Look once. A lost database is the worker's to report; a look is simply missed."""
        try:
            progress = await self._link.run(run_progress(self._run_id))
        except LOST:
            return
        if progress is None:
            raise RunNotFound(f"run {self._run_id} is no longer in the database: its flow was deleted or compiled anew")
        self._screen.show(progress)
        self._seen = progress

    @property
    def ended(self) -> bool:
        """Whether the run was seen ended."""
        return self._seen is not None and self._seen.ended

    async def close(self) -> None:
        """End the connection and leave the last picture standing."""
        self._screen.close()
        await self._link.close()
