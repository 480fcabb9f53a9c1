"""complete_task and fail_task, one at a time, as foreign workers call them.

Rules: core 3.14, 3.15, 3.16, 3.12, 4.5, 4.6, O-1, A-5; generations 2.1 to 2.3.
"""

import uuid

import pytest

from .ask import column, rows, value
from .machine import map_of, single


class TestComplete:
    def test_it_completes_task_step_and_run(self, machine):
        """core CT-5, CT-6, CT-8, CT-9, CT-10, 3.12.2, O-1."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.poll("f")
        found = rows(machine.conn, "select status, output from pgflow.complete_task(%s, 'a', 0, '{\"x\": 1}')", run)
        assert found == [("completed", {"x": 1})]
        assert machine.state(run, "a", "status", "remaining_tasks", "output") == ("completed", 0, {"x": 1})
        assert machine.run(run) == ("completed", {"a": {"x": 1}}, 0)
        assert machine.queued("f") == []
        assert machine.archived("f") == [("a", 0)]

    @pytest.mark.parametrize("output", [False, 0, "", [], {}, None])
    def test_every_output_is_kept_as_it_is(self, machine, output):
        """core O-1, D-8: falsy values too; None is SQL NULL and gives JSON null in the run's output (3.12.2)."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.poll("f")
        machine.complete(run, "a", output)
        assert machine.run(run)[1] == {"a": output}
        assert machine.state(run, "a", "output is null") is (output is None)

    def test_json_null_is_not_sql_null(self, machine):
        """core 4.7.6."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.poll("f")
        machine.conn.execute("select pgflow.complete_task(%s, 'a', 0, 'null')", [run])
        assert machine.state(run, "a", "output = 'null'") is True

    def test_children_start_when_their_last_parent_completes(self, machine):
        """core CT-6, CT-9, 4.1."""
        machine.flow("f", a=single(), b=single(), join=single("a", "b"), only_a=single("a"))
        run = machine.start("f")
        machine.poll("f")
        machine.complete(run, "a", 1)
        assert machine.steps(run) == {"a": "completed", "b": "started", "join": "created", "only_a": "started"}
        assert machine.state(run, "join", "remaining_deps") == 1
        machine.complete(run, "b", 1)
        assert machine.state(run, "join", "status", "remaining_deps") == ("started", 0)

    def test_only_completed_leaves_make_the_output(self, machine):
        """core 3.12.2, subtle point 10: a skipped leaf vanishes though its parent completed."""
        machine.flow("f", a=single(), gone=single("a", when={"a": 1}), b=single(), leaf=single("b"))
        run = machine.start("f")
        machine.drain("f")
        assert machine.run(run) == ("completed", {"leaf": {"ok": "leaf"}}, 0)

    def test_an_unknown_task_gives_no_row(self, machine):
        """core CT-10, 4.6."""
        machine.flow("f", a=single())
        run = machine.start("f")
        assert [machine.complete(*key) for key in ((uuid.uuid4(), "a"), (run, "zz"), (run, "a", None, 7))] == [None] * 3
        assert machine.fail(run, "a", index=7) is None

    def test_a_queued_task_is_not_completed(self, machine):
        """core CT-5, 4.6: the result is lost, the task will run; what another step owes its map is no matter (CT-4)."""
        machine.flow("f", a=single(), other=single(), m=map_of("other"))
        run = machine.start("f")
        before = machine.everything(run)
        assert machine.complete(run, "a", 1) == "queued"
        assert machine.complete(run, "other", [1]) == "queued"
        assert machine.everything(run) == before
        assert machine.queued("f") == [("a", 0), ("other", 0)]

    def test_a_second_completion_keeps_the_first_output(self, machine):
        """core CT-5 [T], CT-3, 4.6."""
        machine.flow("f", m=map_of(), b=single("m"))
        run = machine.start("f", [1, 2])
        machine.poll("f")
        machine.complete(run, "m", "first")
        before = machine.everything(run)
        assert machine.complete(run, "m", "second") == "completed"
        assert machine.everything(run) == before
        assert machine.state(run, "m", "remaining_tasks") == 1

    def test_named_arguments_are_part_of_it(self, machine):
        """core X-4 [T]: Machine calls all functions so; here the helper of 3.16 too."""
        machine.flow("f", a=single())
        run = machine.start("f")
        sql = "select pgflow._archive_task_message(p_run_id => %s, p_step_slug => 'a', p_task_index => %s)"
        machine.conn.execute(sql, [run, 5])
        assert machine.queued("f") == [("a", 0)]
        machine.conn.execute(sql, [run, 0])
        machine.conn.execute(sql, [run, 0])
        assert machine.queued("f") == []


class TestLateCompletion:
    def test_on_a_failed_run_nothing_is_written_or_archived(self, machine):
        """core CT-1 [T]; generations CT-1'."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.poll("f")
        machine.conn.execute("update pgflow.runs set status = 'failed', failed_at = now()")
        before = machine.everything(run)
        assert machine.complete(run, "a", 1) == "started"
        assert machine.everything(run) == before
        assert machine.queued("f") == [("a", 0)]

    @pytest.mark.parametrize(
        "ended",
        [
            "status = 'skipped', skip_reason = 'x', skipped_at = now(), remaining_tasks = null",
            "status = 'failed', failed_at = now()",
            "status = 'created', started_at = null, remaining_tasks = null",
        ],
    )
    def test_on_a_step_that_is_not_started_the_message_is_archived(self, machine, ended):
        """core CT-3 [T], 4.6: nothing else changes."""
        machine.flow("f", a=single(), b=single())
        run = machine.start("f")
        machine.poll("f")
        machine.conn.execute(f"update pgflow.step_states set {ended} where step_slug = 'a'")
        before = machine.everything(run)
        assert machine.complete(run, "a", 1) == "started"
        assert machine.everything(run) == before
        assert machine.queued("f") == [("b", 0)]
        assert machine.archived("f") == [("a", 0)]

    def test_a_repeated_completion_of_a_step_archives_again_and_is_silent(self, recorded):
        """core CT-3, section 7 rule 1 [T]: no second event."""
        recorded.flow("f", a=single(), b=single("a"))
        run = recorded.start("f")
        recorded.poll("f")
        recorded.complete(run, "a", 1)
        before = recorded.everything(run), recorded.event_names(run)
        assert recorded.complete(run, "a", 2) == "completed"
        assert recorded.fail(run, "a") == "completed"
        assert (recorded.everything(run), recorded.event_names(run)) == before


