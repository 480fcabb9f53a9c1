"""Settling many tasks in one call. Rules: decisions D-2, D-5, D-6, D-7, D-8; design rule 2; core O-1, 4.2."""

import json
from dataclasses import replace

import pytest

from .ask import column, rows, value
from .machine import Failure, map_of, single


def pick(tasks, step, index=0):
    return next(task for task in tasks if (task.step, task.index) == (step, index))


class TestWhoseAttempt:
    def test_a_repeated_settle_is_answered_as_applied_and_changes_nothing(self, recorded):
        """D-5: completions, retries, exhaustion and type violations."""
        recorded.flow(
            "f", ok=single(), again=single(max_attempts=2), over=map_of(max_attempts=1, when_exhausted="skip")
        )
        recorded.flow("g", bad=single(), m=map_of("bad"))
        run = recorded.start("f", [1])
        recorded.start("g")
        tasks = recorded.claim("f")
        outcomes = [
            (pick(tasks, "ok"), {"x": 1}),
            (pick(tasks, "again"), Failure("no")),
            (pick(tasks, "over"), Failure("no")),
            (recorded.claim("g")[0], "no array"),
        ]
        first = recorded.settle(outcomes)
        assert [row[:3] for row in first] == [
            (True, "completed", "completed"),
            (True, "queued", "started"),
            (True, "failed", "skipped"),
            (True, "failed", "failed"),
        ]
        before = recorded.everything(run), recorded.events()
        assert recorded.settle(outcomes) == first
        assert (recorded.everything(run), recorded.events()) == before

    def test_a_late_attempt_cannot_settle_the_next_one(self, machine):
        """D-5: neither as completed nor as failed; the message of the newer attempt stays."""
        machine.flow("f", a=single())
        run = machine.start("f")
        (first,) = machine.claim("f")
        machine.backdate(run, 1000)
        assert machine.recover() == 1
        (second,) = machine.claim("f")
        assert (first.attempt, second.attempt) == (1, 2)
        before = machine.everything(run)
        for outcome in ("late", Failure("late")):
            assert machine.settle([(first, outcome)]) == [(False, "started", "started", "started")]
        assert machine.everything(run) == before
        assert machine.queued("f") == [("a", 0)]
        assert machine.settle([(second, "mine")]) == [(True, "completed", "completed", "completed")]
        assert machine.settle([(first, "late")]) == [(False, "completed", "completed", "completed")]
        assert machine.run(run)[1] == {"a": "mine"}

    @pytest.mark.parametrize("late", ["late", Failure("late")])
    def test_a_late_outcome_does_not_hide_the_right_one_of_the_same_batch(self, machine, late):
        """D-5: of several outcomes for a task, that of the running attempt is the one that counts."""
        machine.flow("f", a=single())
        run = machine.start("f")
        (first,) = machine.claim("f")
        machine.backdate(run, 1000)
        machine.recover()
        (second,) = machine.claim("f")
        answers = machine.settle([(first, late), (second, "mine"), (second, "again")])
        assert [applied for applied, *_ in answers] == [False, True, True]
        assert machine.run(run)[:2] == ("completed", {"a": "mine"})

    def test_repeats_are_told_apart_by_task(self, machine):
        """D-5: the tasks of a map are many, each with its own first outcome."""
        machine.flow("f", m=map_of())
        run = machine.start("f", [1, 2, 3])
        one, two, three = machine.claim("f")
        answers = machine.settle([(one, "a"), (two, "b"), (one, "late"), (three, "c"), (two, "late")])
        assert [applied for applied, *_ in answers] == [True] * 5
        assert machine.run(run)[:2] == ("completed", {"m": ["a", "b", "c"]})

    @pytest.mark.parametrize("outcome", [1, Failure("again"), Failure("for good", retryable=False)])
    def test_another_worker_or_attempt_cannot_settle_it(self, machine, outcome):
        """D-5: whatever it says."""
        machine.flow("f", a=single())
        run = machine.start("f")
        (task,) = machine.claim("f")
        before = machine.everything(run)
        refused = [(False, "started", "started", "started")]
        assert machine.settle([(task, outcome)], worker=machine.register()) == refused
        for attempt in (0, 2):
            assert machine.settle([(replace(task, attempt=attempt), outcome)]) == refused
        assert machine.everything(run) == before

    def test_what_one_worker_applied_is_not_applied_by_another(self, machine):
        """D-5: the answer names whose outcome is in the database, not whether there is one."""
        machine.flow("f", a=map_of())
        machine.start("f", [1, 2])
        first, _ = machine.claim("f")
        assert machine.settle([(first, "mine")])[0][0] is True
        assert machine.settle([(first, "theirs")], worker=machine.register())[0][:2] == (False, "completed")
        assert machine.settle([(first, "mine")])[0][0] is True

    def test_a_late_violation_fails_nothing(self, machine):
        """D-5 with core CT-4: whoever names an attempt must have it."""
        machine.flow("f", a=single(), m=map_of("a"))
        run = machine.start("f")
        (task,) = machine.claim("f")
        machine.give_back([task])
        assert machine.settle([(task, "no array")]) == [(False, "queued", "started", "started")]
        assert machine.status(run) == "started"
        (again,) = machine.claim("f")
        assert machine.settle([(again, "no array")], worker=machine.register())[0][0] is False
        assert machine.settle([(replace(again, attempt=2), "no array")])[0][0] is False
        assert machine.tasks(run) == {"a": ["started"]}

    def test_without_worker_and_attempt_it_is_whoever_runs(self, machine):
        """D-5: as the contract's functions do."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.claim("f")
        sql = (
            "select applied from pgflow_mp.settle_tasks(array[%s]::uuid[], '{a}', '{0}', null, null, '{1}', null, null)"
        )
        assert value(machine.conn, sql, run) is True
        assert value(machine.conn, sql, run) is False

    def test_the_first_outcome_of_a_task_wins(self, machine):
        """Also a failure before a completion."""
        machine.flow("f", a=single(max_attempts=1, when_exhausted="skip"), b=single())
        run = machine.start("f")
        tasks = machine.claim("f")
        a, b = pick(tasks, "a"), pick(tasks, "b")
        results = machine.settle([(a, Failure()), (a, 1), (b, "first"), (b, "second"), (b, Failure())])
        assert [row[0] for row in results] == [True, False, True, True, False]
        assert machine.run(run)[:2] == ("completed", {"b": "first"})
        assert machine.state(run, "a", "status") == "skipped"

    def test_unknown_tasks_are_answered(self, machine):
        machine.flow("f", a=single())
        machine.start("f")
        (task,) = machine.claim("f")
        stranger = type(task)("f", task.run, "zz", 3, 0, 1, 60, None, None)
        assert machine.settle([(stranger, 1), (task, 1)]) == [
            (False, None, None, None),
            (True, "completed", "completed", "completed"),
        ]

    def test_nothing_to_settle(self, machine):
        assert machine.settle([]) == []


class TestBatches:
    def test_answers_come_in_the_order_given(self, machine):
        machine.flow("f", m=map_of(), a=single())
        runs = machine.start_many("f", [[1, 2, 3]] * 3)
        tasks = machine.claim("f")[::-1]
        sql = (
            "select run_id, step_slug, task_index from pgflow_mp.settle_tasks("
            "%s::uuid[], %s::text[], %s::int[], null, null, %s::jsonb[], null, null)"
        )
        keys = [(task.run, task.step, task.index) for task in tasks]
        assert rows(machine.conn, sql, *[list(each) for each in zip(*keys, strict=True)], ["1"] * len(tasks)) == keys
        assert {machine.status(run) for run in runs} == {"completed"}

    def test_completions_and_failures_of_many_runs_and_flows(self, machine):
        machine.flow("f", a=single(max_attempts=1), b=single("a"))
        machine.flow("g", a=single(), b=single("a"))
        runs = [machine.start(slug) for slug in ("f", "f", "g", "g")]
        tasks = {task.run: task for slug in ("f", "g") for task in machine.claim(slug)}
        outcomes = [1, Failure("bad"), 1, Failure("bad")]
        results = machine.settle([(tasks[run], outcome) for run, outcome in zip(runs, outcomes, strict=True)])
        assert [row[1:] for row in results] == [
            ("completed", "completed", "started"),
            ("failed", "failed", "failed"),
            ("completed", "completed", "started"),
            ("queued", "started", "started"),
        ]
        assert machine.queued("f") == [("b", 0)]
        assert machine.queued("g") == [("a", 0), ("b", 0)]

    def test_two_parents_in_one_batch_release_their_child_once(self, machine):
        """core C-1."""
        machine.flow("f", a=single(), b=single(), c=single("a", "b"))
        run = machine.start("f")
        machine.settle([(task, task.step) for task in machine.claim("f")])
        assert machine.state(run, "c", "remaining_deps") == 0
        assert [task.input for task in machine.claim("f")] == [{"a": "a", "b": "b"}]

    def test_a_whole_map_and_what_follows_in_one_batch(self, machine):
        """core CT-6 [T]: out of order; SQL NULL outputs become JSON null (O-1)."""
        machine.flow("f", m=map_of(), s=single("m"))
        machine.start("f", [0, 1, 2, 3])
        tasks = machine.claim("f")
        machine.settle([(task, None if task.index == 2 else task.input * 10) for task in tasks[::-1]])
        assert [task.input for task in machine.claim("f")] == [{"m": [0, 10, None, 30]}]

    def test_a_completion_comes_before_a_failure_of_the_same_run(self, machine):
        """The effect is that of one after the other: completions, then failures."""
        machine.flow("f", a=single(max_attempts=1), b=single(), c=single("b"))
        run = machine.start("f")
        tasks = machine.claim("f")
        results = machine.settle([(pick(tasks, "a"), Failure("bad")), (pick(tasks, "b"), 1)])
        assert [row[:2] for row in results] == [(True, "failed"), (True, "completed")]
        assert machine.steps(run) == {"a": "failed", "b": "completed", "c": "started"}
        assert machine.tasks(run)["c"] == ["cancelled"]
        assert machine.queued("f") == []

    def test_two_exhausted_tasks_of_a_run_are_taken_one_after_the_other(self, machine):
        """The first fails the run; the second finds its task cancelled."""
        machine.flow("f", a=single(max_attempts=1), b=single(max_attempts=1))
        run = machine.start("f")
        tasks = machine.claim("f")
        results = machine.settle([(pick(tasks, "b"), Failure("b first")), (pick(tasks, "a"), Failure("a then"))])
        assert results == [(True, "failed", "failed", "failed"), (False, "cancelled", "started", "failed")]
        assert machine.steps(run) == {"a": "started", "b": "failed"}
        assert machine.task(run, "a", "error_message") is None

    def test_two_skips_of_a_run_in_one_batch(self, machine):
        machine.flow("f", m=map_of(max_attempts=1, when_exhausted="skip"),
                     a=single(max_attempts=1, when_exhausted="skip"), join=single("m", "a"))  # fmt: skip
        run = machine.start("f", [1, 2])
        tasks = machine.claim("f")
        results = machine.settle([(task, Failure(f"bad {task.step}{task.index}")) for task in tasks])
        assert {(task.step, task.index): row[:3] for task, row in zip(tasks, results, strict=True)} == {
            ("a", 0): (True, "failed", "skipped"),
            ("m", 0): (True, "failed", "skipped"),
            ("m", 1): (False, "skipped", "skipped"),
        }
        assert machine.steps(run) == {"m": "skipped", "a": "skipped", "join": "started"}
        assert machine.run(run)[2] == 1

    def test_a_violation_comes_after_the_other_completions_of_its_run(self, machine):
        machine.flow("f", a=single(), m=map_of("a"), b=single(), c=single("b"), x=single())
        run, other = machine.start_many("f", [1, 2])
        tasks = machine.claim("f")
        mine = [task for task in tasks if task.run == run]
        results = machine.settle(
            [(pick(mine, "a"), "no array"), (pick(mine, "x"), Failure()), (pick(mine, "b"), 1)]
            + [(task, [1]) for task in tasks if task.run == other]
        )
        assert results[:3] == [
            (True, "failed", "failed", "failed"),
            (False, "cancelled", "started", "failed"),
            (True, "completed", "completed", "failed"),
        ]
        assert machine.tasks(run) == {"a": ["failed"], "b": ["completed"], "c": ["cancelled"], "x": ["cancelled"]}
        assert machine.status(other) == "started"
        assert {step for step, _ in machine.queued("f")} == {"c", "m"}

    def test_with_fail_conditions_a_run_completes_one_step_after_the_other(self, machine):
        """The child of a that fails the run cancels b; b came second and is not completed."""
        machine.flow("f", a=single(), guard=single("a", when={"a": 1}, when_unmet="fail"), b=single(), c=single("b"))
        first, second = machine.start_many("f", [1, 2])
        tasks = machine.claim("f")
        of = {run: [task for task in tasks if task.run == run] for run in (first, second)}
        results = machine.settle(
            [
                (pick(of[first], "a"), 2),
                (pick(of[first], "b"), 1),
                (pick(of[second], "b"), 1),
                (pick(of[second], "a"), 2),
            ]
        )
        assert [row[:2] for row in results] == [
            (True, "completed"),
            (False, "cancelled"),
            (True, "completed"),
            (True, "completed"),
        ]
        assert machine.steps(first)["c"] == "created"
        assert machine.steps(second)["c"] == "started"
        assert machine.tasks(second)["c"] == ["cancelled"]

    def test_not_retryable_ends_the_task_at_once(self, machine):
        """Whatever attempts are left."""
        machine.flow("f", a=single(max_attempts=5))
        run = machine.start("f")
        (task,) = machine.claim("f")
        assert machine.settle([(task, Failure("enough", retryable=False))]) == [(True, "failed", "failed", "failed")]
        assert machine.task(run, "a", "attempts_count", "error_message") == (1, "enough")

    def test_a_retry_whose_message_is_gone_gets_a_new_one(self, machine):
        """A queued task without a message would never run."""
        machine.flow("f", options={"base_delay": 0}, a=single())
        run = machine.start("f")
        (task,) = machine.claim("f")
        machine.conn.execute("select pgmq.archive('f', %s::bigint)", [task.message])
        machine.settle([(task, Failure())])
        (again,) = machine.claim("f")
        assert (again.run, again.attempt) == (run, 2)
        assert again.message != task.message


class TestOneBadRow:
    def test_a_dropped_queue_costs_only_its_own_tasks(self, machine):
        """D-6: the others are settled; the one that cannot be is answered as not applied, with a warning."""
        for slug in ("f", "g"):
            machine.flow(slug, a=single())
            machine.start(slug)
        (good,), (bad,) = machine.claim("f"), machine.claim("g")
        notices = []
        machine.conn.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        with machine.conn.transaction(force_rollback=True):
            machine.conn.execute("drop table pgmq.q_g")
            assert machine.settle([(bad, 1), (good, 1)]) == [
                (False, "started", "started", "started"),
                (True, "completed", "completed", "completed"),
            ]
        assert any("was not settled" in notice for notice in notices)

    def test_a_result_that_cannot_be_stored_fails_its_task(self, machine):
        """D-6: shown with a constraint of the test's own."""
        machine.flow("f", a=single(when_exhausted="skip"), b=single())
        runs = machine.start_many("f", [1, 2])
        tasks = machine.claim("f")
        with machine.conn.transaction(force_rollback=True):
            machine.conn.execute(
                "alter table pgflow.step_tasks add constraint not_too_large check (pg_column_size(output) < 1000)"
            )
            results = machine.settle([(task, "x" * (5000 if task == tasks[0] else 5)) for task in tasks])
            assert [row[:3] for row in results] == [
                (True, "failed", "skipped"),
                (True, "completed", "completed"),
                (True, "completed", "completed"),
                (True, "completed", "completed"),
            ]
            error = machine.task(runs[0], tasks[0].step, "error_message")
            assert error.startswith("The outcome could not be stored: ")
            assert "not_too_large" in error

    def test_a_deadlock_is_not_the_data_s_fault(self, machine):
        """D-6: such errors are raised, nothing is applied; the caller repeats."""
        machine.flow("f", a=single())
        run = machine.start("f")
        (task,) = machine.claim("f")
        other = machine.another_session()
        other.conn.autocommit = False
        other.conn.execute("select 1 from pgflow.runs where run_id = %s for update", [run])
        machine.conn.execute("set lock_timeout = '50ms'")
        with pytest.raises(Exception, match="lock timeout"):
            machine.settle([(task, 1)])
        machine.conn.execute("reset lock_timeout")
        other.conn.close()
        assert machine.settle([(task, 1)])[0][0] is True


