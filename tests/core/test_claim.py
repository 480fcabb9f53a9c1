"""Claiming tasks. Rules: core 3.13, X-3, A-1, A-2; generations 2.6, 5.8, QI-4, SU-2, SU-4; decisions D-1, D-2."""

import uuid
from dataclasses import replace

import pytest

from .ask import column, refusal, rows, value
from .machine import Failure, map_of, single


@pytest.fixture
def two_steps(machine):
    """A flow a -> b with two runs."""
    machine.flow("f", a=single(), b=single("a"))
    return machine.start_many("f", [{"n": 1}, {"n": 2}])


class TestInputs:
    def test_a_root_single_gets_the_run_input_beside_an_empty_input(self, machine):
        """core 3.13.3 [T], 3.13.4: no `run` key."""
        machine.flow("f", a=single())
        machine.start("f", {"n": 1})
        (task,) = machine.claim("f")
        assert (task.input, task.flow_input) == ({}, {"n": 1})

    def test_a_dependent_single_gets_its_parents_outputs(self, machine):
        """core 3.13.3 [T]: completed parents by slug, SQL NULL as JSON null, skipped ones absent; no flow_input."""
        machine.flow("f", a=single(), b=single(), gone=single(when={"x": 1}), c=single("a", "b", "gone"))
        machine.start("f")
        machine.settle([(task, None if task.step == "b" else [1]) for task in machine.claim("f")])
        (task,) = machine.claim("f")
        assert (task.input, task.flow_input) == ({"a": [1], "b": None}, None)

    def test_with_all_parents_skipped_the_input_is_empty(self, machine):
        """core 3.13.3."""
        machine.flow("f", a=single(when={"x": 1}), b=single("a"))
        machine.start("f")
        assert [(task.step, task.input) for task in machine.claim("f")] == [("b", {})]

    def test_a_root_map_gets_raw_elements(self, machine):
        """core 3.13.3 [T]: of any JSON type."""
        elements = [1, "x", None, {"a": [1]}, [], False]
        machine.flow("f", m=map_of())
        machine.start("f", elements)
        assert [(task.index, task.input, task.flow_input) for task in machine.claim("f")] == [
            (index, element, None) for index, element in enumerate(elements)
        ]
        assert column(machine.conn, "select input from pgflow_mp.claim_tasks('{f}', array[%s::uuid], '{1}')",
                      machine.worker) == []  # fmt: skip

    def test_a_null_element_is_json_null_and_not_sql_null(self, machine):
        """core 3.13.3."""
        machine.flow("f", m=map_of())
        machine.start("f", [None])
        sql = "select input = 'null' from pgflow_mp.claim_tasks('{f}', array[%s::uuid], '{1}')"
        assert value(machine.conn, sql, machine.worker) is True

    def test_a_dependent_map_gets_elements_of_its_parent(self, machine):
        """core 3.13.3 [T], 4.2.7: of a single parent's array and of a map parent's outputs."""
        machine.flow("f", a=single(), m=map_of("a"), n=map_of("m"))
        machine.start("f")
        machine.settle([(task, [1, 2]) for task in machine.claim("f")])
        tasks = machine.claim("f")
        assert [task.input for task in tasks] == [1, 2]
        machine.settle([(task, {"got": task.input}) for task in tasks])
        assert [task.input for task in machine.claim("f")] == [{"got": 1}, {"got": 2}]

    def test_a_batch_of_mixed_steps_gets_each_its_own(self, machine):
        machine.flow("f", m=map_of(), s=single())
        machine.start_many("f", [[1, 2], [3]])
        got = [(task.step, task.index, task.input, task.flow_input) for task in machine.claim("f")]
        assert got == [
            ("m", 0, 1, None),
            ("m", 1, 2, None),
            ("s", 0, {}, [1, 2]),
            ("m", 0, 3, None),
            ("s", 0, {}, [3]),
        ]


