"""Taking over the schema of every other core: what is there afterwards, and that nothing of the work is lost.

Issue 8 point 6; generations SU-10, 9.3, TS-6.
"""

from __future__ import annotations

import copy
import re
import threading
import time
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from pgflow_mp import PgFlow
from pgflow_mp.core import scripts
from pgflow_mp.core.adopt import Plan, adopt
from pgflow_mp.core.adopt.known import BESIDE
from pgflow_mp.core.install import install
from pgflow_mp.engine.workoff import work_off
from pgflow_mp.errors import InstallError
from tests.core import foreign
from tests.core.ask import column, rows, value
from tests.core.foreign.replay import Replay

from .crowd import Crowd, Order, fill, flow_of, output_of

QUICK = ("0.14.1",)
each = pytest.mark.parametrize(
    "generation",
    [
        foreign.EACH[0],
        *(name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in foreign.BUILT),
    ],
)
DATA = {
    "runs": "select to_jsonb(r) from pgflow.runs as r order by run_id",
    "step_states": "select to_jsonb(s) from pgflow.step_states as s order by run_id, step_slug",
    "step_tasks": "select to_jsonb(t) from pgflow.step_tasks as t order by run_id, step_slug, task_index",
    "flows": "select to_jsonb(f) from pgflow.flows as f order by flow_slug",
    "steps": "select to_jsonb(s) from pgflow.steps as s order by flow_slug, step_slug",
    "workers": "select to_jsonb(w) from pgflow.workers as w order by worker_id",
    "messages": "select to_jsonb(q) from pgmq.q_order as q order by msg_id",
    "archive": "select to_jsonb(a) from pgmq.a_order as a order by msg_id",
}
SCHEMAS = ("pgflow", "pgflow_mp", "pgmq")


def connect(dsn):
    """Without prepared statements: what becomes of those is another matter (docs/operating.md)."""
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


class Copies:
    """Databases that are copies of others; all are dropped at the end."""

    def __init__(self, server_dsn):
        self._server_dsn = server_dsn
        self._made = []

    def of(self, dsn):
        name = f"{conninfo_to_dict(dsn)['dbname']}_{len(self._made)}"
        with connect(self._server_dsn) as admin:
            admin.execute(f"create database {name} template {conninfo_to_dict(dsn)['dbname']}")
        self._made.append(name)
        return make_conninfo(dsn, dbname=name)

    def drop(self):
        with connect(self._server_dsn) as admin:
            for name in self._made:
                admin.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def copies(server_dsn):
    copies = Copies(server_dsn)
    yield copies
    copies.drop()


@pytest.fixture(scope="module")
def filled(_foreign_databases):
    """`filled(generation)`: the DSN of a database full of runs, not to be changed, and what is known of them."""
    made = {}

    def get(generation):
        if generation not in made:
            dsn = _foreign_databases.create(generation)
            with connect(dsn) as conn:
                crowd = fill(conn, generation)
                if generation == foreign.NPM:  # these must be stopped before: see the obstacles
                    conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '1 day'")
            made[generation] = dsn, crowd
        return made[generation]

    yield get
    for dsn, _ in made.values():
        _foreign_databases.drop(dsn)


@dataclass(frozen=True)
class Adopted:
    """A filled database that was adopted; not to be changed either.

    Attributes:
        before: Its objects and its rows at first.
        between: The same after a dry run.
        dry: The plan of the dry run.
        done: The plan that was carried out.
    """

    dsn: str
    crowd: Crowd
    before: object
    between: object
    dry: Plan
    done: Plan


@pytest.fixture(scope="module")
def adopted(filled, copies):
    """`adopted(generation)`."""
    made = {}

    def get(generation):
        if generation not in made:
            dsn, crowd = filled(generation)
            place = copies.of(dsn)
            with connect(place) as conn:
                before = everything(conn)
                dry = adopt(conn)
                between = everything(conn)
                made[generation] = Adopted(place, crowd, before, between, dry, adopt(conn, carry_out=True))
        return made[generation]

    return get


@pytest.fixture
def again(adopted, copies):
    """`again(generation)`: the crowd in a fresh copy of the adopted database."""
    connections = []

    def get(generation):
        from_ = adopted(generation)
        connections.append(connect(copies.of(from_.dsn)))
        return moved(from_.crowd, connections[-1])

    yield get
    for connection in connections:
        connection.close()


