"""PgFlow, as application code uses it, without a worker."""

from __future__ import annotations

import threading
import uuid

import psycopg
import pytest

from pgflow_mp import (
    DatabaseUnreachable,
    Flow,
    FlowNotFound,
    InvalidInput,
    InvalidRunId,
    NotInstalled,
    NotPermitted,
    PgflowError,
    RunExists,
    RunFailed,
    RunNotFound,
    RunTimeout,
    ShapeMismatch,
    map_step,
    step,
)
from pgflow_mp.client import PgFlow
from pgflow_mp.engine import workoff
from pgflow_mp.ids import new_id


class Greet(Flow):
    """Greets."""

    @step
    def greeting(flow_input):
        return f"hello {flow_input['name']}"


class Lengths(Flow):
    """Needs an array."""

    @map_step
    def length(item):
        return len(item)


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn, flows=[Greet]) as app:
        app.compile(Greet)
        yield app


def work_off(conn, run_id):
    assert workoff.work_off(conn, [Greet.definition], [run_id], out_of_time=lambda: False).finished


def runs(conn):
    return conn.execute("select count(*) from pgflow.runs").fetchone()[0]


def test_making_one_does_no_io():
    PgFlow("host=/nowhere dbname=none").close()


def test_without_a_dsn_anywhere_it_says_where_one_may_stand(monkeypatch):
    monkeypatch.delenv("PGFLOW_DSN", raising=False)
    with pytest.raises(PgflowError, match="PGFLOW_DSN"):
        PgFlow()


def test_the_environment_may_name_the_database(pgflow_dsn, monkeypatch):
    monkeypatch.setenv("PGFLOW_DSN", pgflow_dsn)
    with PgFlow() as app:
        assert not app.flow_exists("greet")


def test_an_unreachable_database_is_one_sentence_at_once_and_never_shows_the_password(tmp_path):
    with (
        PgFlow(f"host={tmp_path} dbname=none password=secret") as app,
        pytest.raises(DatabaseUnreachable, match="dbname=none") as caught,
    ):
        app.flow_exists("greet")
    assert "secret" not in str(caught.value)


def test_a_dsn_that_cannot_be_read_is_one_sentence():
    with PgFlow("this is no dsn") as app, pytest.raises(DatabaseUnreachable, match="not valid"):
        app.flow_exists("greet")


def test_a_database_that_was_never_installed_names_the_command(empty_dsn):
    with PgFlow(empty_dsn) as app, pytest.raises(NotInstalled, match="pgflow-mp install"):
        app.compile(Greet)


@pytest.mark.parametrize("named", [Greet, Greet.definition, "greet"])
def test_a_flow_is_named_by_class_definition_or_slug(app, named):
    run = app.get_run(app.start_flow(named, {"name": "you"}))
    assert (run.flow_slug, run.status, run.input) == ("greet", "started", {"name": "you"})


def test_a_run_is_read_with_its_steps_and_tasks(app, pgflow_conn):
    run_id = app.start_flow(Greet, {"name": "you"})
    work_off(pgflow_conn, run_id)
    run = app.get_run_with_states(run_id)
    assert run.completed
    assert run.output == {"greeting": "hello you"}
    assert run.steps["greeting"].tasks[0].attempts == 1


def test_a_run_id_may_be_text(app):
    run_id = app.start_flow(Greet, {"name": "you"})
    assert app.get_run(str(run_id)).run_id == run_id


def test_run_ids_are_ordered_in_time_or_the_callers_own(app):
    assert app.start_flow(Greet).version == 7
    own = uuid.uuid4()
    assert app.start_flow(Greet, run_id=own) == own


def test_the_input_is_an_empty_object_by_default(app):
    assert app.get_run(app.start_flow(Greet)).input == {}


def test_none_is_json_null_and_not_left_out(app):
    assert app.get_run(app.start_flow(Greet, None)).input is None
    assert app.get_run(app.start_flows(Greet, [None])[0]).input is None