class TestStartTasks:
    @pytest.mark.own_core
    def test_it_starts_what_was_read(self, machine, two_steps):
        """core 3.13.2, 4.1, subtle point 1; generations 9.1: three arguments, eight columns."""
        found = machine.poll("f")
        assert [list(row) for row in found[:1]] == [
            ["flow_slug", "run_id", "step_slug", "input", "msg_id", "task_index", "flow_input", "attempts_count"]
        ]
        assert [(row["run_id"], row["flow_input"], row["attempts_count"]) for row in found] == [
            (two_steps[0], {"n": 1}, 1),
            (two_steps[1], {"n": 2}, 1),
        ]
        columns = ("status", "attempts_count", "last_worker_id", "started_at >= queued_at")
        assert machine.task(two_steps[0], "a", *columns) == ("started", 1, machine.worker, True)

    @pytest.mark.usefixtures("two_steps")
    def test_no_ids_no_rows(self, machine):
        """core 3.13.1 [T]."""
        assert machine.start_tasks("f", None) == []
        assert machine.start_tasks("f", []) == []
        assert machine.start_tasks("f", [10**9]) == []

    @pytest.mark.parametrize(
        "obstacle",
        [
            "update pgflow.step_tasks set status = 'completed', completed_at = now()",
            "update pgflow.runs set status = 'failed', failed_at = now()",
            "update pgflow.runs set status = 'completed', completed_at = now()",
            "update pgflow.step_states set status = 'skipped', skip_reason = 'x', remaining_tasks = null",
        ],
    )
    @pytest.mark.usefixtures("two_steps")
    def test_task_run_and_step_must_be_open(self, machine, obstacle):
        """core 3.13.1 [T], 3.13.7, subtle point 8: the messages stay as they are."""
        machine.conn.execute(obstacle)
        assert machine.poll("f") == []
        assert machine.claim("f") == []
        assert len(machine.queued("f")) == 2
        assert value(machine.conn, "select sum(attempts_count) from pgflow.step_tasks") == 0

    @pytest.mark.own_core
    @pytest.mark.usefixtures("two_steps")
    def test_an_unknown_worker_is_refused_and_none_is_accepted(self, machine):
        """core 3.13.2: 23503 by step_tasks_last_worker_id_fkey."""
        ids = machine.read("f")
        sql = "select * from pgflow.start_tasks('f', %s::bigint[], %s::uuid)"
        state, message = refusal(machine.conn, sql, ids, uuid.uuid4())
        assert (state, "step_tasks_last_worker_id_fkey" in message) == ("23503", True)
        assert len(machine.start_tasks("f", ids, worker=None)) == 2

    def test_the_message_is_hidden_for_the_effective_timeout(self, machine):
        """core 3.13.5, A-1; generations ST5-2 [T]: the step's timeout, else the flow's, and 2 seconds."""
        machine.flow("f", options={"timeout": 50}, a=single(timeout=300), b=single())
        run = machine.start("f")
        assert {task["step_slug"] for task in machine.poll("f")} == {"a", "b"}
        assert 295 < machine.visible_in(run, "a") <= 302
        assert 45 < machine.visible_in(run, "b") <= 52

    def test_a_second_start_of_the_same_message_does_nothing(self, machine, two_steps):
        """core A-2, ST-9; generations ST5-1 [T], ST5-4 [T]: no row, no attempt, no change of visibility."""
        ids = machine.read("f")
        assert len(machine.start_tasks("f", ids)) == 2
        machine.conn.execute("update pgmq.q_f set vt = now()")
        before = rows(machine.conn, "select * from pgmq.q_f order by 1")
        assert machine.start_tasks("f", ids) == []
        assert rows(machine.conn, "select * from pgmq.q_f order by 1") == before
        assert machine.task(two_steps[0], "a", "attempts_count") == 1

    @pytest.mark.usefixtures("two_steps")
    def test_an_id_given_twice_is_one_id(self, machine):
        """core 3.13.1, 3.13.3: one row per task; generations ST5-3 counts tasks, not ids."""
        first, second = machine.read("f")
        started = machine.start_tasks("f", [first, second, first, 10**9, 10**9])
        assert sorted(task["msg_id"] for task in started) == [first, second]

    @pytest.mark.own_core
    def test_a_missing_message_fails_the_whole_claim(self, machine, two_steps):
        """generations ST5-3 [T]: 22P02 and this text; everything is rolled back."""
        ids = machine.read("f")
        machine.conn.execute("select pgmq.archive('f', %s::bigint)", [ids[0]])
        assert refusal(machine.conn, "select * from pgflow.start_tasks('f', %s::bigint[], null)", ids) == (
            "22P02",
            'invalid input syntax for type integer: "start_tasks(): visibility updated 1 of 2 claimed messages"',
        )
        assert machine.tasks(two_steps[1]) == {"a": ["queued"]}

    @pytest.mark.own_core
    @pytest.mark.usefixtures("two_steps")
    def test_a_missing_queue_is_named(self, machine):
        """generations ST5-3."""
        ids = machine.read("f")
        with machine.conn.transaction(force_rollback=True):
            machine.conn.execute("drop table pgmq.q_f")
            assert refusal(machine.conn, "select * from pgflow.start_tasks('f', %s::bigint[], null)", ids) == (
                "42P01",
                'relation "pgmq.q_f" does not exist',
            )

    @pytest.mark.usefixtures("two_steps")
    def test_ids_of_another_flow_match_nothing(self, machine):
        """core Q-4, generations QI-4: a message id says nothing without its queue."""
        machine.flow("g", a=single())
        run = machine.start("g")
        ids = machine.read("f")
        sql = "select run_id from pgflow.start_tasks('g', %s::bigint[], null, 'g')"
        assert set(column(machine.conn, sql, ids)) <= {run}
        assert column(machine.conn, "select run_id from pgflow.start_tasks('g', %s::bigint[], null, 'f')", ids) == []

    @pytest.mark.own_core
    def test_the_queue_name_is_compared_in_lower_case(self, machine):
        """generations SU-2, QI-1."""
        machine.flow("MixedCase", a=single())
        run = machine.start("MixedCase")
        assert machine.task(run, "a", "queue_name") == "mixedcase"
        ids = machine.read("mixedcase")
        sql = "select step_slug from pgflow.start_tasks('MixedCase', %s::bigint[], null, queue_name => 'MixedCase')"
        assert column(machine.conn, sql, ids) == ["a"]

    @pytest.mark.own_core
    @pytest.mark.parametrize("arguments", ["", ", 'f'", ", 'F'", ", 'f', null"])
    def test_every_form_of_the_call_does_the_same(self, machine, arguments):
        """generations SU-1: a claim that returns what it started, hides it, and fails when a message is missing."""
        machine.flow("f", options={"timeout": 40}, a=single())
        run, other = machine.start_many("f", [1, 2])
        ids = machine.read("f")
        call = f"select run_id, flow_input, attempts_count from pgflow.start_tasks('f', %s::bigint[], null{arguments})"
        assert rows(machine.conn, call, ids[:1]) == [(run, 1, 1)]
        assert 35 < machine.visible_in(run, "a") <= 42
        assert rows(machine.conn, call, ids[:1]) == []
        machine.conn.execute("select pgmq.archive('f', %s::bigint)", [ids[1]])
        assert refusal(machine.conn, call, ids)[0] == "22P02"
        assert machine.tasks(other) == {"a": ["queued"]}

    def test_columns_of_queues_are_found_by_name(self, machine):
        """core Q-5: pgmq has moved and added some."""
        machine.flow("f", options={"base_delay": 0}, a=single())
        run = machine.start("f")
        machine.conn.execute(
            "alter table pgmq.q_f drop column read_ct, add column another int default 1, "
            "add column read_ct int not null default 0"
        )
        (task,) = machine.claim("f")
        machine.settle([(task, Failure("boom"))])
        machine.give_back(machine.claim("f"))
        ids = [task.message for task in machine.claim("f")]
        moved = rows(machine.conn, "select read_ct, message from pgflow.set_vt_batch('f', %s, array[3])", ids)
        assert moved[0][0] == 3
        assert moved[0][1]["step_slug"] == "a"
        machine.complete(run, "a", 1)
        assert machine.status(run) == "completed"

    @pytest.mark.own_core
    @pytest.mark.usefixtures("two_steps")
    def test_all_call_forms_resolve(self, machine):
        """generations 9.1, 9.2 rows 3 and 4; D-1: 3, 4 and 5 arguments, named, positional and untyped."""
        for call in (
            "flow_slug => 'f', msg_ids => '{}'::bigint[], worker_id => null::uuid",
            "flow_slug => 'f', msg_ids => '{}'::bigint[], worker_id => null::uuid, queue_name => 'f'::text",
            "flow_slug => 'f', msg_ids => '{}', worker_id => null, queue_name => 'f', step_slug => null::text",
            "'f', '{}', null",
            "'f', '{}', null, 'f'",
            "'f', '{}', null, 'f', null",
        ):
            assert rows(machine.conn, f"select * from pgflow.start_tasks({call})") == []
        signatures = "select to_regprocedure('pgflow.start_tasks(text,bigint[],uuid{})')"
        assert value(machine.conn, signatures.format("")) is None
        assert value(machine.conn, signatures.format(",text")) is not None
        assert value(machine.conn, signatures.format(",text,text")) is not None