class TestTypeViolation:
    @pytest.mark.parametrize(
        ("output", "kind"), [({"a": 1}, "object"), ("x", "string"), (1, "number"), (True, "boolean"), (None, "null")]
    )
    def test_it_fails_task_step_and_run(self, recorded, output, kind):
        """core CT-4 [T]; generations CT-4' [T]; section 7 rule 3: run:failed first and without error_message."""
        recorded.flow("f", a=single(max_attempts=5, when_exhausted="skip"), m=map_of("a"), other=single())
        run = recorded.start("f")
        recorded.poll("f")
        assert recorded.complete(run, "a", output) == "failed"
        assert recorded.run(run) == ("failed", None, 3)
        assert recorded.task(run, "a", "error_message", "output", "failed_at is not null") == (
            f"[TYPE_VIOLATION] Produced {kind} instead of array",
            output,
            True,
        )
        message = f"[TYPE_VIOLATION] Map step m expects array input but dependency a produced {kind}"
        assert recorded.state(run, "a", "status", "error_message", "failed_at is not null") == ("failed", message, True)
        assert value(recorded.conn, "select failed_at is not null from pgflow.runs") is True
        assert recorded.state(run, "m", "status", "initial_tasks") == ("created", None)
        assert recorded.tasks(run) == {"a": ["failed"], "other": ["cancelled"]}
        assert recorded.queued("f") == []
        assert recorded.archived("f") == [("a", 0), ("other", 0)]
        (first, payload), (second, step_payload) = recorded.events(run)[-2:]
        assert (first, second) == ("run:failed", "step:a:failed")
        assert set(payload) == {"event_type", "run_id", "flow_slug", "status", "failed_at"}
        assert step_payload["error_message"] == message

    def test_it_does_not_care_whether_the_task_is_running(self, machine):
        """core CT-4d, 4.6: also for a task that is queued."""
        machine.flow("f", a=single(), m=map_of("a"))
        run = machine.start("f")
        assert machine.complete(run, "a", 1) == "failed"
        assert machine.status(run) == "failed"
        assert machine.queued("f") == []

    def test_an_array_is_fine(self, machine):
        """core 4.2.7."""
        machine.flow("f", a=single(), m=map_of("a"))
        run = machine.start("f")
        machine.poll("f")
        assert machine.complete(run, "a", [1]) == "completed"
        assert machine.steps(run) == {"a": "completed", "m": "started"}

    def test_a_map_may_feed_a_map_with_anything(self, machine):
        """core CT-4: only a single step is checked."""
        machine.flow("f", m=map_of(), n=map_of("m"))
        run = machine.start("f", [1])
        machine.poll("f")
        assert machine.complete(run, "m", {"no": "array"}) == "completed"
        assert machine.state(run, "n", "status", "initial_tasks") == ("started", 1)

    def test_a_child_with_a_known_size_is_not_violated(self, machine):
        """core CT-4: initial_tasks must be NULL."""
        machine.flow("f", a=single(), m=map_of("a"))
        run = machine.start("f")
        machine.poll("f")
        machine.conn.execute("update pgflow.step_states set initial_tasks = 0 where step_slug = 'm'")
        assert machine.complete(run, "a", {"x": 1}) == "completed"
        assert machine.run(run) == ("completed", {"m": []}, 0)

    def test_a_late_one_is_only_late(self, machine):
        """core CT-3 comes before CT-4."""
        machine.flow("f", a=single(when_exhausted="skip", max_attempts=1), m=map_of("a"), o=single())
        run = machine.start("f")
        machine.poll("f")
        machine.fail(run, "a")
        assert machine.complete(run, "a", "no array") == "failed"
        assert machine.status(run) == "started"


