"""Starting runs. Rules: core 3.6, 3.8, 4.2; decisions D-9, D-6."""

import time
import uuid

import pytest

from .ask import column, refusal, rows, value
from .machine import map_of, single

START = "select * from pgflow.start_flow(%s, %s::jsonb)"


class TestInput:
    @pytest.mark.parametrize(
        ("given", "kind"),
        [('{"a": 1}', "object"), ('"x"', "string"), ("1", "number"), ("true", "boolean"), ("null", "null")],
    )
    def test_a_root_map_wants_an_array(self, machine, given, kind):
        """core 3.6.1 [T]; JSON null is "got null"."""
        machine.flow("f", m=map_of())
        assert refusal(machine.conn, START, "f", given) == (
            "P0001",
            f"Flow f has root map steps but input is not an array (got {kind})",
        )

    def test_a_root_map_wants_some_input(self, machine):
        """core 3.6.1 [T]."""
        machine.flow("f", m=map_of())
        assert refusal(machine.conn, START, "f", None) == ("P0001", "Flow f has root map steps but input is NULL")

    def test_an_unknown_flow_is_refused_by_its_foreign_key(self, machine):
        """core 3.6.2."""
        state, message = refusal(machine.conn, START, "nobody", "{}")
        assert (state, "runs_flow_slug_fkey" in message) == ("23503", True)

    def test_no_input_is_refused_by_its_column(self, machine):
        """core 3.6.2."""
        machine.flow("f", a=single())
        assert refusal(machine.conn, START, "f", None)[0] == "23502"

    def test_a_used_id_is_refused(self, machine):
        """core 3.6.2."""
        machine.flow("f", a=single())
        run = machine.start("f")
        state, message = refusal(machine.conn, "select * from pgflow.start_flow('f', '{}', %s)", run)
        assert (state, "runs_pkey" in message) == ("23505", True)


class TestStartFlow:
    def test_it_writes_run_states_tasks_and_messages(self, machine):
        """core 3.6.2, 3.6.3 [T], 3.8.3 to 3.8.6, 4.1."""
        machine.flow("f", root=single(), leaf=single("root"), items=map_of("root"))
        run = machine.start("f", {"n": 1})
        assert machine.run(run) == ("started", None, 3)
        columns = ("status", "remaining_deps", "initial_tasks", "remaining_tasks", "started_at = created_at")
        assert machine.state(run, "root", *columns) == ("started", 0, 1, 1, True)
        assert machine.state(run, "leaf", *columns) == ("created", 1, 1, None, None)
        assert machine.state(run, "items", *columns) == ("created", 1, None, None, None)
        assert machine.task(run, "root", "status", "attempts_count", "started_at", "queue_name") == (
            "queued",
            0,
            None,
            "f",
        )
        assert value(machine.conn, "select message from pgmq.q_f") == {
            "flow_slug": "f",
            "run_id": str(run),
            "step_slug": "root",
            "task_index": 0,
        }

    def test_it_takes_named_arguments_and_the_given_id(self, machine):
        """core X-4 [T], 3.6.2, 3.6.7: exactly one row."""
        machine.flow("f", a=single())
        run = uuid.uuid4()
        sql = "select run_id, status from pgflow.start_flow(flow_slug => 'f', input => '{}', run_id => %s)"
        assert rows(machine.conn, sql, run) == [(run, "started")]

    def test_a_root_map_gets_a_task_for_each_element(self, machine):
        """core 3.6.3 [T], 4.2.1, 4.2.8."""
        machine.flow("f", m=map_of(), other=single())
        run = machine.start("f", [10, None, "x"])
        assert machine.state(run, "m", "initial_tasks", "remaining_tasks") == (3, 3)
        assert machine.tasks(run) == {"m": ["queued"] * 3, "other": ["queued"]}

    def test_messages_go_by_step_slug_then_index(self, machine):
        """core 3.8.5 [T]: not by step_index."""
        machine.flow("f", zeta=single(), m=map_of(), alpha=single())
        machine.start("f", [1, 2])
        assert machine.queued("f") == [("alpha", 0), ("m", 0), ("m", 1), ("zeta", 0)]

    def test_messages_keep_their_order_whatever_their_delays(self, machine):
        """core 3.8.4 [T], 3.8.5, 4.3: the delay is the step's, the same for all tasks of a map."""
        machine.flow("f", c=single(), b=map_of(start_delay=300), a=single(start_delay=5))
        run = machine.start("f", [1, 2])
        assert machine.queued("f") == [("a", 0), ("b", 0), ("b", 1), ("c", 0)]
        waits = [machine.visible_in(run, "a"), machine.visible_in(run, "b"), machine.visible_in(run, "b", 1)]
        assert [round(wait, -1) for wait in waits] == [0, 300, 300]
        assert waits[0] > 3
        assert machine.visible_in(run, "c") <= 0
        assert machine.state(run, "a", "status") == "started"

    def test_a_flow_without_steps_is_completed_at_once(self, machine):
        """core 3.6.7."""
        machine.flow("f")
        assert machine.run(machine.start("f")) == ("completed", None, 0)

    def test_a_run_of_empty_maps_is_completed_at_once(self, machine):
        """core 3.6.7, 4.2.6 [T]."""
        machine.flow("f", m=map_of(), n=map_of("m"))
        assert machine.run(machine.start("f", [])) == ("completed", {"n": []}, 0)
        assert machine.queued("f") == []

    def test_an_exception_leaves_nothing_behind(self, machine):
        """core 3.6.8 [T]: 50 chained empty maps are one round too many."""
        steps = {"s0": map_of()} | {f"s{i}": map_of(f"s{i - 1}") for i in range(1, 50)}
        machine.flow("f", **steps)
        assert refusal(machine.conn, START, "f", "[]") == (
            "P0001",
            "Cascade loop exceeded safety limit of 50 iterations",
        )
        assert value(machine.conn, "select count(*) from pgflow.runs") == 0

    def test_mixed_roots_take_the_long_way(self, machine):
        """core 3.6.6: an empty root map beside other roots; its child sees an empty array."""
        machine.flow("f", m=map_of(), s=single(), after=single("m"))
        run = machine.start("f", [])
        assert machine.steps(run) == {"m": "completed", "s": "started", "after": "started"}
        assert machine.queued("f") == [("after", 0), ("s", 0)]