class TestStepQueues:
    @pytest.fixture
    def stepped(self, machine):
        machine.conn.execute(
            "select pgflow._create_flow_from_shape('f', "
            """'{"steps": [{"slug": "a"}, {"slug": "b", "dependencies": ["a"]}]}', 'step')"""
        )
        return machine

    @pytest.mark.own_core
    def test_a_step_is_claimed_from_its_own_queue(self, stepped):
        """generations SM-5, SM-6, QI-2."""
        run = stepped.start("f")
        assert stepped.task(run, "a", "queue_name") == "f__a"
        sql = "select step_slug from pgflow.start_tasks('f', %s::bigint[], null, 'f__a', 'a')"
        assert column(stepped.conn, sql, stepped.read("f__a")) == ["a"]

    @pytest.mark.own_core
    def test_wrong_selectors_are_refused(self, stepped):
        """generations SM-5 [T], SU-4."""
        sql = "select * from pgflow.start_tasks('f', '{1}', null, %s, %s)"
        assert refusal(stepped.conn, "select * from pgflow.start_tasks('f', '{1}', null)") == (
            "P0001",
            'Flow "f" uses per-step queues: an exact step_slug is required to claim tasks.',
        )
        assert refusal(stepped.conn, sql, "f__b", "a") == (
            "P0001",
            'Step "a" does not route to queue "f__b" in flow "f".',
        )
        assert refusal(stepped.conn, sql, None, "a")[0] == "P0001"
        stepped.flow("g", a=single())
        assert refusal(stepped.conn, "select * from pgflow.start_tasks('g', '{1}', null, 'g', 'a')") == (
            "P0001",
            'Flow "g" uses the default flow queue: a step selector is not allowed.',
        )
        assert rows(stepped.conn, "select * from pgflow.start_tasks('nobody', '{1}', null, 'f', 'a')") == []

    @pytest.mark.own_core
    def test_our_claim_takes_all_queues_of_the_flow_later_steps_first(self, stepped):
        """A run under way ends before a new one begins."""
        first = stepped.start("f")
        stepped.settle([(task, 1) for task in stepped.claim("f")])
        stepped.start_many("f", [1, 2])
        assert [(task.step, task.run == first) for task in stepped.claim("f", 2)] == [("b", True), ("a", False)]
        assert [task.step for task in stepped.claim("f")] == ["a"]


