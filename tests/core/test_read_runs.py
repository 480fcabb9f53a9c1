"""Reading runs and flows, also without any right on the tables. Rules: core 3.7, generations 7.1, D-11."""

import json
import uuid
from datetime import datetime

import psycopg
import pytest
from psycopg import conninfo

from pgflow_mp.core.queries.definitions import compile_flow, flow_exists, get_flow, list_flows
from pgflow_mp.core.statement import execute

from .ask import column, refusal, rows, value
from .test_define_shapes import shape, step


@pytest.fixture
def run(db):
    """A run of flow f (z, then map a over z) with z completed and a's second task failed, made by hand."""
    conn = db
    conn.execute("select pgflow.create_flow('f')")
    conn.execute("select pgflow.add_step('f', 'z')")
    conn.execute("select pgflow.add_step('f', 'a', array['z'], step_type => 'map')")
    run_id = value(
        conn, "insert into pgflow.runs (flow_slug, input, remaining_steps) values ('f', '[1]', 1) returning run_id"
    )
    conn.execute(
        "insert into pgflow.step_states (flow_slug, run_id, step_slug, status, remaining_tasks, initial_tasks, output) "
        "values ('f', %(run)s, 'a', 'started', 2, 2, null), ('f', %(run)s, 'z', 'completed', 0, 1, '{\"x\": null}')",
        {"run": run_id},
    )
    conn.execute(
        "insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, status, error_message, queue_name) "
        "values ('f', %(run)s, 'a', 1, 'failed', 'boom', 'f'), ('f', %(run)s, 'a', 0, 'queued', null, 'f'), "
        "('f', %(run)s, 'z', 0, 'completed', null, 'f')",
        {"run": run_id},
    )
    return run_id


class TestGetRunWithStates:
    def test_it_gives_the_run_and_its_states(self, db, run):
        """core 3.7.1: all columns of both tables."""
        found = value(db, "select pgflow.get_run_with_states(%s)", run)
        assert found["run"]["run_id"] == str(run)
        assert (found["run"]["input"], found["run"]["remaining_steps"]) == ([1], 1)
        assert [state["step_slug"] for state in found["steps"]] == ["z", "a"]
        assert found["steps"][0]["output"] == {"x": None}
        columns = column(
            db,
            "select attname from pg_attribute where attrelid = 'pgflow.step_states'::regclass and attnum > 0",
        )
        assert set(found["steps"][0]) == set(columns)

    def test_an_unknown_run_is_null(self, db):
        """core 3.7.1."""
        assert value(db, "select pgflow.get_run_with_states(%s)", uuid.uuid4()) is None

    def test_a_run_without_steps_has_an_empty_array(self, db):
        """core 3.7.1."""
        db.execute("select pgflow.create_flow('f')")
        run_id = value(db, "insert into pgflow.runs (flow_slug, input) values ('f', '{}') returning run_id")
        assert value(db, "select pgflow.get_run_with_states(%s)", run_id)["steps"] == []


class TestStartFlowWithStates:
    def test_it_starts_and_shows_the_started_roots(self, db):
        """core 3.7.2 [T]."""
        db.execute("select pgflow.create_flow('f')")
        db.execute("select pgflow.add_step('f', 'a')")
        db.execute("select pgflow.add_step('f', 'b', array['a'])")
        run_id = uuid.uuid4()
        found = value(db, "select pgflow.start_flow_with_states('f', '{\"x\": 1}', %s)", run_id)
        assert found["run"]["run_id"] == str(run_id)
        assert found["run"]["input"] == {"x": 1}
        assert {s["step_slug"]: s["status"] for s in found["steps"]} == {"a": "started", "b": "created"}

    def test_execute_alone_is_enough(self, pgflow_conn, pgflow_dsn):
        """core 3.7.3, D-11: a role with usage on the schema and nothing on the tables."""
        conn = pgflow_conn
        role = f"pgflow_client_{uuid.uuid4().hex[:8]}"
        conn.execute("select pgflow.create_flow('f')")
        conn.execute("select pgflow.add_step('f', 'a')")
        conn.execute(f"create role {role} login")
        try:
            conn.execute(f"grant usage on schema pgflow, pgflow_mp to {role}")
            with psycopg.connect(conninfo.make_conninfo(pgflow_dsn, user=role), autocommit=True) as client:
                started = value(client, "select pgflow.start_flow_with_states('f', '{}')")
                run_id = started["run"]["run_id"]
                assert value(client, "select pgflow.get_run_with_states(%s)", run_id)["run"]["status"] == "started"
                assert value(client, "select pgflow_mp.run_details(%s)", run_id)["tasks"][0]["status"] == "queued"
                assert execute(client, flow_exists("f")) is True
                assert [flow.slug for flow in execute(client, list_flows())] == ["f"]
                assert refusal(client, "select * from pgflow.runs")[0] == "42501"
        finally:
            conn.execute(f"drop owned by {role}")
            conn.execute(f"drop role {role}")