class TestRetry:
    def test_a_failed_attempt_is_queued_again(self, recorded):
        """core FT-4, FT-5, FT-6, FT-11 [T], 4.3, subtle point 1: 2 x base after the first attempt, then 4 x base."""
        recorded.flow("f", options={"base_delay": 50}, a=single())
        run = recorded.start("f")
        recorded.poll("f")
        started, queued, worker = recorded.task(run, "a", "started_at", "queued_at", "last_worker_id")
        assert recorded.fail(run, "a", "first") == "queued"
        columns = ("attempts_count", "started_at", "failed_at", "error_message", "queued_at", "last_worker_id")
        assert recorded.task(run, "a", *columns) == (1, None, None, "first", queued, worker)
        assert recorded.state(run, "a", "status", "error_message", "remaining_tasks") == ("started", None, 1)
        assert 95 < recorded.visible_in(run, "a") <= 100
        recorded.skip_delays(run)
        recorded.poll("f")
        assert recorded.fail(run, "a", "second") == "queued"
        assert 195 < recorded.visible_in(run, "a") <= 200
        assert recorded.event_names(run) == ["run:started", "step:a:started"]
        assert started is not None

    def test_step_options_win_over_the_flow(self, machine):
        """core FT-4."""
        machine.flow("f", options={"base_delay": 50, "max_attempts": 1}, a=single(base_delay=10, max_attempts=2))
        run = machine.start("f")
        machine.poll("f")
        assert machine.fail(run, "a") == "queued"
        assert 15 < machine.visible_in(run, "a") <= 20
        machine.skip_delays(run)
        machine.poll("f")
        assert machine.fail(run, "a") == "failed"

    @pytest.mark.parametrize("attempts", [0, 1])
    def test_no_or_one_attempt_means_the_first_failure_is_the_last(self, machine, attempts):
        """core FT-5 [T]."""
        machine.flow("f", a=single(max_attempts=attempts))
        run = machine.start("f")
        machine.poll("f")
        assert machine.fail(run, "a") == "failed"

    def test_the_delay_is_capped_at_a_day(self, machine):
        """D-7: where the contract's formula would overflow."""
        machine.flow("f", options={"base_delay": 1, "max_attempts": 100}, a=single())
        run = machine.start("f")
        machine.poll("f")
        machine.conn.execute("update pgflow.step_tasks set attempts_count = 50")
        assert machine.fail(run, "a") == "queued"
        assert 86390 < machine.visible_in(run, "a") <= 86400

    def test_a_queued_task_is_pushed_back(self, machine):
        """core FT-11 [T], 4.6: base x 2^0; nothing else changes, the message is not archived."""
        machine.flow("f", options={"base_delay": 60}, m=map_of(), a=single())
        run = machine.start("f", [1, 2])
        before = machine.everything(run)
        assert machine.fail(run, "m", index=1) == "queued"
        assert machine.everything(run) == before
        assert 50 < machine.visible_in(run, "m", 1) <= 60
        assert max(machine.visible_in(run, "m", 0), machine.visible_in(run, "a")) <= 0
        assert len(machine.queued("f")) == 3

    def test_other_tasks_of_the_map_go_on(self, machine):
        """core FT-5."""
        machine.flow("f", m=map_of())
        run = machine.start("f", [1, 2])
        machine.poll("f")
        machine.fail(run, "m", index=1)
        machine.complete(run, "m", "x", index=0)
        assert machine.tasks(run) == {"m": ["completed", "queued"]}
        machine.skip_delays(run)
        machine.poll("f")
        machine.complete(run, "m", "y", index=1)
        assert machine.run(run) == ("completed", {"m": ["x", "y"]}, 0)


