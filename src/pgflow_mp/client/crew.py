"""The workers that an application object has started in its own process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pgflow_mp.errors import PgflowError, WorkerNotFound

if TYPE_CHECKING:
    from pgflow_mp.engine.background import BackgroundWorker


class Crew:
    """Background workers by the flows that they serve; safe to share between threads."""

    def __init__(self) -> None:
        self._workers: list[BackgroundWorker] = []
        self._changing = threading.Lock()

    def start(self, worker: BackgroundWorker) -> None:
        """Start a worker, and return when it takes tasks.

        Raises:
            PgflowError: One of its flows is served here already.
        """
        with self._changing:
            for flow in worker.flows:
                if any(other.running for other in self._serving(flow.slug)):
                    raise PgflowError(
                        f"a worker that this object started serves flow `{flow.slug}` already; "
                        "stop it first, or ask for more `processes=`"
                    )
            self._workers.append(worker)
        try:
            worker.start()
        except BaseException:
            self._forget(worker)
            raise

    def stop(self, slug: str) -> None:
        """Stop the worker that serves a flow, with all flows that it serves.

        Raises:
            WorkerNotFound: None does.
        """
        with self._changing:
            found = self._serving(slug)
            served = sorted({flow.slug for worker in self._workers for flow in worker.flows})
        if not found:
            raise WorkerNotFound(
                f"no worker that this object started serves flow `{slug}`; served: {', '.join(served) or 'none'}"
            )
        for worker in found:
            self.end(worker)

    def end(self, worker: BackgroundWorker) -> None:
        """Stop one worker."""
        worker.stop()
        self._forget(worker)

    def close(self) -> None:
        """Stop all workers, side by side."""
        with self._changing:
            workers = list(self._workers)
        stopping = [threading.Thread(target=self.end, args=(worker,)) for worker in workers]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def _serving(self, slug: str) -> list[BackgroundWorker]:
        return [worker for worker in self._workers if slug in {flow.slug for flow in worker.flows}]

    def _forget(self, worker: BackgroundWorker) -> None:
        with self._changing:
            if worker in self._workers:
                self._workers.remove(worker)