class TestRunDetails:
    def test_it_gives_run_steps_and_tasks_in_order(self, db, run):
        found = value(db, "select pgflow_mp.run_details(%s)", run)
        assert found["run"]["run_id"] == str(run)
        assert [(s["step_slug"], s["step_index"], s["step_type"]) for s in found["steps"]] == [
            ("z", 0, "single"),
            ("a", 1, "map"),
        ]
        assert [(t["step_slug"], t["task_index"], t["status"], t["error_message"]) for t in found["tasks"]] == [
            ("z", 0, "completed", None),
            ("a", 0, "queued", None),
            ("a", 1, "failed", "boom"),
        ]

    def test_an_unknown_run_is_null(self, db):
        assert value(db, "select pgflow_mp.run_details(%s)", uuid.uuid4()) is None

    def test_times_can_be_read_in_any_time_zone(self, db, run):
        db.execute("set timezone = 'Asia/Kathmandu'")
        found = value(db, "select pgflow_mp.run_details(%s)", run)
        expected = value(db, "select started_at from pgflow.runs")
        assert datetime.fromisoformat(found["run"]["started_at"]) == expected


class TestSmallReaders:
    @pytest.mark.own_core
    def test_inputs_and_outputs(self, db, run):
        """generations 7.1: get_flow_input, get_step_output return jsonb."""
        assert value(db, "select pgflow.get_flow_input(%s)", run) == [1]
        assert value(db, "select pgflow.get_flow_input(%s)", uuid.uuid4()) is None
        assert value(db, "select pgflow.get_step_output(%s, 'z')", run) == {"x": None}
        assert value(db, "select pgflow.get_step_output(%s, 'a')", run) is None
        assert rows(
            db,
            "select proname, prorettype::regtype::text from pg_proc "
            "where proname in ('get_flow_input', 'get_step_output', 'register_worker') order by 1",
        ) == [("get_flow_input", "jsonb"), ("get_step_output", "jsonb"), ("register_worker", "void")]

    def test_flow_exists_compares_exactly(self, db):
        """generations 7.1."""
        db.execute("select pgflow.create_flow('MyFlow')")
        found = [execute(db, flow_exists(slug)) for slug in ("MyFlow", "myflow", "nope")]
        assert found == [True, False, False]


class TestStoredFlows:
    def test_a_flow_is_read_with_its_steps(self, db):
        flow_shape = shape(
            step("b"),
            step("a"),
            step(
                "c",
                "b",
                "a",
                requiredInputPattern={"defined": True, "value": {"b": 1}},
                options={"maxAttempts": 1, "baseDelay": 2, "timeout": 3, "startDelay": 4},
            ),
            options={"timeout": 9},
        )
        execute(db, compile_flow("f", flow_shape))
        flow = execute(db, get_flow("f"))
        assert (flow.slug, flow.max_attempts, flow.base_delay, flow.timeout) == ("f", 3, 5, 9)
        assert (flow.queue_mode, flow.flow_type) == ("flow", "flow")
        assert [s.slug for s in flow.steps] == ["b", "a", "c"]
        last = flow.steps[2]
        assert (last.deps, last.step_type, last.when, last.unless) == (("b", "a"), "single", {"b": 1}, None)
        assert (last.max_attempts, last.base_delay, last.timeout, last.start_delay) == (1, 2, 3, 4)
        assert (last.when_unmet, last.when_exhausted, last.queue_name) == ("skip", "fail", "f")
        assert flow.steps[0].timeout is None

    def test_flows_are_listed_by_slug(self, db):
        assert execute(db, list_flows()) == []
        for slug in ("b", "C", "a"):
            db.execute("select pgflow.create_flow(%s)", [slug])
        assert [flow.slug for flow in execute(db, list_flows())] == ["C", "a", "b"]
        assert execute(db, get_flow("nope")) is None

    def test_a_row_factory_of_the_caller_changes_nothing(self, db):
        """A statement joins the caller's connection whatever that returns rows as."""
        db.row_factory = psycopg.rows.dict_row
        db.execute("select pgflow.create_flow('f')")
        assert execute(db, flow_exists("f")) is True
        assert json.dumps([flow.slug for flow in execute(db, list_flows())]) == '["f"]'
