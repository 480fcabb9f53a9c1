"""What hooks cost a worker: with the emission cut out, as it is without a plugin, and with one that hears everything.

In turns, so that what else the machine does meets all alike. The rate of no-op jobs depends on everything; the
processor time of the worker's own thread for each job is what hooks could add to, so it is shown beside it. The last
line times the lines that a worker runs for hooks when nobody listens, by themselves.
"""

from __future__ import annotations

import inspect
import statistics
import time
import timeit
import uuid
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from benchmarks.core import DURABILITY, JOBS
from benchmarks.engine import jobs_through
from benchmarks.flows import Noop
from benchmarks.worker import FLOWS, PROCESSES, working
from pgflow_mp import postgres
from pgflow_mp.client import PgFlow
from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install
from pgflow_mp.core.queries.tasks import Settled, TaskKey
from pgflow_mp.engine import worker as engine
from pgflow_mp.engine.announce import Announcer
from pgflow_mp.executors.base import Completed, TaskCall
from pgflow_mp.hooks import specs
from pgflow_mp.hooks.manager import Plugins
from pgflow_mp.hooks.observers import Background

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KINDS = ("cut out", "no plugin", "one observer of every hook")


class Silent(Announcer):
    """Emits nothing, and looks at nothing to find that out."""

    def claimed(self, *_: Any) -> None: ...

    def settled(self, *_: Any) -> None: ...

    def settling(self) -> Any:
        return nullcontext()


def main(rounds: int) -> None:
    """Print the table."""
    with postgres.start("auto", settings=DURABILITY) as server, PgFlow(server.dsn) as app, connect(server.dsn) as conn:
        print(f"server: {server.kind} {server.version}, {PROCESSES} children, {JOBS} no-op jobs a turn")
        install(conn)
        for flow in FLOWS:
            app.compile(flow)
        figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind in KINDS:
                with _working(server.dsn, kind) as clock:
                    app.start_flow_sync("noop")
                    began, spent = time.perf_counter(), time.clock_gettime(clock)
                    jobs_through(app, conn, JOBS)
                    seconds, processor = time.perf_counter() - began, time.clock_gettime(clock) - spent
                figures[kind].append((JOBS / seconds, processor / JOBS * 1e6))
    for kind in KINDS:
        _show(kind, figures[kind], figures[KINDS[0]])
    alone = _emission_alone()
    job = statistics.median(processor for _, processor in figures[KINDS[1]])
    share = alone / job
    print(f"the emission by itself, without a plugin: {alone:.2f} us a job, {share:.2%} of that thread's time   aim 1%")


def _show(kind: str, own: Sequence[tuple[float, float]], base: Sequence[tuple[float, float]]) -> None:
    """One line: medians, and the median of the ratios of neighbours."""
    ratios = [[mine[at] / other[at] for mine, other in zip(own, base, strict=True)] for at in (0, 1)]
    rate, processor = (statistics.median(figure[at] for figure in own) for at in (0, 1))
    by_rate, by_processor = map(statistics.median, ratios)
    print(
        f"{kind:<28} {rate:8,.0f} jobs/s, ratio {by_rate:.3f}   {processor:6.0f} us of the worker's thread a job, "
        f"ratio {by_processor:.3f}",
        flush=True,
    )


@contextmanager
def _working(dsn: str, kind: str) -> Iterator[int]:
    """Run such a worker, and give the clock of its thread's processor time."""
    plugins = Plugins.load([_listener()] if kind == KINDS[2] else [], installed=False)
    engine.Announcer = Silent if kind == KINDS[0] else Announcer  # type: ignore[attr-defined,misc]
    try:
        with working(dsn, plugins=plugins) as thread:
            yield time.pthread_getcpuclockid(thread.ident or 0)
    finally:
        engine.Announcer = Announcer  # type: ignore[attr-defined,misc]


def _listener() -> object:
    """Return a plugin that has every observer, and does nothing in them."""
    made: dict[str, Any] = {}
    for hook in specs.OBSERVERS:
        parameters = ", ".join(inspect.signature(getattr(specs, hook)).parameters)
        exec(f"def {hook}(self, {parameters}): ...", made)
    return type("Listener", (), {hook: made[hook] for hook in specs.OBSERVERS})()


def _emission_alone() -> float:
    """Return the microseconds that a claim and a settlement of one task spend on hooks that nobody has."""
    announcer = Announcer(Background(Plugins()))
    flow = Noop.definition
    call = TaskCall(
        flow=flow, step=flow.steps[0], run_id=uuid.uuid4(), task_index=0, attempt=1, worker_id=uuid.uuid4(), msg_id=1,
        timeout=60.0, input=b"{}",
    )  # fmt: skip
    key = TaskKey(call.run_id, "only", 0, 1, call.worker_id)
    outcomes, settled = [Completed(call, None)], [Settled(call.run_id, "only", 0, True, "completed", "completed", None)]  # noqa: FBT003

    def emit() -> None:
        announcer.claimed([], [key][:0], 0.0)
        with announcer.settling():
            announcer.settled(outcomes, settled, 0.0)

    times = 100_000
    return min(timeit.repeat(emit, number=times, repeat=5)) / times * 1e6
