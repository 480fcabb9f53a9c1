"""What a worker does for the tasks that it runs, on request (`ctx`): reads inputs of runs, notes progress.

Progress is for people who look, so it costs little: of each task only the last report counts, all of them leave
together in one statement, at most once a second, over a connection that is opened when something is first reported. A
report that the database does not take is dropped: the next one tells more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.runs import get_run_inputs
from pgflow_mp.core.queries.tasks import ProgressReport, report_progress

if TYPE_CHECKING:
    from pgflow_mp.core.queries.carriers import Place
    from pgflow_mp.engine.link import Link
    from pgflow_mp.executors.base import TaskCall

logger = logging.getLogger("pgflow_mp.worker")

REPORT_SECONDS = 1.0


class TaskErrands:
    """The errands of one worker.

    Args:
        link: A connection that nothing urgent waits for.
        dsn: What handlers get that ask for a connection.
    """

    def __init__(self, link: Link, dsn: str) -> None:
        self.dsn = dsn
        self._link = link
        self._latest: dict[Place, ProgressReport] = {}
        self._of_running: dict[Place, ProgressReport] = {}
        self._wake = asyncio.Event()

    def progress(self, call: TaskCall, fraction: float | None, message: str | None) -> None:
        """Take note of how far a task is."""
        report = report_of(call, fraction, message)
        self._latest[_place(call)] = self._of_running[_place(call)] = report
        self._wake.set()

    def progress_of(self, call: TaskCall) -> ProgressReport | None:
        """Return what a running attempt last reported; None where it has reported nothing."""
        report = self._of_running.get(_place(call))
        return report if report is not None and report.attempt == call.attempt else None

    def finished(self, call: TaskCall) -> None:
        """Forget what an attempt reported: it runs no more."""
        self._of_running.pop(_place(call), None)

    async def flow_input(self, call: TaskCall) -> bytes:
        """Return the input of the task's run as JSON text; null where the run was deleted meanwhile."""
        inputs = await self._link.run(get_run_inputs([call.run_id]))
        return inputs.get(call.run_id, b"null")

    async def run(self) -> None:
        """Write reports until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()
            await asyncio.sleep(REPORT_SECONDS)

    async def flush(self) -> None:
        """Write what was reported since the last time."""
        latest, self._latest = self._latest, {}
        if not latest:
            return
        try:
            await self._link.run(report_progress(list(latest.values())))
        except (psycopg.Error, OSError) as error:
            logger.warning("the progress of %d tasks could not be noted: %s", len(latest), sentence_of(error))


def _place(call: TaskCall) -> Place:
    return call.run_id, call.step.slug, call.task_index


def report_of(call: TaskCall, fraction: float | None, message: str | None) -> ProgressReport:
    """Return the report of an attempt."""
    return ProgressReport(call.run_id, call.step.slug, call.task_index, call.attempt, fraction, message)