class TestClocks:
    def test_times_are_those_of_the_transaction(self, machine):
        """core X-2: everything that one transaction does carries its time."""
        machine.flow("f", a=single(), b=single("a"))
        with machine.conn.transaction():
            run = machine.start("f")
            machine.conn.execute("select pg_sleep(0.01)")
            machine.drain("f")
        for table, times in (
            ("runs", "started_at, completed_at"),
            ("step_states", "created_at, started_at, completed_at"),
            ("step_tasks", "queued_at, started_at, completed_at"),
        ):
            sql = f"select count(distinct t) from pgflow.{table}, unnest(array[{times}]) as t where run_id = %s"
            assert value(machine.conn, sql, run) == 1

    @pytest.mark.own_core
    def test_a_transaction_that_began_earlier_may_settle(self, machine):
        """core X-3: a time is never before the one that it follows, whenever our transaction began."""
        machine.flow("f", a=single(max_attempts=1), m=map_of("a"), gone=single("a", when={"a": 1}))
        other = machine.another_session()
        with machine.conn.transaction():
            machine.conn.execute("select 1")
            run, violating, failing = (other.start("f") for _ in range(3))
            other.poll("f")
            assert machine.complete(run, "a", [1]) == "completed"
            assert machine.complete(violating, "a", 1) == "failed"
            assert machine.fail(failing, "a") == "failed"
        assert machine.steps(run) == {"a": "completed", "m": "started", "gone": "skipped"}
        other.conn.close()


