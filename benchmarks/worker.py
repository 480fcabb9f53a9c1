"""Workers to measure: in a thread of this process, where statements can be counted, or as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks import flows
from pgflow_mp.engine.link import Link
from pgflow_mp.engine.worker import Worker
from pgflow_mp.hooks.manager import Plugins

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOWS = [flow.definition for flow in (flows.Noop, flows.Burn, flows.Echo, flows.Sleepers)]
PROCESSES = 2


class Statements:
    """Counts what a worker says to the database, by the function that it calls."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._run = Link.run

    def __enter__(self) -> Self:
        run, counts = self._run, self.counts

        async def counting(link: Link, statement: Any) -> Any:
            counts[re.findall(r"(?:pgflow_mp|pgflow)\.(\w+)|$", statement.sql)[0] or "other"] += 1
            return await run(link, statement)

        Link.run = counting  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Link.run = self._run  # type: ignore[method-assign]


@contextmanager
def working(dsn: str, **options: Any) -> Iterator[threading.Thread]:
    """Run a worker in a thread of its own while the block lasts."""
    box: dict[str, Any] = {}
    ready = threading.Event()

    async def main() -> None:
        box["worker"] = Worker(dsn, FLOWS, **({"processes": PROCESSES, "plugins": Plugins()} | options))
        box["loop"] = asyncio.get_running_loop()
        ready.set()
        await box["worker"].run()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait()
    try:
        yield thread
    finally:
        box["loop"].call_soon_threadsafe(box["worker"].stop)
        thread.join()


@contextmanager
def serving(dsn: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `pgflow-mp serve` while the block lasts; it is ready when the block begins."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pgflow_mp",
                "serve",
                "benchmarks.flows",
                "--dsn",
                dsn,
                "--processes",
                str(PROCESSES),
            ],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PGFLOW_DSN": dsn},
            stderr=file,
        )
    try:
        while "worker is ready" not in log.read_text():
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def family(pid: int) -> dict[str, list[int]]:
    """Return the processes of a worker: `parent`, `fork server`, `children`."""
    servers = [child for child in _children(pid) if b"forkserver" in _read(child, "cmdline")]
    return {
        "parent": [pid],
        "fork server": servers,
        "child": [child for server in servers for child in _children(server)],
    }


def memory(pid: int) -> tuple[float, float]:
    """Return resident MB, and MB counted once where processes share them (PSS)."""
    sizes = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", _read(pid, "smaps_rollup").decode(), re.MULTILINE))
    return int(sizes.get("Rss", 0)) / 1024, int(sizes.get("Pss", 0)) / 1024


def cpu_seconds(pids: list[int]) -> float:
    """Return the processor time that these processes have used."""
    ticks = sum(sum(map(int, _read(pid, "stat").rpartition(b")")[2].split()[11:13])) for pid in pids)
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            fields = _read(int(entry.name), "stat").rpartition(b")")[2].split()
            if fields and int(fields[1]) == pid and fields[0] != b"Z":
                found.append(int(entry.name))
    return found


def _read(pid: int, name: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / name).read_bytes()
    except OSError:
        return b""