class TestNotifications:
    def listen(self, machine):
        listener = machine.another_session()
        listener.conn.execute("listen pgflow_mp_work")
        listener.conn.execute("listen pgflow_mp_runs")
        return listener

    def heard(self, listener):
        listener.conn.execute("select 1")
        found = [(n.channel, n.payload) for n in listener.conn.notifies(timeout=0)]
        return sorted(found)

    def test_one_for_work_and_one_for_finished_runs(self, machine):
        """D-10: one of each a transaction."""
        machine.flow("f", a=single(), b=single("a"))
        machine.flow("g", a=single())
        listener = self.listen(machine)
        runs = machine.start_many("f", [1, 2])
        assert self.heard(listener) == [("pgflow_mp_work", "f")]
        other = machine.start("g")
        tasks = machine.claim("f") + machine.claim("g")
        self.heard(listener)
        machine.settle([(task, 1) for task in tasks])
        assert self.heard(listener) == [("pgflow_mp_runs", str(other)), ("pgflow_mp_work", "f")]
        machine.settle([(task, 1) for task in machine.claim("f")])
        assert self.heard(listener) == [("pgflow_mp_runs", ",".join(map(str, runs)))]
        listener.conn.close()

    @pytest.mark.own_core
    def test_the_contract_s_functions_notify_too(self, machine):
        """D-10: also when a foreign worker ends the run."""
        machine.flow("f", options={"base_delay": 0, "max_attempts": 2}, a=single())
        listener = self.listen(machine)
        run = machine.start("f")
        machine.poll("f")
        machine.fail(run, "a")
        machine.poll("f")
        machine.fail(run, "a")
        assert self.heard(listener) == [("pgflow_mp_runs", str(run))] + [("pgflow_mp_work", "f")] * 2
        listener.conn.close()

    def test_delayed_messages_wake_nobody(self, machine):
        """D-10: there is nothing to claim yet."""
        machine.flow("f", a=single(start_delay=60))
        listener = self.listen(machine)
        run = machine.start("f")
        assert self.heard(listener) == []
        machine.skip_delays(run)
        assert self.heard(listener) == [("pgflow_mp_work", "f")]
        machine.give_back(machine.claim("f"))
        assert self.heard(listener) == [("pgflow_mp_work", "f")]
        listener.conn.close()

    def test_too_many_ids_make_an_empty_payload(self, machine):
        """A payload has 7,999 bytes at most; empty means: look yourself."""
        machine.flow("f", m=map_of())
        listener = self.listen(machine)
        machine.start_many("f", [[]] * 300)
        assert self.heard(listener) == [("pgflow_mp_runs", "")]
        listener.conn.close()