def test_a_role_without_rights_is_told_who_may(app, pgflow_dsn, pgflow_conn):
    role = f"pgflow_nobody_{uuid.uuid4().hex[:8]}"
    pgflow_conn.execute(f"create role {role}")
    try:
        with psycopg.connect(pgflow_dsn) as conn:
            conn.execute(f"set role {role}")
            with pytest.raises(NotPermitted, match=r"compiling flow `lengths` is not permitted.*pgflow-mp compile"):
                app.compile(Lengths, conn=conn)
            conn.rollback()
            conn.execute(f"set role {role}")
            with pytest.raises(NotPermitted, match="deleting flow `greet`"):
                app.delete_flow(Greet, conn=conn)
    finally:
        pgflow_conn.execute(f"drop role {role}")
    assert app.flow_exists(Greet)


def test_start_flow_never_compiles(app, pgflow_conn):
    with pytest.raises(FlowNotFound, match=r"lengths.*pgflow-mp compile"):
        app.start_flow(Lengths, [])
    assert not app.flow_exists(Lengths)
    assert runs(pgflow_conn) == 0


def test_a_map_over_something_that_is_no_array_is_refused_and_starts_nothing(app, pgflow_conn):
    app.compile(Lengths)
    with pytest.raises(InvalidInput, match="array"):
        app.start_flows(Lengths, [["a"], {"no": "array"}])
    assert runs(pgflow_conn) == 0


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), {1: "a"}, "\x00", object()])
def test_an_input_that_is_no_json_is_refused(app, pgflow_conn, value):
    with pytest.raises(InvalidInput):
        app.start_flow(Greet, {"name": value})
    assert runs(pgflow_conn) == 0


def test_unknown_and_malformed_run_ids_are_told_apart(app):
    with pytest.raises(RunNotFound, match="there is no run"):
        app.get_run(uuid.uuid4())
    with pytest.raises(RunNotFound):
        app.get_run_with_states(uuid.uuid4())
    with pytest.raises(InvalidRunId, match="'seven'"):
        app.get_run("seven")


def test_a_thousand_runs_start_in_one_call(app, pgflow_conn):
    ids = app.start_flows(Greet, [{"name": str(n)} for n in range(1000)])
    assert len(set(ids)) == 1000
    assert app.get_run(ids[123]).input == {"name": "123"}
    assert runs(pgflow_conn) == 1000


def test_a_run_exists_if_and_only_if_the_callers_transaction_commits(app, pgflow_dsn, pgflow_conn):
    with psycopg.connect(pgflow_dsn) as conn:
        lost = app.start_flow(Greet, conn=conn)
        assert app.get_run(lost, conn=conn).run_id == lost
        conn.rollback()
        kept = app.start_flow(Greet, conn=conn)
        with pytest.raises(RunNotFound):
            app.get_run(kept)
        conn.commit()
    assert app.get_run(kept).run_id == kept
    assert runs(pgflow_conn) == 1


def test_compiling_and_deleting_join_a_transaction_too(app, pgflow_dsn):
    with psycopg.connect(pgflow_dsn) as conn:
        app.compile(Lengths, conn=conn)
        app.delete_flow(Greet, conn=conn)
        assert app.flow_exists(Lengths, conn=conn)
        conn.rollback()
    assert not app.flow_exists(Lengths)
    assert app.flow_exists(Greet)


def test_waiting_inside_a_transaction_is_refused(app, pgflow_conn):
    with pytest.raises(PgflowError, match="commit"):
        app.start_flow_sync(Greet, conn=pgflow_conn)
    assert runs(pgflow_conn) == 0


