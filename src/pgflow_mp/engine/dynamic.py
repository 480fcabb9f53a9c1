"""Dynamic flows: a worker takes up what appears in the database, follows what changes, lets go of what vanishes.

Served are the flows that `upsert_flow` made, and of these the ones whose handlers this worker was all given; another is
left to workers that know them, and the first time it is met, that is said. Flows of code are the business of
those who deploy the code, whatever their steps are called.

A change is announced, and looked for at intervals besides: one row tells whether there was any. So a thousand flows
that do not change cost what one costs.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.dynamic import Listing, dynamic_details, list_dynamic_flows
from pgflow_mp.definition import FlowDefinition, StepDefinition
from pgflow_mp.engine.wait import wait_for_event
from pgflow_mp.errors import DefinitionError
from pgflow_mp.rules import did_you_mean
from pgflow_mp.typed import types_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from pgflow_mp.core.queries.definitions import StoredStep
    from pgflow_mp.core.queries.dynamic import DynamicFlow
    from pgflow_mp.engine.link import Link
    from pgflow_mp.registry import NamedHandler

logger = logging.getLogger("pgflow_mp.worker")

FLOWS_CHANNEL = "pgflow_mp_flows"
LOOK_SECONDS = 2.0
MOST_AT_ONCE = 500
"""Flows whose definitions are read in one round trip."""


class DynamicFlows:
    """Keeps a worker's flows what the database says.

    Args:
        link: A connection that nothing urgent waits for.
        handlers: The functions, by name.
        fixed: Slugs of flows that the worker has from code; these are left alone.
        take_up: Is given flows that are new or have changed.
        let_go: Is given slugs of flows that are gone.
    """

    def __init__(
        self,
        link: Link,
        handlers: Mapping[str, NamedHandler[..., Any]],
        fixed: Collection[str],
        take_up: Callable[[Sequence[FlowDefinition]], Awaitable[None]],
        let_go: Callable[[Collection[str]], Awaitable[None]],
    ) -> None:
        self._link = link
        self._handlers = handlers
        self._fixed = fixed
        self._take_up = take_up
        self._let_go = let_go
        self._known = Listing()
        self._revisions: dict[str, int] = {}
        self._served: set[str] = set()
        self._wake = asyncio.Event()
        self._following = asyncio.Lock()

    @property
    def served(self) -> frozenset[str]:
        """The slugs of the flows that are served."""
        return frozenset(self._served)

    async def replace(self, handlers: Mapping[str, NamedHandler[..., Any]]) -> None:
        """Go on with these handlers, in all flows.

        Raises:
            psycopg.Error: As for `follow`; it is done at the next look.
        """
        self._handlers = handlers
        self._known = Listing()
        self._revisions = dict.fromkeys(self._revisions, -1)
        await self.follow()

    def wake(self) -> None:
        """Look now: something has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the database until cancelled."""
        while True:
            await wait_for_event(self._wake, LOOK_SECONDS)
            try:
                await self.follow()
            except (psycopg.Error, OSError) as error:
                logger.warning("cannot see which flows there are: %s", sentence_of(error))

    async def follow(self) -> None:
        """Look once, and do what has to be done.

        Raises:
            psycopg.Error: The database does not answer; what was not done is done at the next look.
        """
        async with self._following:
            self._wake.clear()
            await self._follow()

    async def freshen(self, *, surely: bool = False) -> None:
        """Look if a change was announced; a claim does so first, so that a run meets the flow it was started in.

        Args:
            surely: Look also if none was: a task does not fit to what is known.

        Raises:
            psycopg.Error: As for `follow`.
        """
        if surely or self._wake.is_set() or self._following.locked():
            await self.follow()

    async def _follow(self) -> None:
        listing = await self._link.run(list_dynamic_flows(self._known))
        if listing.revisions is None:
            return
        gone = self._revisions.keys() - listing.revisions.keys()
        await self._leave(gone & self._served)
        for slug in gone:
            del self._revisions[slug]
        changed = [
            slug
            for slug, revision in listing.revisions.items()
            if self._revisions.get(slug) != revision and slug not in self._fixed
        ]
        for start in range(0, len(changed), MOST_AT_ONCE):
            await self._read(changed[start : start + MOST_AT_ONCE], listing.revisions)
        self._known = listing

    async def _read(self, slugs: Sequence[str], revisions: Mapping[str, int]) -> None:
        flows: list[FlowDefinition] = []
        for stored in await self._link.run(dynamic_details(slugs)):
            try:
                flows.append(definition_of(stored, self._handlers))
            except DefinitionError as problem:
                logger.warning("not served here: %s", problem)
        await self._leave(self._served.intersection(slugs) - {flow.slug for flow in flows})
        if flows:
            await self._take_up(flows)
        self._served |= {flow.slug for flow in flows}
        self._revisions |= {slug: revisions[slug] for slug in slugs}

    async def _leave(self, slugs: Collection[str]) -> None:
        if slugs:
            await self._let_go(slugs)
            self._served.difference_update(slugs)


def definition_of(stored: DynamicFlow, handlers: Mapping[str, NamedHandler[..., Any]]) -> FlowDefinition:
    """Return a stored flow with its handlers.

    Raises:
        DefinitionError: A handler is not known here, or asks for something that its step does not depend on.
    """
    flow = stored.flow
    return FlowDefinition(
        flow.slug,
        tuple(_step(flow.slug, step, stored.steps.get(step.slug, {}), handlers) for step in flow.steps),
        max_attempts=flow.max_attempts,
        base_delay=flow.base_delay,
        timeout=flow.timeout,
    )


def _step(
    flow_slug: str, stored: StoredStep, done_by: Mapping[str, Any], handlers: Mapping[str, NamedHandler[..., Any]]
) -> StepDefinition:
    name = done_by.get("handler", stored.slug)
    named = handlers.get(name)
    if named is None:
        raise DefinitionError(
            f"flow `{flow_slug}`, step `{stored.slug}`: there is no handler `{name}`"
            f"{did_you_mean(name, handlers)}; there are {_listed(handlers)}"
        )
    return StepDefinition(
        stored.slug,
        "map" if stored.step_type == "map" else "single",
        stored.deps,
        named.function,
        max_attempts=stored.max_attempts,
        base_delay=stored.base_delay,
        timeout=stored.timeout,
        start_delay=stored.start_delay,
        when=stored.when,
        unless=stored.unless,
        when_unmet=stored.when_unmet,  # type: ignore[arg-type]  # the database's words are ours
        when_exhausted=stored.when_exhausted,  # type: ignore[arg-type]
        retry_on=named.retry_on,
        types=_types_of(named.function),
        is_registered=True,
        source=named.source,
        owner=f"flow `{flow_slug}`",
        **{option: done_by[option] for option in ("executor", "processes", "concurrency") if option in done_by},
    )


_types_of = functools.lru_cache(maxsize=1024)(types_of)
"""A handler serves many flows; its annotations are read once."""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