class TestMaps:
    def test_nested_maps_pass_their_size_on(self, machine):
        """core 4.2.7, CT-6 [T]: a child map learns its size when the parent step completes, not per task."""
        machine.flow("f", m=map_of(), n=map_of("m"), o=map_of("n"), s=single("o"))
        run = machine.start("f", [1, 2, 3])
        tasks = machine.claim("f")
        machine.settle([(task, task.input) for task in tasks[:2]])
        assert machine.state(run, "n", "initial_tasks") is None
        machine.settle([(task, task.input) for task in tasks[2:]])
        assert machine.state(run, "n", "initial_tasks", "status") == (3, "started")
        machine.drain("f", lambda task: task.input)
        assert machine.run(run)[:2] == ("completed", {"s": {"o": [1, 2, 3]}})

    def test_a_map_over_a_completed_empty_array_is_empty(self, machine):
        """core 4.2.6 [T]."""
        machine.flow("f", a=single(), m=map_of("a"), n=map_of("m"), s=single("n"))
        machine.start("f")
        machine.settle([(task, []) for task in machine.claim("f")])
        assert [(task.step, task.input) for task in machine.claim("f")] == [("s", {"n": []})]

    @pytest.mark.slow
    def test_ten_thousand_elements(self, machine):
        """Issue: a 10,000-element map, claimed and settled in batches; each handler sees its own element."""
        size = 10_000
        machine.flow("f", gen=single(), m=map_of("gen"), total=single("m"))
        run = machine.start("f")
        machine.settle([(task, list(range(size))) for task in machine.claim("f")])
        assert machine.state(run, "m", "remaining_tasks") == size
        seen = 0
        while tasks := machine.claim("f", 1000):
            if tasks[0].step == "total":
                assert tasks[0].input == {"m": [n * 2 for n in range(size)]}
                machine.settle([(tasks[0], sum(tasks[0].input["m"]))])
                continue
            assert all(task.input == task.index for task in tasks)
            machine.settle([(task, task.input * 2) for task in tasks])
            seen += len(tasks)
        assert seen == size
        assert machine.run(run)[:2] == ("completed", {"total": size * (size - 1)})
        assert value(machine.conn, "select count(*) from pgmq.a_f") == size + 2

    def test_the_stored_output_of_a_map_keeps_any_json(self, machine):
        """core O-1."""
        outputs = [1, "x", None, [], {"a": None}, False, 1.5]
        machine.flow("f", m=map_of())
        run = machine.start("f", list(range(len(outputs))))
        machine.drain("f", lambda task: outputs[task.index])
        assert machine.run(run)[1] == {"m": outputs}
        assert column(machine.conn, "select status from pgflow.step_tasks where output is null") == ["completed"]
        assert json.loads(value(machine.conn, "select output::text from pgflow.step_states")) == outputs
