"""Worker bookkeeping. Rules: core 5.1, C-7, 4.7; generations 1.2, 3.4, 7.1, SU-7, D-3."""

import json
import threading
import uuid

import psycopg
import pytest

from pgflow_mp.core.queries.workers import Process, heartbeat, mark_workers_stopped, register_workers
from pgflow_mp.core.statement import execute

from .ask import column, refusal, rows, value
from .test_define_shapes import shape, step

HERE = Process(host="box", boot_id="b1", pid=42, pid_namespace="ns", started="777")


@pytest.fixture
def flows(db):
    for slug in ("MyFlow", "other"):
        db.execute("select pgflow.create_flow(%s)", [slug])
    return db


def register(conn, workers, **more):
    execute(conn, register_workers(workers, **{"function_name": "py:app", "process": HERE, "version": "1.2", **more}))


def functions(conn):
    return rows(conn, "select function_name, start_mode, enabled, last_invoked_at from pgflow.worker_functions")


class TestTracking:
    def test_a_function_is_noted_with_its_mode(self, db):
        """core WK-1; generations 1.2.1, SU-6: one argument means http, the last caller decides."""
        db.execute("select pgflow.track_worker_function('fn')")
        assert functions(db) == [("fn", "http", True, None)]
        db.execute("select pgflow.track_worker_function('fn', 'process')")
        assert functions(db) == [("fn", "process", True, None)]
        db.execute("select pgflow.track_worker_function('fn')")
        assert functions(db) == [("fn", "http", True, None)]

    def test_tracking_again_only_touches_mode_and_time(self, db):
        """core WK-1 [T]; generations 1.2.1 [T]."""
        conn = db
        conn.execute("select pgflow.track_worker_function('fn')")
        conn.execute(
            "update pgflow.worker_functions set enabled = false, debounce = '9 s', last_invoked_at = 'epoch', "
            "created_at = 'epoch', updated_at = 'epoch'"
        )
        conn.execute("select pgflow.track_worker_function('fn')")
        assert rows(
            conn,
            "select enabled, debounce = '9 s', last_invoked_at = 'epoch', created_at = 'epoch', "
            "updated_at > clock_timestamp() - interval '1 minute' from pgflow.worker_functions",
        ) == [(False, True, True, True, True)]

    def test_a_bad_mode_is_refused(self, db):
        """generations 1.2.2 [T]."""
        state, message = refusal(db, "select pgflow.track_worker_function('fn', 'fax')")
        assert (state, "worker_functions_start_mode_check" in message) == ("23514", True)
        assert refusal(db, "select pgflow.track_worker_function('fn', null)")[0] == "23502"

    def test_there_is_one_function_for_one_and_two_arguments(self, db):
        """generations 7.2.1, 9.1, 9.2 row 5."""
        assert value(db, "select to_regprocedure('pgflow.track_worker_function(text,text)')")
        assert value(db, "select to_regprocedure('pgflow.track_worker_function(text)')") is None


class TestSingleWorker:
    def test_registering_again_renews_the_row(self, db):
        """generations 7.1: upsert by position, refreshes the heartbeat; a deprecation stays."""
        conn, worker = db, uuid.uuid4()
        conn.execute("select * from pgflow.register_worker(%s, 'q', 'fn')", [worker])
        conn.execute("update pgflow.workers set last_heartbeat_at = 'epoch', stopped_at = now(), deprecated_at = now()")
        conn.execute("select * from pgflow.register_worker(%s, 'q2', 'fn2')", [worker])
        assert rows(
            conn,
            "select queue_name, function_name, stopped_at, deprecated_at is not null, "
            "last_heartbeat_at > clock_timestamp() - interval '1 minute' from pgflow.workers",
        ) == [("q2", "fn2", None, True, True)]

    def test_stopping_is_noted_now(self, db):
        """core WK-2 [T]: recent within 1 s; X-2: clock time, not the transaction's; unknown id: nothing."""
        conn, worker = db, uuid.uuid4()
        conn.execute("select pgflow.register_worker(%s, 'q', 'fn')", [worker])
        with conn.transaction():
            conn.execute("select pg_sleep(0.02)")
            conn.execute("select pgflow.mark_worker_stopped(%s)", [worker])
            conn.execute("select pgflow.mark_worker_stopped(%s)", [uuid.uuid4()])
            recent = "stopped_at > now() and clock_timestamp() - stopped_at < interval '1 s'"
            assert rows(conn, f"select {recent} from pgflow.workers") == [(True,)]

    def test_a_plain_insert_and_update_is_enough(self, db):
        """core WK-3, WK-4, generations 8.2: workers of other languages write the rows themselves."""
        conn, worker = db, uuid.uuid4()
        conn.execute(
            "insert into pgflow.workers (queue_name, worker_id, function_name, pgflow_version) "
            "values ('q', %s, 'f', '1')",
            [worker],
        )
        beat = (
            "update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = %s "
            "returning deprecated_at is not null"
        )
        assert rows(conn, beat, worker) == [(False,)]
        conn.execute("update pgflow.workers set deprecated_at = now() where function_name = 'f'")
        assert rows(conn, beat, worker) == [(True,)]


