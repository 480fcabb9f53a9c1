"""``pgflow-mp serve``: one worker for all flows of some modules, until a signal or the database stops it.

SIGTERM and Ctrl-C drain (a container's stop is SIGTERM, then SIGKILL after its own grace period); the second
signal gives everything back at once. A drained worker exits with 0: it did what it was told.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from pgflow_mp.cli import logs
from pgflow_mp.cli.compile import compile_all, refuse
from pgflow_mp.cli.database import required_dsn
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.loading import load_all, modules_of
from pgflow_mp.engine.worker import Worker

if TYPE_CHECKING:
    import argparse

logger = logging.getLogger("pgflow_mp.serve")


def run(arguments: argparse.Namespace) -> int:
    """Compile or verify the flows, then work until stopped."""
    dsn = required_dsn(arguments.dsn, "serve")
    flows = load_all(arguments.modules)
    lines, mismatches = compile_all(dsn, flows)
    if mismatches:
        return refuse(mismatches)
    logs.to_stderr(logging.INFO, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    for line in lines:
        logger.info("%s", line)
    definitions = [flow.definition for flow in flows]
    worker = Worker(
        dsn,
        definitions,
        processes=arguments.processes,
        grace=arguments.grace,
        poll_interval=arguments.poll_interval,
        max_tasks_per_child=arguments.max_tasks_per_child,
        max_memory_per_child=arguments.max_memory_per_child,
        preload=modules_of(definitions),
        name="pgflow-mp serve",
    )
    asyncio.run(_serve(worker, arguments.grace))
    logger.info("stopped, nothing is left claimed")
    return OK


async def _serve(worker: Worker, grace: float) -> None:
    loop = asyncio.get_running_loop()
    replies = iter([f"running tasks get {grace:g} s to finish; once more to give them back at once"])

    def stop(signal_name: str) -> None:
        logger.info("%s: %s", signal_name, next(replies, "giving everything back"))
        worker.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number.name)
    await worker.run()
