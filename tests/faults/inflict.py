"""What can go wrong, and making it so: each fault is one function over the world, with its odds."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg

from tests.faults.processes import fork_servers, workers_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.faults.world import World

FROZEN_SECONDS = 17.0
"""Longer than the 15 s of silence after which a worker is taken for dead (D-3)."""


def _signal_child(number: signal.Signals) -> Callable[[World, random.Random], bool]:
    def inflict(world: World, chance: random.Random) -> bool:
        pids = [pid for worker in world.workers for pid in workers_of(worker.pid)]
        return bool(pids) and _kill(chance.choice(pids), number)

    return inflict


def _signal_worker(number: signal.Signals) -> Callable[[World, random.Random], bool]:
    def inflict(world: World, chance: random.Random) -> bool:
        # Only one that is up: a signal before Python's handlers are there tells nothing about the worker.
        ready = [worker for worker in world.workers if workers_of(worker.pid)]
        return bool(ready) and _kill(chance.choice(ready).pid, number)

    return inflict


def _fork_server(world: World, chance: random.Random) -> bool:
    pids = [pid for worker in world.workers for pid in fork_servers(worker.pid)]
    return bool(pids) and _kill(chance.choice(pids), signal.SIGKILL)


def _freeze(world: World, chance: random.Random) -> bool:
    """A host that stops for a while and comes back with results that nobody waits for any more."""
    worker = chance.choice(world.workers)
    if not _kill(worker.pid, signal.SIGSTOP):
        return False
    time.sleep(FROZEN_SECONDS)
    return _kill(worker.pid, signal.SIGCONT)


def _crash_server(world: World, chance: random.Random) -> bool:
    world.crash_server(chance.uniform(0, 2))
    return True


def _backends(world: World, chance: random.Random) -> bool:
    with world.connect() as conn:
        found = conn.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where application_name like 'pgflow-mp %%' and pid <> pg_backend_pid() and random() < %s",
            (chance.uniform(0.2, 1),),
        ).fetchone()
    return bool(found and found[0])


def _cut(world: World, chance: random.Random) -> bool:
    world.through.cut()
    return True


def _silence(world: World, chance: random.Random) -> bool:
    world.through.silence()
    return True


def _send_again(world: World, chance: random.Random) -> bool:
    """Deliver again: copies of messages that are in the queue."""
    with world.connect() as conn:
        sent = conn.execute(
            "select pgmq.send('storm', message) from (select message from pgmq.q_storm order by random() limit 5) as q"
        ).fetchall()
    return bool(sent)


def _make_visible(world: World, chance: random.Random) -> bool:
    """Deliver again: messages of tasks that are running become visible to everybody."""
    with world.connect() as conn:
        return bool(
            conn.execute(
                "update pgmq.q_storm set vt = clock_timestamp() "
                "where msg_id in (select message_id from pgflow.step_tasks where status = 'started')"
            ).rowcount
        )


def _kill(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


FAULTS: dict[str, tuple[Callable[[World, random.Random], bool], float]] = {
    "child: SIGKILL": (_signal_child(signal.SIGKILL), 12),
    "child: SIGSEGV": (_signal_child(signal.SIGSEGV), 8),
    "fork server: SIGKILL": (_fork_server, 3),
    "worker: SIGKILL": (_signal_worker(signal.SIGKILL), 3),
    "worker: SIGTERM": (_signal_worker(signal.SIGTERM), 1.5),
    "worker: SIGHUP": (_signal_worker(signal.SIGHUP), 1.5),
    "Postgres: immediate stop, restart": (_crash_server, 1),
    "backends: terminated": (_backends, 4),
    "connections: cut": (_cut, 3),
    "messages: sent again": (_send_again, 4),
    "messages: visible while running": (_make_visible, 5),
}
"""Name: (function, odds). A function returns whether there was anything to harm."""

SLOW_FAULTS: dict[str, tuple[Callable[[World, random.Random], bool], float]] = {
    "worker: frozen for 17 s": (_freeze, 0.3),
    "connections: silent": (_silence, 0.3),
}
"""Those that take half a minute to recover from: for a long run."""


def inflict(world: World, chance: random.Random, faults: dict[str, tuple[Callable[..., bool], float]]) -> str | None:
    """Inflict one fault by the odds; return its name, or None when there was nothing to harm."""
    name = chance.choices(list(faults), [odds for _, odds in faults.values()])[0]
    with suppress(psycopg.OperationalError):
        if faults[name][0](world, chance):
            return name
    return None