class TestStartFlows:
    def test_a_thousand_runs_in_one_call(self, machine):
        """Issue: 1,000 runs started at once; ids ascend with the inputs, and so do the messages (D-9)."""
        machine.flow("f", a=single(), b=single("a"))
        runs = machine.start_many("f", list(range(1000)))
        assert runs == sorted(runs)
        assert column(machine.conn, "select input::int from unnest(%s::uuid[]) with ordinality as g (run_id, n) "
                      "join pgflow.runs using (run_id) order by n", runs) == list(range(1000))  # fmt: skip
        assert column(machine.conn, "select message ->> 'run_id' from pgmq.q_f order by msg_id") == [
            str(r) for r in runs
        ]
        claimed = machine.claim("f", 1000)
        assert [task.flow_input for task in claimed] == list(range(1000))
        machine.settle([(task, task.flow_input) for task in claimed])
        machine.drain("f", lambda task: task.input["a"] + 1, batch=500)
        assert column(machine.conn, "select (output ->> 'b')::int from pgflow.runs order by run_id") == list(
            range(1, 1001)
        )

    @pytest.mark.own_core
    def test_ids_are_of_version_seven(self, machine):
        """D-9: time-ordered, and valid UUIDs."""
        machine.flow("f", a=single())
        for run in [*machine.start_many("f", [{}, {}]), machine.start("f")]:
            assert (run.version, run.variant) == (7, uuid.RFC_4122)
            assert abs((run.int >> 80) / 1000 - time.time()) < 60

    def test_given_ids_are_used_and_missing_ones_made(self, machine):
        machine.flow("f", a=single())
        own = uuid.uuid4()
        first, second = machine.start_many("f", [1, 2], [own, None])
        assert first == own
        assert second.version == 7

    def test_no_input_starts_nothing(self, machine):
        machine.flow("f", a=single())
        assert machine.start_many("f", []) == []

    def test_one_bad_input_starts_nothing(self, machine):
        """core 3.6.1: the caller learns it before anything exists."""
        machine.flow("f", m=map_of())
        sql = "select * from pgflow_mp.start_flows('f', array['[1]', '{}']::jsonb[])"
        assert refusal(machine.conn, sql)[1] == "Flow f has root map steps but input is not an array (got object)"
        assert value(machine.conn, "select count(*) from pgflow.runs") == 0

    def test_a_run_over_the_limit_fails_alone(self, machine):
        """D-6: its neighbour in the same call is not touched."""
        steps = {"s0": map_of()} | {f"s{i}": map_of(f"s{i - 1}") for i in range(1, 50)}
        machine.flow("f", **steps)
        bad, good = machine.start_many("f", [[], [1]])
        assert machine.status(bad) == "failed"
        assert machine.status(good) == "started"
        assert machine.tasks(good) == {"s0": ["queued"]}

    def test_inputs_of_different_shape_go_in_one_call(self, machine):
        """An empty array completes its run, the others start."""
        machine.flow("f", m=map_of())
        runs = machine.start_many("f", [[1, 2], [], [3]])
        assert [machine.run(run)[:2] for run in runs] == [
            ("started", None),
            ("completed", {"m": []}),
            ("started", None),
        ]
        assert machine.queued("f") == [("m", 0), ("m", 1), ("m", 0)]


class TestStartReadySteps:
    def test_calling_it_again_is_harmless(self, machine):
        """core 3.8.8 [T]."""
        machine.flow("f", a=single(), b=single("a"))
        run = machine.start("f")
        before = machine.everything(run)
        machine.conn.execute("select pgflow.start_ready_steps(%s)", [run])
        assert machine.everything(run) == before
        assert machine.queued("f") == [("a", 0)]

    @pytest.mark.parametrize("status", ["completed", "failed"])
    def test_it_does_nothing_for_a_run_that_has_ended(self, machine, status):
        """core 3.8.1."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.conn.execute(
            "update pgflow.step_states set status = 'created', remaining_tasks = null, started_at = null"
        )
        machine.conn.execute(f"update pgflow.runs set status = '{status}', {status}_at = now()")
        machine.conn.execute("delete from pgflow.step_tasks")
        machine.conn.execute("select pgflow.start_ready_steps(%s)", [run])
        assert machine.steps(run) == {"a": "created"}

    def test_it_starts_what_is_ready_and_nothing_else(self, machine):
        """core 3.8.2, 3.8.7: no parents open, a known number of tasks above 0."""
        machine.flow("f", a=single(), b=single(), c=map_of("a"))
        run = machine.start("f")
        machine.conn.execute("delete from pgflow.step_tasks")
        machine.conn.execute(
            "update pgflow.step_states set status = 'created', remaining_tasks = null, started_at = null, "
            "initial_tasks = case step_slug when 'a' then 1 when 'b' then 0 end, remaining_deps = 0"
        )
        machine.conn.execute("select pgflow.start_ready_steps(%s)", [run])
        assert machine.steps(run) == {"a": "started", "b": "created", "c": "created"}

    def test_an_unknown_run_is_ignored(self, machine):
        machine.conn.execute("select pgflow.start_ready_steps(%s)", [uuid.uuid4()])


class TestMaybeCompleteRun:
    def test_it_completes_a_run_without_steps_left_once(self, machine):
        """core 3.12.1, 3.12.2."""
        machine.flow("f", a=single(), b=single("a"))
        run = machine.start("f")
        machine.conn.execute("select pgflow.maybe_complete_run(%s)", [run])
        assert machine.status(run) == "started"
        machine.conn.execute("update pgflow.runs set remaining_steps = 0")
        machine.conn.execute("select pgflow.maybe_complete_run(%s)", [run])
        assert machine.run(run) == ("completed", None, 0)
        ended = value(machine.conn, "select completed_at from pgflow.runs")
        machine.conn.execute("select pgflow.maybe_complete_run(%s)", [run])
        assert value(machine.conn, "select completed_at from pgflow.runs") == ended
