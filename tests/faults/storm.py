"""A storm: a stream of runs, and faults at random moments; then calm, and the audit.

The seed decides which faults come in which order; when they hit is up to the machine, so that a storm is not
repeated exactly.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from tests.faults.audit import audit, figures
from tests.faults.inflict import FAULTS, SLOW_FAULTS, inflict
from tests.faults.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST_OPEN_RUNS = 8
CALM_SECONDS = 150.0
"""The longest way back: a claim that nobody knows of counts as stalled 30 s after its timeout."""


@dataclass(frozen=True)
class Report:
    """How a storm went.

    Attributes:
        inflicted: Fault to times.
        figures: What there was to get wrong.
        wrong: What the audit found; empty is as it must be.
        calm: Seconds from the last fault until every run had ended.
        exits: Exit code of workers during the storm to times.
        last_words: With what errors workers ended by themselves.
        log: The end of the workers' log.
    """

    inflicted: Counter[str]
    figures: dict[str, int]
    wrong: list[str]
    calm: float
    exits: dict[int, int]
    last_words: list[str]
    log: str

    def __str__(self) -> str:
        lines = ["inflicted:", *(f"  {times:>5}  {name}" for name, times in self.inflicted.most_common())]
        lines += ["worked off:", *(f"  {number:>7,}  {what}" for what, number in self.figures.items())]
        lines.append(f"calm {self.calm:.1f} s after the last fault; workers ended with {self.exits}")
        lines += [f"  {words}" for words in self.last_words]
        lines += ["found:", *(f"  WRONG: {each}" for each in self.wrong)] if self.wrong else ["found: nothing wrong"]
        return "\n".join(lines)


def storm(
    seconds: float,
    scratch: Path,
    *,
    seed: int,
    pause: float = 0.5,
    slow: bool = False,
    core: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Let a storm go over a world of its own, and tell what it found.

    Args:
        seconds: How long faults are inflicted.
        scratch: An empty folder.
        seed: Decides which faults.
        core: A generation beside whose core everything is; None for our own.
        pause: Seconds between two faults, on average.
        slow: With faults that take half a minute to recover from.
        tell: Gets a line every now and then.
    """
    with ExitStack() as stack:
        world = World(stack, scratch, core)
        tell(f"server {world.server.version}, seed {seed}, {seconds:g} s")
        world.tend()
        with _streaming(world):
            inflicted = _rage(world, seconds, random.Random(seed), pause, FAULTS | (SLOW_FAULTS if slow else {}), tell)
        began = time.monotonic()
        tell("calm")
        calm_wrong = _calm_down(world)
        calm = time.monotonic() - began
        codes = world.stop_workers()
        time.sleep(0.5)  # orphans of the last second end
        log = (scratch / "workers.log").read_text(errors="replace")
        return Report(
            inflicted,
            figures(world),
            calm_wrong + audit(world, codes),
            calm,
            world.exit_codes,
            [line[:300] for line in log.splitlines() if line.startswith("pgflow-mp: ")],
            log[-20_000:],
        )


@contextmanager
def _streaming(world: World) -> Iterator[None]:
    """Keep some runs open, from a thread of its own."""
    over = threading.Event()

    def stream() -> None:
        while not over.wait(0.02):
            with suppress(psycopg.OperationalError):
                if world.open_runs() < MOST_OPEN_RUNS:
                    world.start_run()

    thread = threading.Thread(target=stream, name="stream")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


def _rage(
    world: World,
    seconds: float,
    chance: random.Random,
    pause: float,
    faults: dict[str, tuple[Callable[..., bool], float]],
    tell: Callable[[str], None],
) -> Counter[str]:
    inflicted: Counter[str] = Counter()
    until = time.monotonic() + seconds
    next_word = time.monotonic() + 30
    while time.monotonic() < until:
        time.sleep(chance.uniform(0, 2 * pause))
        world.tend()
        if (name := inflict(world, chance, faults)) is not None:
            inflicted[name] += 1
        if time.monotonic() > next_word:
            next_word += 30
            tell(f"{inflicted.total()} faults, {len(world.runs)} runs, {int(until - time.monotonic())} s to go")
    return inflicted


def _calm_down(world: World) -> list[str]:
    """Wait until the workers have worked everything off and cleared away what was delivered twice."""
    until = time.monotonic() + CALM_SECONDS
    while time.monotonic() < until:
        world.tend()
        with suppress(psycopg.OperationalError), world.connect() as conn:
            (left,) = conn.execute(
                "select (select count(*) from pgflow.runs where status = 'started') "
                "+ (select count(*) from pgmq.q_storm)"
            ).fetchone() or (1,)
            if not left:
                return []
        time.sleep(0.1)
    return [f"no calm within {CALM_SECONDS:g} s"]
