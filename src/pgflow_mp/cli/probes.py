"""What `serve --http` answers about a worker: whether it lives, whether it takes tasks, and what it is doing."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.endpoints import Answer
from pgflow_mp.cli.exits import sentence_of
from pgflow_mp.core.queries.queues import queue_depths
from pgflow_mp.engine.health import HEALTHY_SECONDS
from pgflow_mp.engine.link import LOST, Link
from pgflow_mp.hooks.deciders import metrics_page

if TYPE_CHECKING:
    from pgflow_mp.cli.endpoints import Route
    from pgflow_mp.engine.worker import Worker

_QUEUE_SECONDS = 3.0
"""How long the database may take to count: less than the one who asks is made to wait."""


_NO_METRICS = """\
no plugin has metrics: load one, as in --plugin pgflow_mp.plugins.prometheus:Prometheus
(pip install 'pgflow-mp[prometheus]')
"""


class Probes:
    """Answers about one worker. Close it in the end: it may have a connection.

    Args:
        worker: The worker.
        dsn: Its database.
    """

    def __init__(self, worker: Worker, dsn: str) -> None:
        self._worker = worker
        self._link = Link(dsn, "status", seconds=_QUEUE_SECONDS)

    def routes(self) -> dict[str, Route]:
        """Return what is answered, by path."""
        return {
            "/healthz": self.healthz, "/readyz": self.readyz, "/status": self.status, "/metrics": self.metrics,
        }  # fmt: skip

    async def healthz(self) -> Answer:
        """Alive: that this is answered at all says that the worker's loop turns."""
        return Answer("ok\n")

    async def readyz(self) -> Answer:
        """Taking tasks, judged by the database's answers (D-22)."""
        status = self._worker.status()
        if status.ready:
            return Answer("ok\n")
        if status.stopping:
            why = "the worker is stopping"
        elif status.health.seconds is None:
            why = "the database has not answered yet"
        else:
            why = f"the database answered {status.health.seconds:.0f} s ago, which is over {HEALTHY_SECONDS:g} s"
        return Answer(f"not ready: {why}\n", HTTPStatus.SERVICE_UNAVAILABLE)

    async def status(self) -> Answer:
        """Tell all there is to see of the worker and of the queues that it serves."""
        return Answer(self._worker.status().to_json() | await self._queues())

    async def metrics(self) -> Answer:
        """Return the page of the plugin that has one."""
        page = metrics_page(self._worker.plugins)
        if page is None:
            return Answer(_NO_METRICS, HTTPStatus.NOT_FOUND)
        content_type, body = page
        return Answer(body.decode(), content_type=content_type)

    async def close(self) -> None:
        """End the connection."""
        await self._link.close()

    async def _queues(self) -> dict[str, Any]:
        try:
            depths = await self._link.run(queue_depths(self._worker.status().workers))
        except LOST as error:  # a database that does not answer is no reason to hide what the children do
            return {"queues": None, "queues_error": sentence_of(error)}
        return {"queues": [asdict(depth) for depth in depths]}