def test_a_waiting_call_hears_of_the_end_without_waiting_for_its_poll(app, pgflow_dsn):
    """The poll interval is longer than the timeout: only the notification can end the wait."""

    def work() -> None:
        with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
            while not (found := conn.execute("select run_id from pgflow.runs").fetchone()):
                pass
            work_off(conn, found[0])

    worker = threading.Thread(target=work)
    worker.start()
    run = app.start_flow_sync(Greet, {"name": "you"}, timeout=20, poll_interval=60)
    worker.join(20)
    assert run.output == {"greeting": "hello you"}


def test_a_run_that_was_started_before_is_waited_for(app, pgflow_dsn, pgflow_conn):
    run_id = app.start_flow(Greet, {"name": "you"})
    with pytest.raises(RunTimeout):
        app.wait_for_run(run_id, timeout=0)
    worker = threading.Timer(0.1, lambda: work_off(pgflow_conn, run_id))
    worker.start()
    assert app.wait_for_run(str(run_id), timeout=20, poll_interval=60).output == {"greeting": "hello you"}
    worker.join(20)
    assert app.wait_for_run(run_id, timeout=0).steps["greeting"].completed, "it has ended already"
    with pytest.raises(RunNotFound):
        app.wait_for_run(uuid.uuid4())
    with pytest.raises(RunFailed, match="Run cancelled"):
        app.wait_for_run(app.cancel_run(app.start_flow(Greet)).run_id)


def test_waiting_with_a_key_waits_for_the_run_of_the_key(app, pgflow_conn):
    run_id = app.start_flow(Greet, {"name": "you"}, idempotency_key="once")
    work_off(pgflow_conn, run_id)
    assert app.start_flow_sync(Greet, idempotency_key="once", poll_interval=0.01).run_id == run_id
    assert runs(pgflow_conn) == 1


def test_a_wait_whose_connection_is_lost_is_one_sentence_that_names_the_run(app, pgflow_conn):
    cut = threading.Timer(0.3, cut_waits, [pgflow_conn])
    cut.start()
    with pytest.raises(DatabaseUnreachable, match=r"lost while waiting for run .*, which goes on"):
        app.start_flow_sync(Greet, timeout=20, poll_interval=60)
    cut.join(20)


def cut_waits(conn):
    conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and application_name = 'pgflow-mp wait'"
    )


def test_a_call_that_waited_in_vain_leaves_its_connection_usable(app, pgflow_conn):
    for _ in range(3):
        with pytest.raises(RunTimeout):
            app.start_flow_sync(Greet, {"name": "you"}, timeout=0.05)
    listening = pgflow_conn.execute(
        "select count(*) from pg_stat_activity "
        "where datname = current_database() and application_name = 'pgflow-mp wait'"
    ).fetchone()
    assert listening == (1,)


def test_connections_that_the_server_closed_are_replaced(app, pgflow_conn):
    with pytest.raises(RunTimeout):
        app.start_flow_sync(Greet, timeout=0.05)
    pgflow_conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    assert app.flow_exists(Greet)
    with pytest.raises(RunTimeout):
        app.start_flow_sync(Greet, timeout=0.05)


def test_compiling_again_verifies(app):
    assert app.compile(Greet).status == "verified"


@pytest.mark.own_core
def test_changed_options_are_updated_in_place(app):
    class Slower(Flow, slug="greet", timeout=120):
        @step(max_attempts=9)
        def greeting(flow_input): ...

    run_id = app.start_flow(Greet)
    compiled = app.compile(Slower)
    assert compiled.status == "verified"
    assert len(compiled.options_changed) == 2
    assert app.get_run(run_id).status == "started"


def test_another_shape_is_refused_with_the_differences_and_changes_nothing(app):
    class Other(Flow, slug="greet"):
        @step
        def greeting(flow_input): ...

        @step
        def farewell(greeting): ...

    run_id = app.start_flow(Greet)
    with pytest.raises(ShapeMismatch) as mismatch:
        app.compile(Other)
    assert mismatch.value.slug == "greet"
    assert any("farewell" in difference for difference in mismatch.value.differences)
    assert app.get_run(run_id).status == "started"
    assert app.compile(Other, recompile=True).status == "recompiled"
    with pytest.raises(RunNotFound):
        app.get_run(run_id)


