"""`python -m tests.siblings.crew.foreign GENERATION [STEP]`: a replayed worker of another language, as a process.

Serves flow Crew, or one step of CrewRouted, until it is told to stop (SIGTERM) or killed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import psycopg

from tests.siblings.crew.flows import DSN_VARIABLE, MEMBER_VARIABLE, Crew, CrewRouted, work
from tests.siblings.generations import GENERATIONS
from tests.siblings.replay import Refused, Replayed


def perform(task: dict[str, Any]) -> Any:
    """Do a task; a root step that is no map has the run's input beside its own (core 4.3)."""
    given = task["input"] if task["flow_input"] is None else task["flow_input"]
    return work(task["flow_slug"], task["run_id"], task["step_slug"], task["task_index"], given)


def main(name: str, step: str | None = None) -> None:
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    (generation,) = (each for each in GENERATIONS if each.name == name)
    with psycopg.connect(os.environ[DSN_VARIABLE], autocommit=True) as conn:
        flow = CrewRouted if step else Crew
        worker_id = os.environ[MEMBER_VARIABLE].partition("#")[2]
        worker = Replayed(conn, generation, flow.definition, perform, step=step, worker_id=worker_id)
        worker.start_up()
        print(f"{name} is up", flush=True)
        while not stopping and not worker.told_to_stop:
            try:
                worker.poll()
            except Refused as error:  # of a poll or a claim: it goes on (generations SU-11)
                print(f"{name}: {error}", flush=True)
        worker.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
