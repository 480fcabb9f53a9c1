"""What the database looks at to start, claim and settle: the same with much history as with none.

Counted by the server itself (pg_stat): a plan that scans a table, or that reads a whole index for one entry, shows
as rows that no task needs. Rules: issue 3 point 4; D-9, D-12 (core 3.13.8).
"""

import psycopg
import pytest

from benchmarks.history import bury

from .ask import rows
from .machine import Failure, Machine, map_of, single

HISTORY = 20_000

LOOKED_AT = """
select relname, coalesce(seq_scan, 0), coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
from pg_stat_user_tables
where schemaname = 'pgflow' and relname in ('runs', 'step_states', 'step_tasks')
   or schemaname = 'pgmq' and relname ~ '^q_'
"""


@pytest.fixture
def machine(pgflow_dsn):
    """On a database of its own: the counters are those of the whole database."""
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        if conn.info.server_version < 150000:
            pytest.skip("counters cannot be asked for at once before PostgreSQL 15")
        conn.execute("set plan_cache_mode = auto")
        machine = Machine(conn)
        machine.flow("f", options={"base_delay": 0}, only=single())
        machine.flow("chain", a=single(), b=single("a"), c=single("b"))
        machine.flow("wide", m=map_of())
        yield machine


class Counters:
    """What was looked at between two moments, by table: (sequential scans, rows)."""

    def __init__(self, conn):
        self.conn = conn
        self.before = self.read()

    def read(self):
        self.conn.execute("select pg_stat_force_next_flush()")
        return {name: (scans, seen) for name, scans, seen in rows(self.conn, LOOKED_AT)}

    def since(self):
        now = self.read()
        return {name: (now[name][0] - scans, now[name][1] - seen) for name, (scans, seen) in self.before.items()}


def work(machine, runs=10, size=100):
    """One batch of everything that workers and clients do all day."""
    machine.start_many("f", [{}] * runs)
    tasks = machine.claim("f", runs)
    machine.settle([(task, Failure("boom")) for task in tasks[: runs // 2]])
    machine.settle([(task, 1) for task in tasks[runs // 2 :]])
    machine.give_back(machine.claim("f", runs))
    machine.drain("f", lambda _: 1)
    machine.start_many("chain", [{}] * runs)
    machine.drain("chain", lambda _: 1)
    machine.start_many("wide", [list(range(size))])
    machine.drain("wide", lambda task: task.input)


def assert_looks_at_little(found, tasks):
    """No scan of a table of the flows, and some rows for each task."""
    for table, (scans, seen) in found.items():
        if not table.startswith("q_"):
            assert scans == 0, f"{table} was scanned {scans} times: {found}"
            assert seen <= 25 * tasks, f"{table}: {seen} rows for {tasks} tasks: {found}"


# 10 of f (5 of them twice and given back), 30 of chain, 100 of wide.
TASKS = 10 + 10 + 30 + 100


def test_history_is_not_looked_at(machine):
    """Plans made with the history there."""
    bury(machine.conn, "f", HISTORY)
    fresh = machine.another_session()
    with fresh.conn:
        counters = Counters(fresh.conn)
        work(fresh)
        assert_looks_at_little(counters.since(), TASKS)


def test_plans_made_on_empty_tables_stay_good(machine):
    """A worker's connection lives long: it has made its plans before there was anything."""
    for _ in range(8):
        work(machine, runs=2, size=3)
    other = machine.another_session()
    with other.conn:
        bury(other.conn, "f", HISTORY)
    counters = Counters(machine.conn)
    work(machine)
    assert_looks_at_little(counters.since(), TASKS)


def test_a_wide_map_costs_each_task_the_same(machine):
    """core 3.13.8: claims and settlements look at rows of their own, however many siblings there are."""
    seen = {}
    for size in (100, 2_000):
        machine.start_many("wide", [list(range(size))])
        counters = Counters(machine.conn)
        machine.settle([(task, task.input) for task in machine.claim("wide", 100)])
        seen[size] = counters.since()
        machine.drain("wide", lambda task: task.input)
    for table in ("runs", "step_states", "step_tasks"):
        few, many = seen[100][table], seen[2_000][table]
        assert many[0] == 0
        assert many[1] <= few[1] * 1.2 + 10, (table, seen)


def test_jobs_for_later_are_not_looked_at(machine):
    """A queue full of messages whose time has not come costs a claim nothing, and hides none whose time has."""
    rows(machine.conn, "select count(*) from pgflow_mp.enqueue('f', array_fill('{}'::jsonb, array[5000]), null, 3600)")
    machine.conn.execute("analyze pgmq.q_f")
    machine.start("f")
    counters = Counters(machine.conn)
    assert len(machine.claim("f", 10)) == 1
    assert counters.since()["q_f"][1] < 100


def test_recovery_does_not_look_at_history(machine):
    """It finds open tasks through the queues; also with plans made before there was a history."""
    machine.start_many("f", [{}] * 10)
    machine.claim("f", 5)
    for _ in range(8):
        machine.recover()
    other = machine.another_session()
    with other.conn:
        bury(other.conn, "f", HISTORY)
    counters = Counters(machine.conn)
    machine.recover()
    assert_looks_at_little(counters.since(), 10)


def test_plans_are_made_once(pgflow_conn):
    """What looks up by key has one good plan; making it anew for each call costs more than a single task's work."""
    planned = rows(
        pgflow_conn,
        "select proname, 'plan_cache_mode=force_generic_plan' = any(proconfig) from pg_proc "
        "where pronamespace = 'pgflow_mp'::regnamespace and 'enable_seqscan=off' = any(proconfig)",
    )
    assert len(planned) > 30
    assert [name for name, once in planned if not once] == []


@pytest.mark.own_core
def test_most_updates_are_heap_only(machine):
    """No index mentions what changes; the fillfactor leaves room for the first update of each row."""
    for _ in range(5):
        work(machine)
    machine.conn.execute("select pg_stat_force_next_flush()")
    (found,) = rows(
        machine.conn,
        "select sum(n_tup_hot_upd)::float8 / sum(n_tup_upd) from pg_stat_user_tables where schemaname = 'pgflow' "
        "and relname in ('runs', 'step_states', 'step_tasks')",
    )
    assert found[0] > 0.5
