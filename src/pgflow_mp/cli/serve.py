"""``pgflow-mp serve``: one worker for all flows of some modules, until a signal or the database stops it.

SIGTERM and Ctrl-C drain (a container's stop is SIGTERM, then SIGKILL after its own grace period); the second
signal gives everything back at once. A drained worker exits with 0: it did what it was told. SIGHUP imports the code
again, here and in fresh children, and loses no task; code that is not accepted changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli import logs
from pgflow_mp.cli.compile import compile_all, describe, refuse
from pgflow_mp.cli.database import named
from pgflow_mp.cli.endpoints import Endpoints
from pgflow_mp.cli.exits import FAILED, OK, UsageError, sentence_of
from pgflow_mp.cli.loading import modules_of
from pgflow_mp.cli.plugins import load as load_plugins
from pgflow_mp.cli.probes import Probes
from pgflow_mp.cli.reloading import Code
from pgflow_mp.client.telling import Telling
from pgflow_mp.engine.worker import Worker
from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.process.output import to_stderr
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterable, Iterator

    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.hooks.manager import Plugins
    from pgflow_mp.registry import NamedHandler

logger = logging.getLogger("pgflow_mp.serve")

# What the worker has a default for.
_DEFAULTED = ("loops", "tasks_per_loop", "threads", "max_payload", "unknown_step_timeout")


def run(arguments: argparse.Namespace) -> int:
    """Compile or verify the flows, then work until stopped."""
    plugins = load_plugins(arguments)
    if not arguments.modules and not arguments.handlers:
        raise UsageError("name a module with flows, or with --handlers one for flows that are made at run time")
    code = Code(arguments.modules, arguments.handlers)
    with named(arguments) as dsn:
        return _work(arguments, dsn, code, plugins)


def _work(arguments: argparse.Namespace, dsn: str, code: Code, plugins: Plugins) -> int:
    compiled, mismatches = compile_all(dsn, code.flows)
    if mismatches:
        return refuse(mismatches)
    line_format = None if arguments.json else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logs.to_stderr(logging.INFO, line_format, with_run=True)
    telling = Telling(plugins)
    for slug, outcome in compiled.items():
        logger.info("%s", describe(slug, outcome))
        telling.compiled(slug, outcome)
    left = asyncio.run(_serve(arguments, dsn, code, plugins))
    if left:
        logger.error(
            "stopped without the database: %s could not be given back, recovery will find them",
            counted(left, "task"),
        )
        return FAILED
    logger.info("stopped, nothing is left claimed")
    return OK


async def _serve(arguments: argparse.Namespace, dsn: str, code: Code, plugins: Plugins) -> int:
    """Work until stopped; return how many tasks could not be given back."""
    definitions = [flow.definition for flow in code.flows]
    worker = Worker(
        dsn,
        definitions,
        handlers=code.handlers if arguments.handlers else None,
        processes=arguments.processes,
        grace=arguments.grace,
        poll_interval=arguments.poll_interval,
        task_dsn=arguments.task_dsn,
        listen_dsn=arguments.listen_dsn,
        max_tasks_per_child=arguments.max_tasks_per_child,
        max_memory_per_child=arguments.max_memory_per_child,
        preload=sorted({*modules_of(definitions), *_modules_of(code.handlers.values())}),
        name="pgflow-mp serve",
        on_output=logs.print_json if arguments.json else to_stderr,
        plugins=plugins,
        **{option: value for option in _DEFAULTED if (value := getattr(arguments, option)) is not None},
    )
    _stop_on_signals(worker, arguments.grace)
    reloader = Reloader(worker, dsn, code, Telling(plugins))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.wanted.set)
    reloading = asyncio.create_task(reloader.run())
    try:
        async with _answering(arguments.http, worker, dsn):
            await worker.run()
    finally:
        reloading.cancel()
        await asyncio.wait([reloading])
    return worker.left_claimed


def _modules_of(handlers: Iterable[NamedHandler[..., Any]]) -> Iterator[str]:
    return (named.source.partition(":")[0] for named in handlers if named.source)


@asynccontextmanager
async def _answering(where: tuple[str, int] | None, worker: Worker, dsn: str) -> AsyncIterator[None]:
    """Answer probes over HTTP, if that is wanted."""
    if where is None:
        yield
        return
    probes = Probes(worker, dsn)
    try:
        with Endpoints(where, probes.routes()) as endpoints:
            logger.info("listening on %s for %s", endpoints.url, ", ".join(probes.routes()))
            yield
    finally:
        await probes.close()


def _stop_on_signals(worker: Worker, grace: float) -> None:
    replies = iter([f"running tasks get {grace:g} s to finish; once more to give them back at once"])

    def stop(signal_name: str) -> None:
        logger.info("%s: %s", signal_name, next(replies, "giving everything back"))
        worker.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number.name)


class Reloader:
    """Brings new code into a running worker.

    Attributes:
        wanted: Set it to have the code loaded again; several wishes during one reload are one.
    """

    def __init__(self, worker: Worker, dsn: str, code: Code, telling: Telling) -> None:
        self._telling = telling
        self._worker = worker
        self._dsn = dsn
        self._code = code
        self.wanted = asyncio.Event()

    async def run(self) -> None:
        """Reload whenever it is wanted, until cancelled."""
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            logger.info("SIGHUP: loading the code again")
            try:
                # In a thread: imports take their time, and the worker must beat meanwhile.
                flows = await asyncio.to_thread(self._load)
                await self._worker.reload(flows, self._code.handlers)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the new code, the old one works on
                logger.error("not reloaded, the code of before works on: %s", sentence_of(error))  # noqa: TRY400

    def _load(self) -> list[FlowDefinition]:
        with self._code.again() as flows:
            compiled, mismatches = compile_all(self._dsn, flows)
            if mismatches:
                raise PgflowError("\n".join(str(mismatch) for mismatch in mismatches))
        for slug, outcome in compiled.items():
            logger.info("%s", describe(slug, outcome))
            self._telling.compiled(slug, outcome)
        return [flow.definition for flow in flows]