class TestClaimTasks:
    def test_many_flows_in_one_call_share_the_room(self, machine):
        """Each claimed task takes its share of the room, 1 / quantity of its flow; an unknown flow gives nothing."""
        for slug in ("f", "g"):
            machine.flow(slug, a=single())
            machine.start_many(slug, [1, 2, 3])
        other = machine.register()
        sql = "select flow_slug, flow_input from pgflow_mp.claim_tasks('{f,no,g}', array[%s,%s,%s]::uuid[], %s::int[])"
        workers = (machine.worker, machine.worker, other)
        assert rows(machine.conn, sql, *workers, [2, 5, 1]) == [("f", 1), ("f", 2)]
        assert rows(machine.conn, sql, *workers, [2, 5, 4]) == [("f", 3), ("g", 1), ("g", 2)]
        sql = "select distinct last_worker_id from pgflow.step_tasks where status = 'started' and flow_slug = %s"
        assert column(machine.conn, sql, "g") == [other]

    @pytest.mark.parametrize("quantity", [0, -1, None])
    @pytest.mark.usefixtures("two_steps")
    def test_none_wanted_none_claimed(self, machine, quantity):
        assert machine.claim("f", quantity) == []

    def test_it_tells_attempt_and_timeout_and_hides_the_message(self, machine):
        """generations ST5-2; D-5."""
        machine.flow("f", a=single(timeout=7))
        run = machine.start("f")
        (task,) = machine.claim("f")
        assert (task.attempt, task.timeout) == (1, 7)
        assert 5 < machine.visible_in(run, "a") <= 9
        assert value(machine.conn, "select read_ct from pgmq.q_f") == 1

    @pytest.mark.usefixtures("two_steps")
    def test_it_passes_over_leftovers_however_many(self, machine):
        """D-2: messages without a claimable task never block the head of the queue."""
        machine.conn.execute("delete from pgmq.q_f")
        machine.conn.execute(
            "select pgmq.send_batch('f', array(select jsonb_build_object('n', n) from generate_series(1, 3000) as n))"
        )
        machine.start_many("f", [3, 4])
        assert [task.flow_input for task in machine.claim("f", 2)] == [3, 4]

    def test_only_runs_takes_no_task_of_another_run(self, machine):
        """Also with thousands of other messages in front."""
        machine.flow("f", a=single())
        machine.start_many("f", [{}] * 2000)
        mine = machine.start_many("f", ["mine", "too"])
        assert [task.run for task in machine.claim("f", 10, only=mine)] == mine
        assert machine.claim("f", 10, only=mine) == []
        assert value(machine.conn, "select count(*) from pgflow.step_tasks where status = 'started'") == 2

    @pytest.mark.usefixtures("two_steps")
    def test_a_task_whose_start_was_rolled_back_is_claimed_again(self, machine):
        with machine.conn.transaction(force_rollback=True):
            assert len(machine.claim("f")) == 2
        assert [task.attempt for task in machine.claim("f")] == [1, 1]

    def test_a_transaction_older_than_the_task_may_claim_it(self, machine):
        """core X-3: started_at is never before queued_at, whenever our transaction began."""
        machine.flow("f", a=single())
        other = machine.another_session()
        with machine.conn.transaction():
            machine.conn.execute("select 1")
            run = other.start("f")
            (task,) = machine.claim("f")
            assert machine.settle([(task, 1)])[0] == (True, "completed", "completed", "completed")
        assert machine.task(run, "a", "started_at = queued_at", "completed_at = started_at") == (True, True)
        other.conn.close()

    def test_a_retried_task_is_claimed_only_when_it_is_due(self, machine, two_steps):
        """core 4.3."""
        machine.poll("f")
        machine.fail(two_steps[0], "a")
        assert machine.claim("f") == []
        machine.conn.execute("update pgmq.q_f set vt = now()")
        assert [task.attempt for task in machine.claim("f")] == [2]

    def test_a_start_delay_is_waited_for(self, machine):
        """core 4.3."""
        machine.flow("f", a=single(start_delay=600))
        machine.start("f")
        assert machine.claim("f") == []


