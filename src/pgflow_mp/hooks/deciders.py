"""Asking the deciders, without depending on them: each in its own try, all in a thread, none for long.

A worker's loop must not wait for a plugin, and a settlement not for a plugin that hangs: an answer has
`PATIENCE_SECONDS`. Failures that come together are asked about one after the other, and none waits longer than
`LONGEST_WAIT_SECONDS` for its turn; while a call hangs, nothing is asked at all. Without an answer the step's own delay
counts.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from pgflow_mp.hooks.events import FailureReason, TaskInfo
    from pgflow_mp.hooks.manager import Plugins

logger = logging.getLogger("pgflow_mp.hooks")

RETRY_DELAY, RUN_CARRIER, METRICS = "pgflow_retry_delay", "pgflow_run_carrier", "pgflow_metrics"

PATIENCE_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 2.0
LONGEST_DELAY_SECONDS = 86_400.0
"""What the engine itself never exceeds (D-7)."""


def retry_delay(plugins: Plugins, *, task: TaskInfo, error: str, reason: FailureReason, delay: float) -> float | None:
    """Ask the plugins in turn how long a failed task shall wait; None where none of them has a usable answer."""
    event = {"task": task, "error": error, "reason": reason, "delay": delay}
    for implementation in plugins.implementations(RETRY_DELAY):
        try:
            answer = implementation.call(event)
            if answer is not None:
                return _checked(answer)
        except Exception:
            logger.exception("plugin `%s` failed in %s; others decide", implementation.plugin, RETRY_DELAY)
    return None


def run_carriers(plugins: Plugins, flow_slug: str, run_ids: Iterable[UUID]) -> dict[UUID, dict[str, str]]:
    """Ask the plugins what shall be passed along with each of these runs; those with nothing are left out."""
    if not plugins.implementations(RUN_CARRIER):
        return {}
    answers = {run_id: _run_carrier(plugins, {"flow_slug": flow_slug, "run_id": run_id}) for run_id in run_ids}
    return {run_id: carrier for run_id, carrier in answers.items() if carrier}


def _run_carrier(plugins: Plugins, event: dict[str, Any]) -> dict[str, str] | None:
    for implementation in plugins.implementations(RUN_CARRIER):
        try:
            answer = implementation.call(event)
            if answer is not None:
                return {str(name): str(text) for name, text in dict(answer).items()}
        except Exception:
            logger.exception("plugin `%s` failed in %s; the run starts without", implementation.plugin, RUN_CARRIER)
    return None


def metrics_page(plugins: Plugins) -> tuple[str, bytes] | None:
    """Ask the plugins for the page of `/metrics`; None where none has one. What they raise goes through."""
    for implementation in plugins.implementations(METRICS):
        answer: tuple[str, bytes] | None = implementation.call({})
        if answer is not None:
            return answer
    return None


def _checked(answer: Any) -> float:
    seconds = float(answer)
    if not 0 <= seconds <= LONGEST_DELAY_SECONDS:  # NaN as well
        raise ValueError(f"{answer!r} is no number of seconds from 0 to {LONGEST_DELAY_SECONDS:g}")
    return seconds


class Deciders:
    """Asks in a thread of its own; used in one event loop.

    Attributes:
        wanted: Whether there is anyone to ask.
    """

    def __init__(self, plugins: Plugins) -> None:
        self.wanted = bool(plugins.implementations(RETRY_DELAY))
        self._plugins = plugins
        self._turn = asyncio.Lock()
        self._hanging: Future[float | None] | None = None
        self._questions: queue.SimpleQueue[tuple[Future[float | None], dict[str, Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="pgflow-mp decisions", daemon=True)

    async def retry_delay(self, *, task: TaskInfo, error: str, reason: FailureReason, delay: float) -> float | None:
        """Ask how long a failed task shall wait; None where no plugin says so in time."""
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            return None
        try:
            return await self._ask({"task": task, "error": error, "reason": reason, "delay": delay})
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the thread, when it is through with what it was asked."""
        self._questions.put(None)

    async def _ask(self, event: dict[str, Any]) -> float | None:
        if self._hanging is not None and not self._hanging.done():
            return None
        if not self._thread.is_alive():
            self._thread.start()
        question: Future[float | None] = Future()
        self._questions.put((question, event))
        answer = asyncio.wrap_future(question)
        done, _ = await asyncio.wait([answer], timeout=PATIENCE_SECONDS)
        if done:
            return answer.result()
        self._hanging = question
        names = ", ".join(f"`{each.plugin}`" for each in self._plugins.implementations(RETRY_DELAY))
        logger.warning("%s gave no answer within %g s: %s", RETRY_DELAY, PATIENCE_SECONDS, names)
        return None

    def _run(self) -> None:
        while (asked := self._questions.get()) is not None:
            question, event = asked
            try:
                question.set_result(retry_delay(self._plugins, **event))
            except BaseException as error:  # noqa: BLE001 - the thread must go on answering
                logger.warning("%s was ended by %r", RETRY_DELAY, error)
                question.set_result(None)
