"""The life of a worker as an operator sees it: signals, the database's wishes, heartbeats."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.cli.command import begin

if TYPE_CHECKING:
    import subprocess

FLOWS = """
import time

from pgflow_mp import Flow, map_step, step


class Sleep(Flow, max_attempts=1, timeout=600):
    @map_step
    def sleep(item):
        time.sleep(item)
        return item


class Hog(Flow, max_attempts=1, timeout=600):
    @map_step
    def hog(item):
        until = time.monotonic() + item
        while time.monotonic() < until:
            sum(range(100_000))
"""


class Operator:
    def __init__(self, folder, dsn, conn) -> None:
        self.folder, self.dsn, self.conn = folder, dsn, conn
        self.workers: list[subprocess.Popen[str]] = []

    def serve(self, *arguments: str) -> subprocess.Popen[str]:
        before = self.count("pgflow.workers")
        with (self.folder / "log").open("ab") as log:
            worker = begin("serve", "flows", "--dsn", self.dsn, *arguments, cwd=self.folder, stderr=log)
        self.workers.append(worker)
        self.wait(lambda: self.count("pgflow.workers") >= before + 2)
        return worker

    def count(self, what: str) -> int:
        try:
            return self.conn.execute(f"select count(*) from {what}").fetchone()[0]
        except psycopg.errors.UndefinedTable:
            return 0

    def started(self) -> int:
        return self.count("pgflow.step_tasks where status = 'started'")

    def wait(self, met, seconds: float = 30) -> float:
        began = time.monotonic()
        while not met():
            assert time.monotonic() - began < seconds, (self.folder / "log").read_text()
            time.sleep(0.02)
        return time.monotonic() - began


@pytest.fixture
def operator(tmp_path, pgflow_dsn, pgflow_conn):
    (tmp_path / "flows.py").write_text(FLOWS)
    operator = Operator(tmp_path, pgflow_dsn, pgflow_conn)
    yield operator
    for worker in operator.workers:
        worker.kill()
        worker.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("signals", [("TERM",), ("INT", "INT")])
def test_another_worker_has_the_unfinished_tasks_within_a_second_of_the_end_of_the_grace(operator, signals):
    """One signal and a short grace, or a second signal in a long one."""
    grace = "0.5" if len(signals) == 1 else "300"
    first = operator.serve("--processes", "2", "--grace", grace)
    operator.conn.execute("select pgflow.start_flow('sleep', '[300, 300]')")
    operator.wait(lambda: operator.started() == 2)
    holder = operator.conn.execute("select distinct last_worker_id from pgflow.step_tasks").fetchone()[0]
    operator.serve("--processes", "2")
    for number, name in enumerate(signals):
        if number:
            time.sleep(0.3)
        first.send_signal(getattr(signal, f"SIG{name}"))
    taken = operator.wait(
        lambda: (
            operator.count(
                f"pgflow.step_tasks where status = 'started' and attempts_count = 1 and last_worker_id <> '{holder}'"
            )
            == 2
        )
    )
    assert taken < 0.5 + 1 + 1  # the grace, the second, and what a busy machine takes
    assert first.wait(10) == 0


@pytest.mark.slow
@pytest.mark.parametrize("wish", ["update pgflow.workers set deprecated_at = now()", "delete from pgflow.workers"])
def test_a_worker_that_is_asked_to_finish_or_whose_row_is_gone_drains_and_exits_with_0(operator, wish):
    worker = operator.serve("--processes", "1")
    operator.conn.execute("select pgflow.start_flow('sleep', '[6]')")
    operator.wait(lambda: operator.started() == 1)
    operator.conn.execute(wish)
    operator.conn.execute("select pgflow.start_flow('sleep', '[0]')")
    assert worker.wait(20) == 0
    if wish.startswith("update"):
        assert operator.conn.execute("select status, count(*) from pgflow.runs group by 1 order by 1").fetchall() == [
            ("completed", 1),
            ("started", 1),
        ]
        assert operator.started() == 0


@pytest.mark.slow
def test_a_heart_beats_every_5_seconds_though_every_core_is_taken_by_more_children_than_there_are(operator):
    operator.serve("--processes", "6")
    operator.conn.execute("select pgflow.start_flow('hog', '[9, 9, 9, 9, 9, 9]')")
    operator.wait(lambda: operator.started() == 6)
    beats: set[object] = set()
    over = threading.Event()
    began = time.monotonic()
    while time.monotonic() - began < 9:
        beats.update(operator.conn.execute("select min(last_heartbeat_at) from pgflow.workers").fetchone())
        over.wait(0.05)
    times = sorted(beats)
    assert len(times) >= 2
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
    assert max(gaps) < 5, gaps


def test_a_worker_beside_one_that_died_takes_its_task_within_seconds(operator):
    """Recovery runs in every worker; on one machine death needs no proof by silence."""
    first = operator.serve("--processes", "1")
    operator.conn.execute("select pgflow.start_flow('sleep', '[300]')")
    operator.wait(lambda: operator.started() == 1)
    holder = operator.conn.execute("select last_worker_id from pgflow.step_tasks").fetchone()[0]
    operator.serve("--processes", "1")
    first.kill()
    taken = operator.wait(
        lambda: operator.count(f"pgflow.step_tasks where status = 'started' and last_worker_id <> '{holder}'") == 1
    )
    assert taken < 8