def moved(crowd, conn):
    worker = Replay(conn, crowd.generation, flow_of(crowd.generation).definition, output_of)
    worker.take_over(crowd.worker)
    return replace(crowd, conn=conn, worker=worker, held=[*crowd.held], expected={**crowd.expected})


def data_of(conn):
    return {name: [row for (row,) in rows(conn, query)] for name, query in DATA.items()}


def everything(conn):
    return foreign.catalog(conn, SCHEMAS), data_of(conn)


def picture(conn):
    """Every object, but for what may differ: places of columns, ids, parentheses in what Postgres has read again.

    Rights on the schema itself are kept as they were.

    The triggers of a foreign key have an id in their name; the foreign keys themselves are looked at.
    """
    made = {}
    for (kind, name), definition in foreign.catalog(conn, ("pgflow", "pgflow_mp")).items():
        if "pg.dropped" in name or "RI_ConstraintTrigger" in name or kind == "schema":
            continue
        if kind in ("column", "function"):  # the place; the id
            definition = definition.partition(" ")[2]
        made[kind, name] = re.sub("[()]", "", definition) if kind == "constraint" else definition
    return made


def different(found, fresh):
    """What an adopted schema has otherwise than a fresh one, but for functions that no core is known to have.

    Those are parts of what the tests built, and stay.
    """
    both = {key: (found.get(key), fresh.get(key)) for key in found.keys() | fresh.keys()}
    return {
        (kind, name): texts
        for (kind, name), texts in both.items()
        if texts[0] != texts[1] and not (kind == "function" and texts[1] is None and name.startswith("pgflow._"))
    }


@pytest.fixture(scope="module")
def fresh(server_dsn, _pgflow_databases):
    """The picture of a fresh install on the same platform: with its event service."""
    dsn = _pgflow_databases.create(empty=True)
    with connect(dsn) as conn:
        conn.execute(foreign.platform())
        install(conn)
        made = picture(conn)
    _pgflow_databases.drop(dsn)
    return made


@each
def test_an_adopted_schema_is_what_a_fresh_install_makes(adopted, fresh, generation):
    """Columns may stand elsewhere; functions that no core of the family has by name stay, and are left out here."""
    with connect(adopted(generation).dsn) as conn:
        found = picture(conn)
        lines = install(conn)
    assert different(found, fresh) == {}
    assert all(line.endswith("nothing to do") for line in lines), lines


@each
def test_a_dry_run_changes_nothing_and_says_what_an_adoption_does(adopted, generation):
    found = adopted(generation)
    assert found.dry.obstacles == ()
    assert not found.dry.done
    assert found.between == found.before
    assert found.done == replace(found.dry, done=True)
    reports = [note for note in found.dry.notes if "end that with: select pgflow_telemetry.disable()" in note]
    assert len(reports) == (generation == "0.17.1")


@each
def test_an_adoption_keeps_every_row_and_every_message(adopted, generation):
    """Old columns hold what they held; open tasks of what has ended become what they are (generations TS-6)."""
    found = adopted(generation)
    _, before = copy.deepcopy(found.before)
    with connect(found.dsn) as conn:
        after = data_of(conn)
    failed = {run["run_id"] for run in after["runs"] if run["status"] == "failed"}
    skipped = {(s["run_id"], s["step_slug"]) for s in after["step_states"] if s["status"] == "skipped"}
    for task in before["step_tasks"]:
        if task["status"] in ("queued", "started"):
            if (task["run_id"], task["step_slug"]) in skipped:
                task["status"] = "skipped"
            elif task["run_id"] in failed:
                task["status"] = "cancelled"
    for name, rows_before in before.items():
        kept = rows_before[0].keys() if rows_before else ()
        assert [{key: row[key] for key in kept} for row in after[name]] == rows_before, name
    assert {task["queue_name"] for task in after["step_tasks"]} == {"order"}
    assert {step["queue_name"] for step in after["steps"]} == {"order"}
    for state in after["step_states"]:
        if state["status"] == "completed":
            without = state["step_slug"] == "total" and (state["run_id"], "price") in skipped
            assert (state["output"] is None) == without, state


