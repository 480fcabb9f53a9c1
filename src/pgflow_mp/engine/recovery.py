"""Recovery: tasks whose worker is gone become available again (D-3).

Every worker runs this loop; the database lets one of them work at a time. A worker of ours that stopped or was
silent for 15 s loses its tasks at once; so does a worker of this machine whose process is provably gone, which
is how a restarted worker takes up at once what its killed predecessor held.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.tasks import recover_tasks, recover_tasks_observed
from pgflow_mp.core.queries.workers import list_processes, mark_workers_stopped
from pgflow_mp.engine.host import is_gone
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from pgflow_mp.core.queries.workers import Process
    from pgflow_mp.engine.announce import Announcer
    from pgflow_mp.engine.link import Link

logger = logging.getLogger("pgflow_mp.recovery")

RECOVER_SECONDS = 5.0
SILENT_SECONDS = 15.0
"""A worker of ours that has not beaten for so long is dead (D-3)."""


class Recovery:
    """Looks after tasks that nobody works on any more."""

    def __init__(self, link: Link, here: Process, announcer: Announcer) -> None:
        self._link = link
        self._announcer = announcer
        self._here = here

    async def run(self) -> None:
        """Recover at intervals until cancelled."""
        while True:
            try:
                await self.recover()
            except (psycopg.Error, OSError) as error:
                logger.warning("recovery failed: %s", sentence_of(error))
            await asyncio.sleep(RECOVER_SECONDS)

    async def recover(self) -> None:
        """Bury the dead of this machine, then free what the dead of all machines hold."""
        await self._bury()
        freed = await self._free()
        if freed:
            logger.warning("available again, from workers that are gone: %s", counted(freed, "task"))

    async def _free(self) -> int:
        if not self._announcer.wants_details:
            return await self._link.run(recover_tasks(SILENT_SECONDS))
        freed, failed = await self._link.run(recover_tasks_observed(SILENT_SECONDS))
        self._announcer.recovered(failed)
        return freed

    async def _bury(self) -> None:
        if self._here.boot_id is None or self._here.pid_namespace is None:
            return
        neighbours = await self._link.run(list_processes(self._here.boot_id, self._here.pid_namespace))
        gone = [worker_id for worker_id, process in neighbours.items() if is_gone(process, self._here)]
        if gone:
            logger.warning("%s of this machine died without a word", counted(len(gone), "worker"))
            await self._link.run(mark_workers_stopped(gone))
