"""Who is in a crew: our worker, replayed ones, the real SQL client; each a process that is killed and started anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgflow_mp.core.queries.runs import start_flows
from pgflow_mp.core.statement import execute
from tests.siblings.crew.flows import DSN_VARIABLE, MEMBER_VARIABLE, Crew, CrewRouted
from tests.siblings.generations import GENERATIONS
from tests.siblings.npm import connect, program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

__all__ = ["OURS", "Deck", "Member", "foreigners", "node"]

ROOT = Path(__file__).parents[3]

# Whether a worker holds a task: a foreigner by its id, ours by its process.
HOLDS = """
select exists (
  select from pgflow.step_tasks as t
  where t.status = 'started'
    and t.last_worker_id in (
      select %(id)s::uuid union all select o.worker_id from pgflow_mp.workers as o where o.pid = %(pid)s)
)
"""

AGE = """
update pgflow.step_tasks
set queued_at = queued_at - interval '60 s', started_at = started_at - interval '60 s'
where status = 'started' and started_at > clock_timestamp() - interval '30 s' and last_worker_id = any (%s)
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
class Deck:
    """The members that are up, and the runs."""

    dsn: str
    members: Sequence[Member]
    log: Any
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
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
        self.badges[place] = badge

    def holds_task(self, place: int, conn: psycopg.Connection[Any]) -> bool:
        """Whether the member of a place is in the middle of a task."""
        given = {"id": self.badges[place].partition("#")[2], "pid": self.processes[place].pid}
        return conn.execute(HOLDS, given).fetchone() == (True,)

    def kill(self, place: int) -> None:
        """Kill the member of a place with SIGKILL, and start it again."""
        assert self.processes[place].poll() is None, "who has ended by itself cannot be killed"
        self.killed.add(self.badges[place])
        self.processes[place].kill()
        self.processes[place].wait(30)
        self.start(place)

    def ended(self) -> list[str]:
        """Who has ended without being asked or killed."""
        return [
            f"{self.members[place].name} ended by itself with {process.returncode}"
            for place, process in enumerate(self.processes)
            if process.poll() is not None
        ]

    @property
    def names(self) -> list[str]:
        """What its members are called, in their order."""
        return [member.name for member in self.members]

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
