"""The schemas that tests take for those of others have the shape of their generation, and work.

Rules: generations 10 (fingerprints), 8.2 (calls), 2, 4, 5, 6, 7; core 2.10.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pgflow_mp import Flow, map_step, step
from tests.core import foreign
from tests.core.ask import column, rows, value

from .replay import Replay


@dataclass(frozen=True)
class Print:
    """A row of the table of fingerprints: arities of claim, compile and track, and what else tells it."""

    claims: list[int]
    compiles: list[int]
    tracks: list[int]
    cancels: bool
    others: frozenset[str] = frozenset()


QUEUES = frozenset({"steps.queue_name", "step_tasks.queue_name"})
FINGERPRINTS = {
    "0.8.1": Print([3], [], [], cancels=False),
    "0.14.1": Print([3], [3], [1], cancels=False, others=frozenset({"steps.when_unmet"})),
    "0.15.0": Print([3], [3], [2], cancels=False, others=frozenset({"steps.when_unmet"})),
    "0.15.1": Print([3], [3], [2], cancels=True, others=frozenset({"steps.when_unmet"})),
    "0.16.0": Print([3], [2], [2], cancels=True, others=frozenset({"steps.when_unmet"})),
    "0.17.0": Print([5], [4], [2], cancels=True, others=QUEUES | {"steps.when_unmet", "flows.queue_mode"}),
    "0.17.1": Print(
        [5], [4], [2], cancels=True, others=QUEUES | {"steps.when_unmet", "flows.queue_mode", "workers.pgflow_version"}
    ),
    "elixir 0.3": Print(
        [3], [3], [1], cancels=False, others=frozenset({"steps.when_unmet", "flows.flow_type", "attempts_count"})
    ),
    "elixir 0.4": Print(
        [4], [2], [2], cancels=True, others=QUEUES | {"steps.when_unmet", "flows.flow_type", "attempts_count"}
    ),
}

_ARITIES = """
select p.pronargs from pg_proc as p
where p.pronamespace = 'pgflow'::regnamespace and p.proname = %s
order by 1
"""
_OTHERS = """
select c.relname || '.' || a.attname
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
where c.relnamespace = 'pgflow'::regnamespace
  and (c.relname, a.attname) in (
    ('steps', 'when_unmet'), ('steps', 'queue_name'), ('step_tasks', 'queue_name'), ('flows', 'queue_mode'),
    ('flows', 'flow_type'), ('workers', 'pgflow_version')
  )
