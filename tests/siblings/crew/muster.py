"""A mixed crew at work: our worker and those of other languages drain the same flows at the same time, are killed with
SIGKILL in turn and started again; then the books are looked at (`audit`).

Who is killed in the middle of a task leaves it started. Of ours, a worker that looks after the others takes it up
within seconds. Of the others nobody can know that they are dead, so that their tasks become available again after the
timeout of the step and 30 s more. A short muster does not wait for that: it makes what dead foreigners hold so much
older.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.core.queries.definitions import compile_flow
from pgflow_mp.core.queries.runs import start_flows
from pgflow_mp.core.statement import execute
from tests.siblings.crew.audit import audit
from tests.siblings.crew.flows import DSN_VARIABLE, LEDGER, MEMBER_VARIABLE, Crew, CrewRouted
from tests.siblings.generations import GENERATIONS
from tests.siblings.npm import connect, program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["OURS", "Member", "Report", "foreigners", "muster", "node"]

ROOT = Path(__file__).parents[3]
OPEN_RUNS, MANY_RUNS = 8, 60
"""So many runs are kept open while the crew is at work; many, where what a dead foreigner holds is waited for."""
GRACE_SECONDS = 60.0
"""A voyage takes at most so much longer than asked for, until every member has been killed once."""

# Whether a worker holds a task: a foreigner by its id, ours by its process.
HOLDS = """
select exists (
  select from pgflow.step_tasks as t
  where t.status = 'started'
    and t.last_worker_id in (
      select %(id)s::uuid union all select o.worker_id from pgflow_mp.workers as o where o.pid = %(pid)s)
)
"""


@dataclass(frozen=True, slots=True)
class Member:
    """One of the crew: its name, and the command that runs it with a badge."""

    name: str
    command: Callable[[str], Sequence[str]]


def _serve(_: str) -> Sequence[str]:
    return [sys.executable, "-m", "pgflow_mp", "serve", "tests.siblings.crew.flows", "--processes", "2", "--grace", "5"]


OURS = Member("pgflow-mp", _serve)


def foreigners(*names: str) -> list[Member]:
    """Replayed workers: by the name of the generation, or ``name/step`` for one that serves one step of CrewRouted."""
    known = {generation.name for generation in GENERATIONS}
    members = []
    for name in names:
        generation, _, step = name.partition("/")
        assert generation in known, generation
        arguments = [generation, step] if step else [generation]
        command = [sys.executable, "-m", "tests.siblings.crew.foreign", *arguments]
        members.append(Member(name, lambda _, command=command: command))  # type: ignore[misc]
    return members


def node(folder: Path, dsn: str) -> Member:
    """The real SQL client of 0.8.1 under Node; our programs are put into `folder`."""
    command = program(folder, "crew.mjs")
    return Member("TypeScript 0.8.1", lambda badge: [*command, json.dumps({"connect": connect(dsn), "member": badge})])


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


@dataclass
class Deck:
    """The members that are up, and the runs."""

    dsn: str
    members: Sequence[Member]
    log: Any
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    born: dict[int, float] = field(default_factory=dict)
    badges: dict[int, str] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    runs: dict[uuid.UUID, dict[str, Any]] = field(default_factory=dict)

    def start(self, place: int) -> None:
        """Start the member of a place. Its badge is what the ledger calls it; a foreigner's worker has the id in it."""
        member = self.members[place]
        badge = f"{member.name} #{uuid.uuid4()}"
        process = subprocess.Popen(
            member.command(badge),
            cwd=ROOT,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
                "PGFLOW_DSN": self.dsn,
                DSN_VARIABLE: self.dsn,
                MEMBER_VARIABLE: badge,
            },
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        self.processes[place : place + 1] = [process]
        self.born[place], self.badges[place] = time.monotonic(), badge

    def holds_task(self, place: int, conn: psycopg.Connection[Any]) -> bool:
        """Whether the member of a place is in the middle of a task."""
        given = {"id": self.badges[place].partition("#")[2], "pid": self.processes[place].pid}
        return conn.execute(HOLDS, given).fetchone() == (True,)

    def kill(self, place: int) -> None:
        """Kill the member of a place with SIGKILL, and start it again."""
        self.killed.add(self.badges[place])
        self.processes[place].kill()
        self.processes[place].wait(30)
        self.start(place)

    def age(self, conn: psycopg.Connection[Any]) -> None:
        """Let what dead foreigners hold be as old as it will be when their time is over."""
        conn.execute(AGE, [[uuid.UUID(badge.partition("#")[2]) for badge in self.killed]])

    def stop(self) -> list[int]:
        """Ask all to finish; return their exit codes."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(60) for process in self.processes]

    def end(self) -> None:
        """Leave nobody behind."""
        for process in self.processes:
            process.kill()
            process.wait(30)

    def feed(self, conn: psycopg.Connection[Any], enough: int) -> None:
        """Start runs until enough are open."""
        row = conn.execute("select count(*) from pgflow.runs where status = 'started'").fetchone()
        for _ in range(enough - (row[0] if row else 0)):
            number = len(self.runs)
            slug = CrewRouted.definition.slug if number % 4 == 3 else Crew.definition.slug
            fate = "doomed" if number % 7 == 5 and slug == Crew.definition.slug else "good"
            given = {"base": 7 * number, "fate": fate}
            run_id = uuid.uuid4()
            execute(conn, start_flows(slug, [json.dumps(given)], [run_id]))
            self.runs[run_id] = given | {"flow": slug}


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
        if any(codes):
            wrong.append(f"members that were asked to finish ended with {dict(zip(_names(deck), codes, strict=True))}")
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


def _names(deck: Deck) -> list[str]:
    return [member.name for member in deck.members]


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
    return dict(zip(_names(deck), kills, strict=True))


OPEN_WORK = """
select (select count(*) from pgflow.runs where status = 'started')
  + (select count(*) from pgmq.q_crew) + (select count(*) from pgmq.q_crewrouted__numbers)
  + (select count(*) from pgmq.q_crewrouted__each)
"""

AGE = """
update pgflow.step_tasks
set queued_at = queued_at - interval '60 s', started_at = started_at - interval '60 s'
where status = 'started' and started_at > clock_timestamp() - interval '30 s' and last_worker_id = any (%s)
"""


def _calm_down(
    deck: Deck, conn: psycopg.Connection[Any], *, wait: bool, tell: Callable[[str], None]
) -> tuple[float, list[str]]:
    """Wait until everything is worked off."""
    tell("calm")
    began = time.monotonic()
    most = 240.0 if wait else 40.0
    while time.monotonic() - began < most:
        if conn.execute(OPEN_WORK).fetchone() == (0,):
            return time.monotonic() - began, []
        if not wait:
            deck.age(conn)
        for place, process in enumerate(deck.processes):
            if process.poll() is not None:
                return time.monotonic() - began, [f"{deck.members[place].name} ended by itself"]
        time.sleep(0.1)
    return most, [f"no calm within {most:g} s"]
