"""A mixed crew at work: our worker and those of other languages drain the same flows at the same time, are killed with
SIGKILL in turn and started again; then the books are looked at (`audit`).

Who is killed in the middle of a task leaves it started. Of ours, a worker that looks after the others takes it up
within seconds. Of the others nobody can know that they are dead, so that their tasks become available again after the
timeout of the step and 30 s more. A short muster does not wait for that: it makes what dead foreigners hold so much
older.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.core.queries.definitions import compile_flow
from pgflow_mp.core.statement import execute
from tests.siblings.crew.audit import audit
from tests.siblings.crew.deck import Deck, Member
from tests.siblings.crew.flows import LEDGER, Crew, CrewRouted

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Report", "muster"]

OPEN_RUNS, MANY_RUNS = 8, 60
"""So many runs are kept open while the crew is at work; many, where what a dead foreigner holds is waited for."""
GRACE_SECONDS = 60.0
"""A voyage takes at most so much longer than asked for, until every member has been killed once."""


@dataclass
class Report:
    """What came of it.

    Attributes:
        wrong: What the audit found.
        kills: How often each member was killed.
        tasks: How many executions of each kind of member are those whose output stands in the database.
        runs: The runs, and what each was started with.
        killed: The badges of members that were killed.
        again: How many tasks were started again because their worker had died.
        calm: Seconds until everything was worked off.
        log: What the members said.
    """

    wrong: list[str]
    kills: dict[str, int]
    tasks: dict[str, int]
    runs: dict[uuid.UUID, dict[str, Any]]
    killed: set[str]
    again: int
    calm: float
    log: str

    def __str__(self) -> str:
        lines = [f"{len(self.runs)} runs, {self.again} tasks started again after a death, calm after {self.calm:.1f} s"]
        lines += [
            f"  {name}: {self.tasks.get(name, 0)} executions that counted, killed {self.kills.get(name, 0)} times"
            for name in sorted(self.tasks.keys() | self.kills.keys())
        ]
        return "\n".join([*lines, *(f"WRONG: {each}" for each in self.wrong)])


def muster(
    dsn: str,
    members: Sequence[Member],
    seconds: float,
    scratch: Path,
    *,
    pause: float,
    wait: bool,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Let a crew work for some time, kill its members in turn, and look at the books.

    Args:
        dsn: A database of ours that is empty.
        members: Who is there; one of them at least is ours.
        seconds: How long members are killed and runs are started.
        scratch: A folder for the log.
        pause: Seconds between two kills.
        wait: Whether what dead foreigners hold is waited for; else it is made older.
        tell: Gets a line every now and then.
    """
    with ExitStack() as stack:
        conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        log = stack.enter_context((scratch / "crew.log").open("ab"))
        _prepare(conn)
        deck = Deck(dsn, members, log)
        stack.callback(deck.end)
        kills = _voyage(deck, conn, seconds, pause, wait=wait, tell=tell)
        calm, wrong = _calm_down(deck, conn, wait=wait, tell=tell)
        codes = deck.stop()
        if any(codes) and not wrong:
            wrong.append(f"members that were asked to finish ended with {dict(zip(deck.names, codes, strict=True))}")
        wrong += audit(conn, deck.runs, deck.killed)
        counted = dict(conn.execute(COUNTED).fetchall())
        (again,) = conn.execute("select count(*) from pgflow.step_tasks where requeued_count > 0").fetchone() or (0,)
        text = (scratch / "crew.log").read_text(errors="replace")
        return Report(wrong, kills, counted, deck.runs, deck.killed, again, calm, text)


# How many executions of each kind of member are those whose output stands in the database.
COUNTED = """
select split_part(member, ' #', 1), count(*)::int
from ledger as l
join pgflow.step_tasks as t using (run_id, step_slug, task_index)
where t.status = 'completed' and (t.output ->> 'token' = l.token::text or l.step_slug = 'numbers')
group by 1
"""


def _prepare(conn: psycopg.Connection[Any]) -> None:
    conn.execute(LEDGER)
    execute(conn, compile_flow(Crew.definition.slug, Crew.definition.shape()))
    shape = json.dumps(CrewRouted.definition.shape())
    conn.execute("select pgflow.ensure_flow_compiled('CrewRouted', %s::jsonb, 'step')", [shape])


def _voyage(
    deck: Deck,
    conn: psycopg.Connection[Any],
    seconds: float,
    pause: float,
    *,
    wait: bool,
    tell: Callable[[str], None],
) -> dict[str, int]:
    """Keep the crew busy; kill one after the other in the middle of a task, those first that were killed least."""
    kills = [0] * len(deck.members)
    enough = MANY_RUNS if wait else OPEN_RUNS
    deck.feed(conn, enough)
    for place in range(len(deck.members)):
        deck.start(place)
    began = time.monotonic()
    next_kill, next_word = began + pause, began + 30
    while (lasted := time.monotonic() - began) < seconds or (0 in kills and lasted < seconds + GRACE_SECONDS):
        if deck.ended():  # which the calm tells
            break
        deck.feed(conn, enough)
        if not wait:
            deck.age(conn)
        busy = [place for place, count in enumerate(kills) if count <= min(kills) + 1 and deck.holds_task(place, conn)]
        if busy and time.monotonic() > next_kill:
            place = min(busy, key=lambda each: kills[each])
            deck.kill(place)
            kills[place] += 1
            next_kill = time.monotonic() + pause
        if time.monotonic() > next_word:
            next_word += 30
            tell(f"{sum(kills)} kills, {len(deck.runs)} runs, {int(seconds - lasted)} s to go")
        time.sleep(0.01)
    return dict(zip(deck.names, kills, strict=True))


OPEN_WORK = """
select (select count(*) from pgflow.runs where status = 'started')
  + (select count(*) from pgmq.q_crew) + (select count(*) from pgmq.q_crewrouted__numbers)
  + (select count(*) from pgmq.q_crewrouted__each)
"""


def _calm_down(
    deck: Deck, conn: psycopg.Connection[Any], *, wait: bool, tell: Callable[[str], None]
) -> tuple[float, list[str]]:
    """Wait until everything is worked off."""
    tell("calm")
    began = time.monotonic()
    most = 240.0 if wait else 40.0
    while time.monotonic() - began < most:
        if odd := deck.ended():
            return time.monotonic() - began, odd
        if conn.execute(OPEN_WORK).fetchone() == (0,):
            return time.monotonic() - began, []
        if not wait:
            deck.age(conn)
        time.sleep(0.1)
    return most, [f"no calm within {most:g} s"]