@each
@pytest.mark.parametrize(
    "who",
    [
        pytest.param(Crowd.old_worker_finishes, marks=pytest.mark.slow),
        pytest.param(Crowd.our_worker_finishes, marks=pytest.mark.slow),
        Crowd.both_finish,
    ],
)
def test_every_run_ends_right(again, generation, who):
    """By the calls of the old worker, which is in the middle of tasks; by ours, when that is gone; by both at once."""
    crowd = again(generation)
    who(crowd)
    assert crowd.ends() == crowd.expected
    assert rows(crowd.conn, "select t.* from pgflow.step_tasks as t where t.status in ('queued', 'started')") == []
    assert rows(crowd.conn, "select message from pgmq.q_order") == []


@pytest.mark.slow
@pytest.mark.parametrize("generation", foreign.BUILT)  # 0.8.1: its workers look for the run's input elsewhere
def test_a_worker_of_the_old_generation_starts_up_and_works(again, generation):
    crowd = again(generation)
    crowd.old_worker_finishes()
    worker = Replay(crowd.conn, generation, flow_of(generation).definition, output_of)
    assert worker.start()["status"] == "verified"
    run_id = crowd.start([4], ("completed", {"total": 40, "later": 1, "audit": "seen"}))
    crowd.until_ended(worker.poll)
    assert crowd.ends()[run_id] == crowd.expected[run_id]
    assert worker.beat() is False
    worker.stop()


@pytest.mark.slow
def test_a_flow_with_a_queue_for_each_step_goes_on(foreign_dsn):
    """generations 5: its tasks keep their queues; the worker of a step claims and completes as before."""
    with connect(foreign_dsn("0.17.0")) as conn:
        shape, routes = Jsonb(Order.definition.shape()), [f"order__{step.slug}" for step in Order.definition.steps]
        conn.execute("select pgflow.ensure_flow_compiled('Order', %s, 'step', null)", (shape,))
        run_id = value(conn, "select run_id from pgflow.start_flow('Order', '{\"items\": [5]}')")
        worker = uuid.uuid4()
        conn.execute("insert into pgflow.workers values (%s, 'order__fetch', 'replayed')", (worker,))
        claim = "select step_slug from pgflow.start_tasks('Order', '{1}', %s, %s, %s)"
        assert column(conn, claim, worker, "order__fetch", "fetch") == ["fetch"]
        assert adopt(conn, carry_out=True).done
        assert column(conn, "select queue_name from pgflow.steps order by step_index") == routes
        conn.execute("select pgflow.complete_task(%s, 'fetch', 0, '[5]')", (run_id,))
        assert column(conn, claim, worker, "order__price", "price") == ["price"]
        conn.execute("select pgflow.complete_task(%s, 'price', 0, '50')", (run_id,))
        work_off(conn, [Order.definition], [run_id], out_of_time=lambda: False)
        ends = "completed", {"total": 50, "later": 1, "audit": "seen"}
        assert rows(conn, "select status, output from pgflow.runs") == [ends]


@pytest.mark.parametrize("generation", [foreign.EACH[0]])
def test_workers_that_look_for_the_run_s_input_elsewhere_must_stop_first(filled, copies, generation):
    """core 8.2: the key `run` went away with 0.12."""
    with connect(copies.of(filled(generation)[0])) as conn:
        conn.execute("update pgflow.workers set last_heartbeat_at = now()")
        plan = adopt(conn, carry_out=True)
        assert not plan.done
        assert [said.partition(";")[0] for said in plan.obstacles] == [
            "1 worker is alive, of before 0.12: they look for the run's input in a key of the task's input"
        ]
        conn.execute("update pgflow.workers set deprecated_at = now()")
        assert adopt(conn).obstacles == ()


class Shift(threading.Thread):
    """The old worker, polling on a connection of its own until it is told to stop; it survives errors, as they do."""

    def __init__(self, dsn, crowd):
        super().__init__()
        self._dsn, self._crowd = dsn, crowd
        self._over = threading.Event()
        self.errors = []

    def run(self):
        with connect(self._dsn) as conn:
            worker = moved(self._crowd, conn).worker
            while not self._over.is_set() and len(self.errors) < 50:
                for task in self.survive(worker.claim) or ():
                    self.survive(worker.report, task)

    def survive(self, call, *given):
        try:
            return call(*given)
        except psycopg.Error as error:
            self.errors.append(error)

    def stop(self):
        self._over.set()
        self.join(30)
        assert not self.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["0.14.1", "elixir 0.4"])
