"""A worker beside the test: in a thread with a loop of its own, or as a process that can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pgflow_mp.engine.worker import Worker
from pgflow_mp.flow import as_definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_SECONDS = 30.0


@contextmanager
def working(dsn: str, *flows: Any, stops: int = 1, **options: Any) -> Iterator[Worker]:
    """Run a worker until the block ends and stop it `stops` times; its own error, if any, comes out of the block."""
    ready: threading.Event = threading.Event()
    box: dict[str, Any] = {}

    async def main() -> None:
        box["worker"] = Worker(dsn, [as_definition(flow) for flow in flows], **({"processes": 2} | options))
        box["loop"] = asyncio.get_running_loop()
        ready.set()
        await box["worker"].run()

    def target() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # handed to the test
            box["error"] = error
        finally:
            ready.set()

    thread = threading.Thread(target=target)
    thread.start()
    assert ready.wait(DEADLINE_SECONDS)
    try:
        yield box["worker"]
    finally:
        for _ in range(stops if thread.is_alive() else 0):
            box["loop"].call_soon_threadsafe(box["worker"].stop)
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive(), "the worker did not stop"
    if "error" in box:
        raise box["error"]


@contextmanager
def serving(dsn: str, module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `pgflow-mp serve` as a process of its own; it is killed if it outlives the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgflow_mp", "serve", module, "--dsn", dsn, "--processes", "2", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_SECONDS)


def eventually(met: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    """Return the first true answer; fail when there is none in time."""
    until = time.monotonic() + seconds
    while True:
        answer = met()
        if answer:
            return answer
        assert time.monotonic() < until, f"not met within {seconds:g} s: {met}"
        time.sleep(0.01)