def test_deleting_a_flow_takes_its_runs_along(app):
    run_id = app.start_flow(Greet)
    app.delete_flow("greet")
    assert not app.flow_exists("greet")
    with pytest.raises(RunNotFound):
        app.get_run(run_id)
    with pytest.raises(FlowNotFound, match="nothing was deleted"):
        app.delete_flow("greet")


def test_an_id_that_a_run_has_already_is_told_and_starts_nothing(app, pgflow_conn):
    run_id = app.start_flow(Greet)
    with pytest.raises(RunExists, match=f"there is a run {run_id} already"):
        app.start_flows(Greet, [{}, {}], run_ids=[uuid.uuid4(), run_id])
    with pytest.raises(InvalidInput, match="1 run ids were given for 2 inputs"):
        app.start_flows(Greet, [{}, {}], run_ids=[uuid.uuid4()])
    with pytest.raises(InvalidRunId, match="'mine' is no run id"):
        app.start_flow(Greet, run_id="mine")
    assert runs(pgflow_conn) == 1


def test_inputs_ids_and_keys_may_be_anything_that_can_be_gone_through_once(app, pgflow_conn):
    wanted = [new_id() for _ in range(3)]
    keys = ["a", "b", None]
    assert (
        app.start_flows(Greet, ({"n": n} for n in range(3)), run_ids=iter(wanted), idempotency_keys=iter(keys))
        == wanted
    )
    assert [app.get_run(run_id).input for run_id in wanted] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert len(app.enqueue_many(Greet, ({} for _ in range(2)))) == 2
    assert runs(pgflow_conn) == 5


@pytest.mark.parametrize(
    "given",
    [
        {"inputs": {"name": "Ada"}},
        {"inputs": "Ada"},
        {"inputs": 7},
        {"inputs": [{}, {}], "idempotency_keys": "ab"},
        {"inputs": [{}], "run_ids": uuid.UUID(int=1)},
    ],
)
@pytest.mark.parametrize("operation", ["start_flows", "enqueue_many"])
def test_one_value_does_not_pass_for_many(operation, given):
    with PgFlow("dbname=none") as app, pytest.raises(InvalidInput, match=f"{list(given)[-1]} takes a list"):
        getattr(app, operation)(Greet, **given)


def test_a_connection_that_is_lost_under_way_is_one_sentence(app, pgflow_dsn, pgflow_conn):
    with psycopg.connect(pgflow_dsn) as conn:
        pgflow_conn.execute("select pg_terminate_backend(%s)", (conn.info.backend_pid,))
        with pytest.raises(DatabaseUnreachable, match="was lost while starting flow `greet` was under way"):
            app.start_flow(Greet, conn=conn)


def test_the_flows_that_it_was_made_with_are_listed_and_found(app):
    assert app.list_flows() == [Greet.definition]
    assert app.get_flow("greet") is app.get_flow(Greet)
    with pytest.raises(FlowNotFound, match="known: greet"):
        app.get_flow("lengths")


def test_it_tells_which_contract_it_fulfils():
    assert PgFlow.core_version() == "0.17.1"


def test_threads_share_one_object(app, pgflow_conn):
    def start() -> None:
        for _ in range(20):
            app.start_flow(Greet)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert runs(pgflow_conn) == 160


def test_starting_a_flow_whose_queue_was_dropped_names_the_queue_and_what_makes_it_again(app, pgflow_conn):
    pgflow_conn.execute("drop table pgmq.q_greet")
    with pytest.raises(PgflowError, match=r"starting flow `greet` .* pgmq\.q_greet of queue `greet` .* compile MODULE"):
        app.start_flow(Greet, {"name": "Ada"})
    assert app.compile(Greet).queues_restored == ("greet",)
    app.start_flow(Greet, {"name": "Ada"})