union all
select a.attname
from pg_attribute as a
where a.attrelid = 'pgflow.step_task_record'::regclass and a.attname = 'attempts_count'
"""


class Greet(Flow, slug="Greet"):
    """A map and a join; the slug has an upper-case letter."""

    @map_step
    def upper(item):
        return item.upper()

    @step
    def join(upper):
        return "".join(upper)


def work(task):
    return task["input"].upper() if task["step_slug"] == "upper" else "".join(task["input"]["upper"])


@pytest.fixture(params=foreign.EACH)
def name(request):
    return request.param


@pytest.fixture
def conn(foreign_db, name):
    return foreign_db(name)


def make_the_flow(conn, name):
    """0.8.1 has no compile call: migrations make its flows."""
    if name == foreign.NPM:
        conn.execute("select pgflow.create_flow('Greet')")
        conn.execute("select pgflow.add_step('Greet', 'upper', '{}', step_type => 'map')")
        conn.execute("select pgflow.add_step('Greet', 'join', '{upper}')")


def test_it_has_the_fingerprint_of_its_generation(conn, name):
    """generations 10; core 8.1 for 0.8.1."""
    found = Print(
        *(
            column(conn, _ARITIES, function)
            for function in ("start_tasks", "ensure_flow_compiled", "track_worker_function")
        ),
        cancels=value(
            conn,
            "select position('cancelled' in pg_get_constraintdef(oid)) > 0 from pg_constraint "
            "where conrelid = 'pgflow.step_tasks'::regclass and conname = 'valid_status'",
        ),
        others=frozenset(column(conn, _OTHERS)),
    )
    assert found == FINGERPRINTS[name]
    has_telemetry = value(conn, "select to_regnamespace('pgflow_telemetry') is not null")
    assert has_telemetry == (name == "0.17.1")
    assert value(conn, "select to_regnamespace('pgflow_mp') is null")


def test_its_task_rows_keep_the_status_in_the_sixth_place(conn, name):
    """generations 7.3; core 2.10: columns come in the order in which migrations added them."""
    names = column(
        conn,
        "select attname from pg_attribute where attrelid = 'pgflow.step_tasks'::regclass and attnum > 0 "
        "and not attisdropped order by attnum",
    )
    assert names[5] == "status"
    assert names.index("started_at") > names.index("failed_at")
    assert ("queue_name" in names) == (names[-1] == "queue_name")


def test_a_run_goes_to_its_end_by_the_calls_of_its_own_worker(conn, name):
    """generations 8.1, 8.2."""
    make_the_flow(conn, name)
    worker = Replay(conn, name, Greet.definition, work)
    answer = worker.start()
    assert name == foreign.NPM or answer["status"] == "compiled"
    run_id = value(conn, "select run_id from pgflow.start_flow(flow_slug => 'Greet', input => '[\"a\", \"b\"]')")
    assert [task["step_slug"] for task in worker.poll()] == ["upper", "upper"]
    assert worker.beat() is False
    assert [task["step_slug"] for task in worker.poll()] == ["join"]
    assert rows(conn, "select status, output from pgflow.runs where run_id = %s", run_id) == [
        ("completed", {"join": "AB"})
    ]
    assert rows(conn, "select * from pgmq.q_greet") == []
    again = Replay(conn, name, Greet.definition, work)
    assert (again.start() or {"status": "verified"})["status"] == "verified"


def test_a_failed_run_leaves_tasks_as_its_generation_does(conn, name):
    """core 4.5.2, subtlest 8: up to 0.15.0 as they were; generations TS-2: cancelled. Their messages are gone."""
    make_the_flow(conn, name)
    worker = Replay(conn, name, Greet.definition, work)
    worker.start()
    conn.execute("update pgflow.flows set opt_max_attempts = 1")
    run_id = value(conn, "select run_id from pgflow.start_flow(flow_slug => 'Greet', input => '[\"a\", \"b\"]')")
    assert sorted(task["task_index"] for task in worker.claim()) == [0, 1]
    conn.execute("select pgflow.fail_task(%s, 'upper', 0, 'no')", (run_id,))
    left = "cancelled" if FINGERPRINTS[name].cancels else "started"
    assert rows(conn, "select status from pgflow.step_tasks order by task_index") == [("failed",), (left,)]
    assert rows(conn, "select status from pgflow.runs") == [("failed",)]
    assert rows(conn, "select * from pgmq.q_greet") == []


def test_a_retry_waits_and_counts_its_attempts(conn, name):
    """core FT-5, FT-11, 3.2: the first waits 2 x base delay."""
    make_the_flow(conn, name)

    def fail(task):
        raise ValueError("no")

    worker = Replay(conn, name, Greet.definition, fail)
    worker.start()
    conn.execute("select pgflow.start_flow('Greet', '[\"a\"]')")
    assert len(worker.poll()) == 1
    assert rows(conn, "select status, attempts_count, error_message from pgflow.step_tasks") == [("queued", 1, "no")]
    waits = value(conn, "select extract(epoch from vt - clock_timestamp())::float from pgmq.q_greet")
    assert 5 < waits < 11
    conn.execute("update pgmq.q_greet set vt = clock_timestamp()")
    tasks = worker.claim()
    assert len(tasks) == 1
    assert tasks[0].get("attempts_count", 2) == 2


def test_a_claim_hides_its_messages_from_0_15_1_on(conn, name):
    """generations ST5-2, core 3.13.5."""
    make_the_flow(conn, name)
    worker = Replay(conn, name, Greet.definition, work)
    worker.start()
    conn.execute("select pgflow.start_flow('Greet', '[\"a\"]')")
    assert len(worker.claim()) == 1
    hidden = value(conn, "select extract(epoch from vt - clock_timestamp())::float from pgmq.q_greet")
    assert (hidden > 55) == FINGERPRINTS[name].cancels