class TestExhausted:
    def test_fail_ends_the_run(self, recorded):
        """core FT-5 to FT-8, FT-10 [T], FT-12, 4.5; generations FT-10', TS-2: step:failed, then run:failed."""
        recorded.flow("f", a=single(max_attempts=1), m=map_of(), later=single("a"))
        run = recorded.start("f", [1, 2, 3])
        recorded.poll("f", 3)
        recorded.complete(run, "m", 1, index=0)
        assert recorded.fail(run, "a", "boom") == "failed"
        assert recorded.run(run) == ("failed", None, 3)
        assert recorded.task(run, "a", "error_message", "failed_at is not null", "output") == ("boom", True, None)
        columns = ("status", "error_message", "remaining_tasks", "failed_at is not null")
        assert recorded.state(run, "a", *columns) == ("failed", "boom", 1, True)
        assert value(recorded.conn, "select failed_at is not null from pgflow.runs") is True
        assert recorded.tasks(run)["m"] == ["completed", "cancelled", "cancelled"]
        assert recorded.steps(run)["later"] == "created"
        assert recorded.queued("f") == []
        events = recorded.events(run)[-2:]
        assert [event for event, _ in events] == ["step:a:failed", "run:failed"]
        assert set(events[0][1]) == {"event_type", "run_id", "status", "step_slug", "error_message", "failed_at"}
        assert set(events[1][1]) == {"event_type", "run_id", "status", "flow_slug", "error_message", "failed_at"}
        assert events[1][1]["error_message"] == "boom"

    def test_skip_lets_the_children_go_on(self, recorded):
        """core FT-6, FT-7, FT-9 [T], 4.4.4, subtle point 9; generations FT-9', TS-1."""
        recorded.flow("f", m=map_of(max_attempts=1, when_exhausted="skip"), s=single("m"), n=map_of("m"))
        run = recorded.start("f", [1, 2, 3])
        recorded.poll("f", 2)
        recorded.complete(run, "m", "kept?", index=0)
        assert recorded.fail(run, "m", "boom", index=1) == "failed"
        columns = ("status", "skip_reason", "error_message", "remaining_tasks", "output", "started_at <= skipped_at")
        assert recorded.state(run, "m", *columns) == ("skipped", "handler_failed", "boom", None, None, True)
        assert recorded.tasks(run)["m"] == ["completed", "failed", "skipped"]
        assert recorded.steps(run) == {"m": "skipped", "s": "started", "n": "completed"}
        assert recorded.run(run) == ("started", None, 1)
        assert recorded.queued("f") == [("s", 0)]
        payload = next(p for event, p in recorded.events(run) if event == "step:m:skipped")
        assert set(payload) == {
            "event_type",
            "run_id",
            "status",
            "step_slug",
            "skip_reason",
            "error_message",
            "skipped_at",
        }
        assert recorded.event_names(run)[2:] == ["step:m:skipped", "step:n:completed", "step:s:started"]
        recorded.drain("f")
        assert recorded.run(run)[:2] == ("completed", {"s": {"ok": "s"}, "n": []})

    def test_skip_cascade_takes_all_dependents(self, recorded):
        """core FT-9 [T]: reason dependency_skipped for them."""
        recorded.flow(
            "f", a=single(max_attempts=1, when_exhausted="skip-cascade"), b=single("a"), c=single("b"), o=single()
        )
        run = recorded.start("f")
        recorded.poll("f")
        recorded.fail(run, "a")
        assert [recorded.state(run, s, "skip_reason") for s in "abc"] == ["handler_failed"] + ["dependency_skipped"] * 2
        assert recorded.event_names(run)[-3:] == ["step:a:skipped", "step:b:skipped", "step:c:skipped"]
        assert recorded.run(run) == ("started", None, 1)
        recorded.complete(run, "o", 1)
        assert recorded.run(run) == ("completed", {"o": 1}, 0)

    @pytest.mark.parametrize("mode", ["skip", "skip-cascade"])
    def test_a_run_whose_only_step_is_skipped_is_completed(self, machine, mode):
        """core FT-9 [T], 3.12.2."""
        machine.flow("f", a=single(max_attempts=1, when_exhausted=mode))
        run = machine.start("f")
        machine.poll("f")
        assert machine.fail(run, "a") == "failed"
        assert machine.run(run) == ("completed", None, 0)

    def test_the_completed_outputs_of_a_skipped_map_are_dropped(self, machine):
        """core 4.2.5: no key for children; late completions of siblings are ignored."""
        machine.flow("f", m=map_of(max_attempts=1, when_exhausted="skip"), s=single("m"))
        run = machine.start("f", [1, 2, 3])
        machine.poll("f")
        machine.complete(run, "m", 1, index=0)
        machine.fail(run, "m", index=1)
        assert machine.complete(run, "m", 3, index=2) == "skipped"
        assert machine.fail(run, "m", index=2) == "skipped"
        assert [row["input"] for row in machine.poll("f")] == [{}]


