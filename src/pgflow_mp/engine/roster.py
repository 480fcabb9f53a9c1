"""The flows of a worker: which it knows, which of them it claims from, and how they come, change and go.

A flow that is new is registered first, for a claim refers to a worker row (core 3.13.2), and its executors are started
before anything of it is claimed. A flow that is gone is claimed from no more, but stays known for a while: a claim
under way may still bring tasks of it.
"""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp import __version__
from pgflow_mp.core.queries.workers import mark_workers_stopped, register_workers
from pgflow_mp.executors.fleet import kinds_of
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.workers import Process
    from pgflow_mp.core.statement import Statement
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.engine.claim import Claimer
    from pgflow_mp.engine.link import Link
    from pgflow_mp.executors.fleet import Fleet

logger = logging.getLogger("pgflow_mp.worker")

FORGET_SECONDS = 60.0
"""After which a flow that has vanished is forgotten."""


class Roster:
    """The flows that a worker serves now.

    Args:
        flows: Those that it begins with, from code.
        name: The deployment unit.
        process: This process.

    Attributes:
        flows: All that it knows, by slug.
        worker_ids: The worker row of each.
        open: Slugs of those that it claims from, unless their code has gone.
        fixed: Slugs of those that came from code.
    """

    def __init__(self, flows: Sequence[FlowDefinition], name: str, process: Process) -> None:
        self._name = name
        self._process = process
        self.flows = {flow.slug: flow for flow in flows}
        self.worker_ids = {slug: uuid.uuid4() for slug in self.flows}
        self.open = set(self.flows)
        self.fixed = set(self.flows)

    def new_ids(self, slugs: Collection[str]) -> dict[str, UUID]:
        """Return ids for the workers of those flows that have none yet."""
        return {slug: uuid.uuid4() for slug in slugs if slug not in self.worker_ids}

    def registration(self, worker_ids: Mapping[str, UUID]) -> Statement[None]:
        """Return what makes the rows of these workers."""
        return register_workers(worker_ids, function_name=self._name, process=self._process, version=__version__)


class Changes:
    """Changes a roster while its worker works.

    Args:
        roster: The roster.
        link: A connection that nothing urgent waits for.
        fleet: Where steps run.
        claimer: Claims their tasks.
    """

    def __init__(self, roster: Roster, link: Link, fleet: Fleet, claimer: Claimer) -> None:
        self._roster = roster
        self._link = link
        self._fleet = fleet
        self._claimer = claimer
        self._leaving: dict[str, float] = {}

    async def replace(self, flows: Sequence[FlowDefinition], made_at_run_time: Collection[str]) -> None:
        """Go on with flows as they are in the code now, in fresh children; of flows that are gone nothing is claimed.

        Args:
            flows: All that the code has; each is compiled in the database.
            made_at_run_time: Slugs of flows that the code has nothing to do with.

        Raises:
            psycopg.Error: New flows cannot be registered; nothing has changed.
            PoolBroken: The first async steps need children, and these cannot start; nothing has changed.
        """
        roster, wanted = self._roster, {flow.slug: flow for flow in flows}
        added = roster.new_ids(wanted)
        if added:
            await self._link.run(roster.registration(added))
        await self._fleet.start(kinds_of(flows))
        roster.worker_ids |= added
        roster.flows |= wanted  # a flow that is gone stays known: its tasks may be on their way
        roster.open |= added.keys()
        roster.fixed.clear()
        roster.fixed |= wanted.keys()
        for slug in roster.flows.keys() - made_at_run_time:
            if slug in wanted and slug in roster.open:
                self._claimer.join(slug)
            else:
                self._claimer.leave(slug)
        self._fleet.reload()

    async def take_up(self, flows: Sequence[FlowDefinition]) -> None:
        """Serve flows that were made at run time, or go on with them as they are now.

        Raises:
            psycopg.Error: They cannot be registered; nothing has changed.
        """
        roster = self._roster
        added = roster.new_ids([flow.slug for flow in flows])
        if added:
            added = await self._registered(added)
        await self._fleet.start(kinds_of(flows))
        roster.worker_ids |= added
        served = {flow.slug: flow for flow in flows if flow.slug in roster.worker_ids}
        roster.flows |= served
        roster.open |= served.keys()
        for slug in served:
            self._leaving.pop(slug, None)
        self._claimer.join(*served)
        self._claimer.wake()
        logger.info("serving %s", counted(len(served), "flow that was made at run time", "flows made at run time"))

    async def _registered(self, worker_ids: dict[str, UUID]) -> dict[str, UUID]:
        """Make worker rows; leave out flows that have been deleted meanwhile."""
        try:
            await self._link.run(self._roster.registration(worker_ids))
        except psycopg.errors.ForeignKeyViolation:
            if len(worker_ids) == 1:
                return {}
            halves = list(worker_ids.items())
            middle = len(halves) // 2
            return await self._registered(dict(halves[:middle])) | await self._registered(dict(halves[middle:]))
        return worker_ids

    async def let_go(self, flow_slugs: Collection[str]) -> None:
        """Claim nothing more of flows that are gone, and forget those that went some time ago."""
        roster = self._roster
        self._claimer.leave(*flow_slugs)
        roster.open.difference_update(flow_slugs)
        now = time.monotonic()
        self._leaving |= dict.fromkeys(flow_slugs, now)
        forgotten = [slug for slug, since in self._leaving.items() if now - since > FORGET_SECONDS]
        if forgotten:
            await self._link.run(mark_workers_stopped([roster.worker_ids[slug] for slug in forgotten]))
        for slug in forgotten:
            del self._leaving[slug], roster.worker_ids[slug], roster.flows[slug]

    def close(self, flow_slug: str) -> bool:
        """Claim nothing more of a flow whose worker was asked to finish; False where it has been done already."""
        if flow_slug not in self._roster.open:
            return False
        logger.info("the worker for %s was asked to finish", flow_slug)
        self._roster.open.discard(flow_slug)
        self._claimer.leave(flow_slug)
        return True
