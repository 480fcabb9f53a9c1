"""From a claimed row to a call of its handler.

A handler that asks for `flow_input` in a step that is no root gets it from the run: one query for a whole claim,
and only for the steps that ask (core 3.13.3 sends it along for root steps alone). What plugins pass along (the context
of a trace) is another query, made only for plugins that want it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgflow_mp.core.queries.carriers import carriers_of
from pgflow_mp.core.queries.runs import get_run_inputs
from pgflow_mp.errors import StepNotFound
from pgflow_mp.executors.base import TaskCall
from pgflow_mp.handler import wants_flow_input

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.tasks import ClaimedTask
    from pgflow_mp.definition import FlowDefinition, StepDefinition
    from pgflow_mp.engine.link import Link

logger = logging.getLogger("pgflow_mp.dispatch")


class Dispatch:
    """Knows the flows of this worker and turns claimed tasks into calls."""

    def __init__(
        self,
        link: Link,
        flows: Mapping[str, FlowDefinition],
        worker_ids: Mapping[str, UUID],
        *,
        wants_carriers: bool = False,
    ) -> None:
        self._link = link
        self._wants_carriers = wants_carriers
        self._flows = flows
        self._worker_ids = worker_ids
        self._warned: set[tuple[str, str]] = set()

    async def calls(self, claimed: Sequence[ClaimedTask]) -> tuple[list[TaskCall], list[ClaimedTask]]:
        """Return the calls to run, and the tasks whose step this worker does not know."""
        known: list[tuple[ClaimedTask, StepDefinition]] = []
        unknown: list[ClaimedTask] = []
        for task in claimed:
            step = self._step(task)
            if step is None:
                unknown.append(task)
            else:
                known.append((task, step))
        inputs = await self._inputs(known)
        carriers = await self._carriers(known)
        return [
            self._call(task, step, inputs, carriers.get(place, b"")) for place, (task, step) in enumerate(known)
        ], unknown

    def _step(self, task: ClaimedTask) -> StepDefinition | None:
        try:
            return self._flows[task.flow_slug].step(task.step_slug)
        except StepNotFound as error:
            if (task.flow_slug, task.step_slug) not in self._warned:
                self._warned.add((task.flow_slug, task.step_slug))
                logger.warning("a task of a step that this worker does not know goes back to its queue: %s", error)
            return None

    async def _inputs(self, known: Sequence[tuple[ClaimedTask, StepDefinition]]) -> dict[UUID, bytes]:
        asking = {task.run_id for task, step in known if task.flow_input is None and wants_flow_input(step)}
        return await self._link.run(get_run_inputs(sorted(asking))) if asking else {}

    async def _carriers(self, known: Sequence[tuple[ClaimedTask, StepDefinition]]) -> Mapping[int, bytes]:
        """Return what plugins passed along to these tasks, by place."""
        if not self._wants_carriers or not known:
            return {}
        return await self._link.run(carriers_of([(task.flow_slug, task.run_id, task.step_slug) for task, _ in known]))

    def _call(self, task: ClaimedTask, step: StepDefinition, inputs: Mapping[UUID, bytes], carriers: bytes) -> TaskCall:
        flow_input = task.flow_input
        if flow_input is None and wants_flow_input(step):
            # A run that was deleted since the claim has no input; settling its task applies nothing.
            flow_input = inputs.get(task.run_id, b"null")
        return TaskCall(
            flow=self._flows[task.flow_slug],
            step=step,
            run_id=task.run_id,
            task_index=task.task_index,
            attempt=task.attempt,
            worker_id=self._worker_ids[task.flow_slug],
            msg_id=task.msg_id,
            timeout=task.timeout,
            input=task.input,
            flow_input=flow_input,
            carriers=carriers,
        )
