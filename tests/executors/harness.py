"""What the tests of executors share: flows of one step, calls, and a pool that cannot outlive its test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import uuid
from pathlib import Path

from pgflow_mp import flow
from pgflow_mp.executors import Completed, TaskCall
from pgflow_mp.executors.process import ProcessPool

PATIENCE = 20.0  # seconds that any wait may take
WORKER = uuid.uuid4()


def flow_of(handler):
    """A flow with the one step `work`, defined in a function as in a test."""

    class Single(flow.Flow):
        work = flow.step(handler)

    return Single.definition


def call_of(handler_or_flow, value=None, *, timeout=10.0, index=0):
    """A call of the first step, with `value` as the run's input."""
    definition = handler_or_flow
    if not hasattr(definition, "steps"):
        definition = flow_of(handler_or_flow)
    return TaskCall(
        flow=definition,
        step=definition.steps[0],
        run_id=uuid.uuid4(),
        task_index=index,
        attempt=1,
        worker_id=WORKER,
        msg_id=1,
        timeout=timeout,
        input=b"{}",
        flow_input=json.dumps(value).encode(),
    )


class Crew:
    """A started pool that collects its outcomes."""

    def __init__(self, **options):
        self.outcomes = []
        self.printed = []
        self.rooms = 0
        self._news = asyncio.Event()
        options.setdefault("on_output", lambda call, text: self.printed.append((call, text)))
        pool = options.pop("pool", ProcessPool)
        self.pool = pool(self._take, on_room=self._take_room, **options)

    def _take(self, outcome):
        self.outcomes.append(outcome)
        self._news.set()

    def _take_room(self):
        self.rooms += 1
        self._news.set()

    async def until(self, condition, patience=PATIENCE):
        """Wait until the condition holds; outcomes wake it, and so does every 10 ms."""
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f"waited {patience} s in vain; outcomes: {self.outcomes}"
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), 0.01)

    async def run(self, *calls, patience=PATIENCE):
        """Submit the calls and return their outcomes in the same order."""
        for call in calls:
            self.pool.submit(call)
        await self.until(lambda: {id(o.call) for o in self.outcomes} >= {id(c) for c in calls}, patience)
        found = {id(outcome.call): outcome for outcome in self.outcomes}
        return [found[id(call)] for call in calls]

    async def run_one(self, handler, value=None, **options):
        """Run one call and return its outcome."""
        return (await self.run(call_of(handler, value, **options)))[0]

    async def output(self, handler, value=None, **options):
        """Run one call that completes and return what it returned."""
        outcome = await self.run_one(handler, value, **options)
        assert isinstance(outcome, Completed), outcome.error
        return None if outcome.output is None else json.loads(outcome.output)


@contextlib.asynccontextmanager
async def crew(**options):
    """A crew of two children whose processes are gone afterwards."""
    members = Crew(**options) if "pool" in options else Crew(**{"size": 2, **options})
    await asyncio.wait_for(members.pool.start(), PATIENCE)
    try:
        yield members
    finally:
        pids = members.pool.pids
        await asyncio.wait_for(members.pool.close(0), PATIENCE)
        await members.until(lambda: not any(is_alive(pid) for pid in pids))


def play(scenario, **options):
    """Run `async def scenario(crew)` with a crew."""

    async def main():
        async with crew(**options) as members:
            return await scenario(members)

    return asyncio.run(asyncio.wait_for(main(), 2 * PATIENCE))


def is_alive(pid):
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self").is_dir():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, patience=PATIENCE):
    """Wait for a condition outside of any loop."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited {patience} s in vain"
        time.sleep(0.01)