def test_workers_that_never_stop_lose_nothing(filled, copies, generation):
    """Two old workers poll, claim and complete all the while; runs are started before, during and after.

    A call of theirs that has begun in an old function while rows get another column fails, once; what it would have
    reported is recovered by timeout, as after the death of a worker.
    """
    dsn, crowd = filled(generation)
    dsn = copies.of(dsn)
    with connect(dsn) as conn:
        crowd = moved(crowd, conn)
        for task in crowd.held:
            crowd.worker.report(task)
        shifts = [Shift(dsn, crowd) for _ in range(2)]
        adopting = threading.Thread(target=adopt, args=(dsn,), kwargs={"carry_out": True, "patience": 60})
        for thread in (*shifts, adopting):
            thread.start()
        started = 0
        while adopting.is_alive() or started < 30:
            crowd.start([started, 2, 3], ("completed", {"total": 10 * (started + 5), "later": 3, "audit": "seen"}))
            started += 1
            time.sleep(0.02)
        adopting.join()
        assert adopt(conn).is_ours

        def recover():
            time.sleep(0.5)
            conn.execute(
                "update pgflow.step_tasks set queued_at = queued_at - interval '1 day', "
                "started_at = started_at - interval '1 day' "
                "where status = 'started' and started_at < clock_timestamp() - interval '3 seconds'"
            )
            conn.execute("select pgflow.requeue_stalled_tasks()")

        try:
            crowd.until_ended(recover)
        finally:
            for shift in shifts:
                shift.stop()
        errors = [error for shift in shifts for error in shift.errors]
        assert all(isinstance(error, psycopg.errors.DatatypeMismatch) for error in errors), errors
        assert len(errors) <= 2 * len(shifts)
        assert crowd.ends() == crowd.expected
        assert rows(conn, "select message from pgmq.q_order") == []


@pytest.mark.slow
@pytest.mark.parametrize("generation", [foreign.EACH[0], "0.14.1", "0.17.1", "elixir 0.4"])
def test_what_pgflow_mp_kept_beside_stays(filled, copies, fresh, generation):
    dsn, crowd = filled(generation)
    dsn = copies.of(dsn)
    install(dsn)
    with connect(dsn) as conn, PgFlow(dsn) as app:
        crowd = moved(crowd, conn)
        run_id = app.start_flow("Order", {"items": [7]}, idempotency_key="seven")
        crowd.expected[run_id] = "completed", {"total": 70, "later": 1, "audit": "seen"}
        app.schedule("Order", {"items": []}, cron="0 3 * * *", name="nightly")
        app.pause_flow("Order")
        app.upsert_flow("plain", [{"slug": "only", "handler": "fetch"}])
        app.set_retention(timedelta(days=90))
        conn.execute("insert into pgflow_mp.runs (run_id) values (gen_random_uuid())")  # of a run that somebody deleted
        if generation == foreign.NPM:
            conn.execute(
                "insert into pgflow_mp.task_requeues select run_id, step_slug, task_index, 2, now() "
                "from pgflow.step_tasks where status = 'started' limit 1"
            )
        schedules, keep, paused = app.list_schedules(), app.get_retention(), app.paused_flows()

        with conn.transaction(force_rollback=True):
            conn.execute("update pgflow_mp.installed set version = 9999")
            with pytest.raises(InstallError, match="a later pgflow-mp installed"):
                adopt(conn)
        plan = adopt(conn, carry_out=True)
        assert plan.done, plan.obstacles
        assert [change.text for change in plan.changes if "whose row in" in change.text]
        assert different(picture(conn), fresh) == {}
        assert value(conn, "select mode from pgflow_mp.installed") == "own"
        assert all(line.endswith("nothing to do") for line in install(conn))

        assert app.start_flow("Order", {"items": [7]}, idempotency_key="seven") == run_id
        assert (app.list_schedules(), app.get_retention()) == (schedules, keep)
        assert app.paused_flows() == paused
        assert app.flow_exists("plain")
        requeued = value(conn, "select count(*) from pgflow.step_tasks where requeued_count = 2")
        assert requeued == (generation == foreign.NPM)
        app.resume_flow("Order")
        crowd.both_finish()
        assert crowd.ends() == crowd.expected


def test_every_table_of_an_install_beside_is_carried_over_or_known():
    """Who adds one says here what becomes of its rows."""
    beside = {
        table
        for _, parts in scripts.migrations(scripts.root(), beside=True)
        for script in parts
        if script.name.endswith(".beside.sql")
        for table in re.findall(r"create table (\S+)", script.sql)
    }
    assert beside == BESIDE