class TestSkipDelays:
    def test_queued_tasks_of_the_runs_are_due_at_once(self, machine):
        """Start and retry delays; others are not touched, and what was left of each is told."""
        machine.flow("f", options={"base_delay": 50}, a=single(start_delay=600), b=single(start_delay=0))
        run, other = machine.start_many("f", [1, 2])
        machine.claim("f", only=[run])
        machine.claim("f", only=[other])
        machine.fail(run, "b")
        found = machine.skip_delays(run)
        assert [(step, index, round(seconds, -1)) for step, index, seconds in found] == [("a", 0, 600), ("b", 0, 100)]
        assert machine.skip_delays(run) == []
        assert sorted((t.step, t.run) for t in machine.claim("f")) == [("a", run), ("b", run)]

    def test_a_task_that_another_session_is_claiming_is_left_alone(self, machine):
        """D-2: no waiting for a claim while holding what the claim wants, and what the claim has hidden stays so."""
        machine.flow("f", a=single(start_delay=600), b=single(start_delay=600))
        run = machine.start("f")
        messages = [machine.task(run, step, "message_id") for step in "ab"]
        claiming = machine.another_session()
        with claiming.conn, claiming.conn.transaction():
            claiming.start_tasks("f", messages[:1])
            machine.conn.execute("set lock_timeout = '5s'")
            assert [step for step, *_ in machine.skip_delays(run)] == ["b"]
        assert machine.visible_in(run, "a") > 50

    def test_running_tasks_stay_hidden(self, machine):
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.claim("f")
        assert machine.skip_delays(run) == []
        assert machine.visible_in(run, "a") > 50