class TestLateFailure:
    def test_on_a_failed_run_the_message_is_archived_and_the_row_kept(self, machine):
        """generations FT-1' [T]: cancelled rows stay as they are."""
        machine.flow("f", a=single(max_attempts=1), b=single())
        run = machine.start("f")
        machine.poll("f")
        machine.fail(run, "a")
        before = machine.everything(run)
        assert machine.fail(run, "b", "late") == "cancelled"
        assert machine.complete(run, "b", 1) == "cancelled"
        assert machine.everything(run) == before

    def test_workers_that_know_fewer_statuses_meet_them_in_rows_only(self, machine):
        """generations SU-11: a task of an ended step or run is no error for them; a claim of its message is empty."""
        machine.flow("f", m=map_of(max_attempts=1, when_exhausted="skip"), a=single(max_attempts=1), b=single())
        run = machine.start("f", [1, 2])
        ids = machine.read("f", vt=0)
        machine.start_tasks("f", ids)
        machine.fail(run, "m", index=0)
        machine.fail(run, "a")
        assert machine.complete(run, "m", 1, index=1) == "skipped"
        assert machine.complete(run, "b", 1) == "cancelled"
        assert machine.start_tasks("f", ids) == []

    def test_the_row_of_the_task_comes_back_and_none_of_an_unknown_one(self, machine):
        """core FT-13: as it is afterwards."""
        machine.flow("f", a=single(max_attempts=1))
        run = machine.start("f")
        machine.poll("f")
        sql = "select run_id, step_slug, task_index, status, error_message from pgflow.fail_task(%s, %s, %s, 'boom')"
        assert rows(machine.conn, sql, run, "a", 0) == [(run, "a", 0, "failed", "boom")]
        for unknown in ((run, "a", 1), (run, "z", 0), (uuid.uuid4(), "a", 0)):
            assert rows(machine.conn, sql, *unknown) == []

    def test_a_message_left_on_a_failed_run_is_archived(self, machine):
        """core FT-1; generations FT-1'."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.poll("f")
        machine.conn.execute("update pgflow.runs set status = 'failed', failed_at = now()")
        assert machine.fail(run, "a") == "started"
        assert machine.queued("f") == []

    def test_on_a_step_that_is_not_started_nothing_happens(self, recorded):
        """core FT-3 [T]: replays do not decrement twice, no event."""
        recorded.flow("f", a=single(max_attempts=1, when_exhausted="skip"), b=single("a"), c=single("b"))
        run = recorded.start("f")
        recorded.poll("f")
        recorded.fail(run, "a")
        before = recorded.everything(run), recorded.event_names(run)
        assert recorded.fail(run, "a") == "failed"
        assert (recorded.everything(run), recorded.event_names(run)) == before
        assert recorded.run(run)[2] == 2

    def test_a_completed_task_of_a_running_map_is_left_alone(self, machine):
        """core 4.6."""
        machine.flow("f", m=map_of())
        run = machine.start("f", [1, 2])
        machine.poll("f")
        machine.complete(run, "m", 1)
        before = machine.everything(run)
        assert machine.fail(run, "m") == "completed"
        assert machine.everything(run) == before


class TestInvariants:
    def test_failed_runs_and_skipped_steps_have_no_open_task(self, machine):
        """generations TS-4; core 4.5.3: afterwards nothing of the run can be started."""
        machine.flow("f", a=single(max_attempts=1), m=map_of(max_attempts=1, when_exhausted="skip"), n=single())
        runs = machine.start_many("f", [[1, 2, 3]] * 2)
        machine.poll("f", 6)
        machine.fail(runs[0], "m", index=1)
        machine.fail(runs[1], "a")
        sql = (
            "select t.status from pgflow.step_tasks as t join pgflow.runs as r using (run_id) "
            "join pgflow.step_states as s using (run_id, step_slug) "
            "where (r.status = 'failed' or s.status = 'skipped') and t.status in ('queued', 'started')"
        )
        assert column(machine.conn, sql) == []
        machine.conn.execute("select pgflow.start_ready_steps(%s)", [runs[1]])
        assert machine.claim("f", only=[runs[1]]) == []
        assert value(machine.conn, "select count(*) from pgmq.q_f where message ->> 'run_id' = %s", str(runs[1])) == 0
