"""A worker beside the application: in a thread with an event loop of its own, its steps in child processes.

The thread has nothing to do with the application's event loop, if there is one, so a blocked application does not
silence the worker. Nothing is left claimed behind: `stop` drains, and an application that ends without calling it gives
everything back at once on its way out (`atexit`); what even that cannot reach (kill -9), recovery does.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from pgflow_mp.connecting import sentence_of
from pgflow_mp.engine.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_mp.definition import FlowDefinition

logger = logging.getLogger("pgflow_mp.worker")


class BackgroundWorker:
    """A worker in a thread of this process.

    Args:
        dsn: The database; the flows are compiled there.
        flows: What it works on.
        options: As those of `Worker`.
    """

    def __init__(self, dsn: str, flows: Sequence[FlowDefinition], **options: Any) -> None:
        self.flows = tuple(flows)
        self._dsn = dsn
        self._options = options
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        self._thread = threading.Thread(target=self._live, name="pgflow-mp worker", daemon=True)

    @property
    def running(self) -> bool:
        """Whether it is at work, or finishing what it has."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start, and return when it takes tasks.

        Raises:
            psycopg.Error: The database refuses the worker, or cannot be reached.
            PoolBroken: The children cannot start.
        """
        atexit.register(self.stop, now=True)
        self._thread.start()
        try:
            self._ready.result()
        except BaseException:
            self.stop(now=True)
            raise

    def stop(self, *, now: bool = False) -> None:
        """Take no more tasks, let running ones finish for the grace period, give the rest back; return when done.

        Args:
            now: Give running tasks back at once, whatever the grace period.
        """
        atexit.unregister(self.stop)
        loop, worker = self._loop, self._worker
        if loop is not None and worker is not None and self.running:
            for _ in range(2 if now else 1):
                loop.call_soon_threadsafe(worker.stop)
        if self._thread.ident is not None:
            self._thread.join()

    def _live(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the start, or logged
            if self._ready.done():
                logger.error("the worker in this process has ended: %s", sentence_of(error))  # noqa: TRY400
            else:
                self._ready.set_exception(error)

    async def _work(self) -> None:
        worker = Worker(self._dsn, self.flows, **self._options)
        self._worker, self._loop = worker, asyncio.get_running_loop()
        telling = asyncio.create_task(self._tell_when_ready(worker))
        try:
            await worker.run()
        finally:
            telling.cancel()

    async def _tell_when_ready(self, worker: Worker) -> None:
        await worker.ready.wait()
        self._ready.set_result(None)