class TestOurWorkers:
    def test_a_process_registers_a_worker_for_each_flow(self, flows):
        """core 4.7.1; generations 8.2: queue_name = lower(slug); 1.2.4: tracked as a process; D-3."""
        first, second = uuid.uuid4(), uuid.uuid4()
        register(flows, {"MyFlow": first, "other": second})
        assert set(rows(flows, "select worker_id, queue_name, function_name, pgflow_version from pgflow.workers")) == {
            (first, "myflow", "py:app", None),
            (second, "other", "py:app", None),
        }
        ours = rows(
            flows,
            "select worker_id, host, boot_id, pid, pid_namespace, process_started, version from pgflow_mp.workers",
        )
        assert set(ours) == {(w, "box", "b1", 42, "ns", "777", "1.2") for w in (first, second)}
        assert functions(flows) == [("py:app", "process", True, None)]

    def test_registering_again_renews_both_rows(self, flows):
        worker = uuid.uuid4()
        register(flows, {"MyFlow": worker})
        flows.execute("update pgflow.workers set stopped_at = now()")
        register(flows, {"MyFlow": worker}, process=Process(host="box2", pid=1), version="1.3")
        assert rows(flows, "select stopped_at from pgflow.workers") == [(None,)]
        columns = "host, boot_id, pid, pid_namespace, process_started, version"
        assert rows(flows, f"select {columns} from pgflow_mp.workers") == [("box2", None, 1, None, None, "1.3")]

    def test_an_unknown_flow_registers_nobody(self, flows):
        unknown = pytest.raises(psycopg.errors.ForeignKeyViolation, match='flow "nope" does not exist')
        with unknown, flows.transaction():
            register(flows, {"MyFlow": uuid.uuid4(), "nope": uuid.uuid4()})
        assert rows(flows, "select * from pgflow.workers") == []
        assert functions(flows) == []

    def test_a_worker_of_a_step_has_the_queue_of_the_step(self, db):
        """generations 8.2, SM-7: queue_name = the route."""
        conn = db
        conn.execute(
            "select pgflow._create_flow_from_shape('f', %s, 'step')",
            [json.dumps(shape(step("a"), step("b")))],
        )
        conn.execute(
            "select pgflow_mp.register_workers(array[gen_random_uuid(), gen_random_uuid()], array['f', 'f'], 'fn', "
            "'h', null, 1, null, null, '1', step_slugs => array['b', null])"
        )
        assert sorted(column(conn, "select queue_name from pgflow.workers")) == ["f__a", "f__b"]

    def test_a_beat_answers_for_every_worker(self, flows):
        """core 4.7.2, WK-4; generations 3.4, SU-7: a missing row means deprecated."""
        alive, old, missing = (uuid.uuid4() for _ in range(3))
        register(flows, {"MyFlow": alive, "other": old})
        flows.execute("update pgflow.workers set last_heartbeat_at = 'epoch'")
        flows.execute("update pgflow.workers set deprecated_at = now() where worker_id = %s", [old])
        assert execute(flows, heartbeat([alive, old, missing])) == {alive: False, old: True, missing: True}
        assert rows(flows, "select bool_and(last_heartbeat_at > now() - interval '1 minute') from pgflow.workers") == [
            (True,)
        ]
        assert execute(flows, heartbeat([])) == {}

    def test_a_beat_never_waits_for_a_claim(self, pgflow_conn, pgflow_dsn):
        """core C-7: a task that references the worker holds a lock that a beat is compatible with."""
        worker = uuid.uuid4()
        pgflow_conn.execute("select pgflow.register_worker(%s, 'q', 'fn')", [worker])
        with psycopg.connect(pgflow_dsn) as claimer:
            claimer.execute("select from pgflow.workers where worker_id = %s for key share", [worker])
            pgflow_conn.execute("set lock_timeout = '2 s'")
            assert execute(pgflow_conn, heartbeat([worker])) == {worker: False}

    def test_beats_for_the_same_workers_at_once_do_not_deadlock(self, pgflow_conn, pgflow_dsn):
        """D-2: rows are locked in one order."""
        ids = [uuid.uuid4() for _ in range(20)]
        for worker in ids:
            pgflow_conn.execute("select pgflow.register_worker(%s, 'q', 'fn')", [worker])
        errors = []

        def beat(order):
            try:
                with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
                    for _ in range(30):
                        execute(conn, heartbeat(order))
            except psycopg.Error as error:
                errors.append(error)

        threads = [threading.Thread(target=beat, args=(order,)) for order in (ids, ids[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []

    def test_several_workers_stop_at_once(self, flows):
        """core WK-2."""
        ids = {"MyFlow": uuid.uuid4(), "other": uuid.uuid4()}
        register(flows, ids)
        execute(flows, mark_workers_stopped([*ids.values(), uuid.uuid4()]))
        assert column(flows, "select stopped_at is not null from pgflow.workers") == [True, True]