class TestGiveBack:
    def test_it_is_as_if_the_attempt_had_never_begun(self, machine, two_steps):
        """D-4: queued, one attempt less, visible now."""
        tasks = machine.claim("f")
        assert machine.give_back(tasks) == 2
        columns = ("status", "attempts_count", "started_at", "last_worker_id", "requeued_count")
        assert machine.task(two_steps[0], "a", *columns) == ("queued", 0, None, None, 0)
        assert [task.attempt for task in machine.claim("f")] == [1, 1]

    def test_it_may_be_delayed(self, machine, two_steps):
        machine.give_back(machine.claim("f"), delay=60)
        assert 50 < machine.visible_in(two_steps[0], "a") <= 60
        assert machine.claim("f") == []

    def test_another_attempt_or_worker_gives_nothing_back(self, machine, two_steps):
        """D-5."""
        tasks = machine.claim("f")
        assert machine.give_back(tasks, worker=machine.register()) == 0
        machine.settle([(tasks[0], 1)])
        assert machine.give_back(tasks) == 1
        assert machine.give_back(tasks) == 0
        again = machine.claim("f", only=[two_steps[1]])
        assert machine.give_back(again) == 1

    def test_only_what_is_named_is_given_back(self, machine):
        """D-4, D-5: one task of a map, in the attempt that runs."""
        machine.flow("f", m=map_of(), n=map_of())
        run = machine.start("f", [1, 2])
        tasks = machine.claim("f")
        named = next(task for task in tasks if (task.step, task.index) == ("n", 1))
        for attempt in (0, 2):
            assert machine.give_back([replace(named, attempt=attempt)]) == 0
        assert machine.give_back([named]) == 1
        assert machine.tasks(run) == {"m": ["started", "started"], "n": ["started", "queued"]}

    def test_nothing_to_give_back(self, machine):
        assert machine.give_back([]) == 0
