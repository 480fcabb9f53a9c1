"""Repair on request: each kind of damage is made by hand, found, mended, and the run goes on to its end.

Rules: core A-8; generations TS-6; issue 3 point 3.
"""

import uuid

import pytest
from psycopg.types.json import Jsonb

from pgflow_mp.core.queries.repair import Damage, repair
from pgflow_mp.core.statement import execute

from .ask import rows, value
from .machine import Failure, map_of, single


def look(machine, *flows):
    return execute(machine.conn, repair(flow_slugs=flows or None))


def kinds(machine):
    return [found.damage for found in look(machine)]


def mend(machine, *flows):
    """Mend everything; everything must be mended, and then nothing be left."""
    found = execute(machine.conn, repair(dry_run=False, flow_slugs=flows or None))
    assert [each for each in found if not each.mended] == []
    assert look(machine, *flows) == []
    return [each.damage for each in found]


def drop_messages(machine, queue="f"):
    machine.conn.execute(f"delete from pgmq.q_{queue}")


class TestWhatIsWhole:
    def test_runs_in_every_state_are_no_damage(self, machine):
        """Retries, delays, skips, empty maps, claims, failed and completed runs."""
        machine.flow(
            "f",
            options={"base_delay": 30},
            a=single(max_attempts=2),
            m=map_of("a", max_attempts=1, when_exhausted="skip"),
            late=single("a", start_delay=60),
            unmet=single("a", when={"a": {"x": 1}}),
            last=single("m", "late", "unmet"),
        )
        runs = machine.start_many("f", [1, 2, 3, 4])
        first, second, third, _fourth = machine.claim("f")
        machine.settle([(first, [1, 2]), (second, []), (third, Failure("boom"))])
        machine.settle([(machine.claim("f", only=[runs[0]])[0], Failure("boom"))])
        machine.flow("g", a=single(max_attempts=1), b=single())
        machine.start_many("g", [1, 2])
        one, two = machine.claim("g", 2)
        machine.settle([(one, Failure("boom")), (two, 1)])
        assert look(machine) == []
        before = [machine.everything(run) for run in runs]
        assert mend(machine) == []
        assert [machine.everything(run) for run in runs] == before

    def test_a_dry_run_changes_nothing(self, machine):
        machine.flow("f", a=single())
        run = machine.start("f")
        drop_messages(machine)
        before = machine.everything(run)
        assert look(machine) == [Damage("task without a message", "f", run, "a", 0, "f", None, mended=False)]
        assert machine.everything(run) == before
        assert machine.queued("f") == []

    def test_other_flows_are_left_alone_on_request(self, machine):
        for slug in ("f", "g"):
            machine.flow(slug, a=single())
            machine.start(slug)
            drop_messages(machine, slug)
            machine.conn.execute("select pgmq.send(%s, '{}')", [slug])
        assert {(d.flow_slug, d.queue_name) for d in look(machine, "f")} == {("f", "f"), (None, "f")}
        assert mend(machine, "f") == ["task without a message", "message without a task"]
        assert len(look(machine)) == 2


class TestEndedParents:
    def test_open_tasks_of_failed_runs_are_cancelled(self, machine):
        """generations TS-6: as a core before 0.15.1 left them; rows keep what they say (TS-3)."""
        machine.flow("f", a=single(), b=single())
        run = machine.start("f")
        machine.claim("f", 1)
        machine.conn.execute("update pgflow.runs set status = 'failed', failed_at = now()")
        assert kinds(machine) == ["open task of an ended run"] * 2
        assert mend(machine) == ["open task of an ended run"] * 2
        assert machine.tasks(run) == {"a": ["cancelled"], "b": ["cancelled"]}
        assert machine.task(run, "a", "attempts_count", "last_worker_id") == (1, machine.worker)
        assert machine.queued("f") == []

    def test_open_tasks_of_skipped_steps_are_skipped(self, machine):
        """generations TS-6."""
        machine.flow("f", m=map_of(), b=single())
        run = machine.start("f", [1, 2])
        machine.conn.execute(
            "update pgflow.step_states set status = 'skipped', skip_reason = 'handler_failed', skipped_at = now(), "
            "remaining_tasks = null where step_slug = 'm'"
        )
        machine.conn.execute("update pgflow.runs set remaining_steps = 1")
        assert mend(machine) == ["open task of an ended step"] * 2
        assert machine.tasks(run) == {"b": ["queued"], "m": ["skipped", "skipped"]}
        machine.drain("f")
        assert machine.status(run) == "completed"

    def test_steps_go_before_runs(self, machine):
        """generations TS-6: a task of a skipped step in a failed run is skipped."""
        machine.flow("f", a=single(), b=single())
        run = machine.start("f")
        machine.conn.execute("update pgflow.runs set status = 'failed', failed_at = now()")
        machine.conn.execute(
            "update pgflow.step_states set status = 'skipped', skip_reason = 'x', remaining_tasks = null "
            "where step_slug = 'a'"
        )
        assert mend(machine) == ["open task of an ended step", "open task of an ended run"]
        assert machine.tasks(run) == {"a": ["skipped"], "b": ["cancelled"]}

    def test_a_failed_step_fails_its_run(self, recorded):
        recorded.flow("f", a=single(), b=single())
        run = recorded.start("f")
        recorded.conn.execute(
            "update pgflow.step_states set status = 'failed', failed_at = now(), error_message = 'boom' "
            "where step_slug = 'a'"
        )
        assert mend(recorded) == ["open task of an ended step", "failed step of a live run"]
        assert recorded.status(run) == "failed"
        assert recorded.tasks(run) == {"a": ["cancelled"], "b": ["cancelled"]}
        assert recorded.events(run)[-1][1]["error_message"] == "boom"


class TestMessages:
    def test_a_waiting_task_without_a_message_gets_one(self, machine):
        machine.flow("f", m=map_of())
        run = machine.start("f", [1, 2])
        drop_messages(machine)
        machine.conn.execute("update pgflow.step_tasks set message_id = null where task_index = 1")
        assert mend(machine) == ["task without a message"] * 2
        assert sorted(task.input for task in machine.claim("f")) == [1, 2]
        assert rows(machine.conn, "select distinct message -> 'run_id' from pgmq.q_f") == [(str(run),)]

    def test_a_running_task_without_a_message_may_still_report(self, machine):
        """Only when its timeout has passed by 30 s is it given to somebody else."""
        machine.flow("f", options={"timeout": 60}, a=single())
        run = machine.start("f")
        (task,) = machine.claim("f")
        drop_messages(machine)
        assert look(machine) == []
        machine.backdate(run, 80)
        assert look(machine) == []
        machine.backdate(run, 11)
        assert mend(machine) == ["task without a message"]
        assert machine.settle([(task, "late")])[0][0] is False
        (again,) = machine.claim("f")
        assert again.attempt == 2
        machine.settle([(again, "in time")])
        assert machine.run(run)[:2] == ("completed", {"a": "in time"})

    def test_messages_without_a_task_are_archived_wherever_they_are(self, machine):
        """Hidden ones too, which recovery does not look at."""
        machine.flow("f", a=single())
        machine.start("f")
        machine.drain("f")
        machine.conn.execute("select pgmq.send('f', %s, 3600)", [Jsonb({"run_id": str(uuid.uuid4())})])
        machine.conn.execute("select pgmq.send('f', '[]')")
        waiting = machine.start("f")
        assert mend(machine) == ["message without a task"] * 2
        assert [task.run for task in machine.claim("f")] == [waiting]

    def test_a_missing_queue_is_made_again(self, machine):
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.conn.execute("select pgmq.drop_queue('f')")
        assert kinds(machine) == ["missing queue", "task without a message"]
        assert mend(machine) == ["missing queue", "task without a message"]
        machine.drain("f")
        assert machine.status(run) == "completed"


class TestStalled:
    @pytest.mark.parametrize(("attempts", "status"), [(1, "failed"), (5, "started")])
    def test_what_was_given_up_ends_by_its_policy(self, machine, attempts, status):
        """core A-8, ST-4: another core's recovery leaves it started for ever."""
        machine.flow("f", options={"base_delay": 0}, a=single(max_attempts=attempts))
        run = machine.start("f")
        machine.claim("f")
        machine.conn.execute("update pgflow.step_tasks set permanently_stalled_at = now(), requeued_count = 3")
        drop_messages(machine)
        assert mend(machine)[0] == "task given up"
        assert machine.status(run) == status
        assert "started again 3 times" in machine.task(run, "a", "error_message")
        machine.drain("f")
        assert machine.status(run) == ("failed" if status == "failed" else "completed")

    @pytest.mark.parametrize(("mode", "run_status"), [("fail", "failed"), ("skip", "completed")])
    def test_a_failed_task_decides_for_its_step(self, machine, mode, run_status):
        machine.flow("f", a=single(when_exhausted=mode, max_attempts=3))
        run = machine.start("f")
        machine.claim("f")
        machine.conn.execute(
            "update pgflow.step_tasks set status = 'failed', failed_at = now(), error_message = 'boom'"
        )
        drop_messages(machine)
        assert mend(machine) == ["failed task of a live step"]
        assert machine.status(run) == run_status
        assert machine.state(run, "a", "error_message") == "boom"
        assert machine.task(run, "a", "status", "error_message") == ("failed", "boom")


class TestCountersAndSteps:
    def test_a_step_whose_tasks_are_done_completes_with_all_that_follows(self, recorded):
        """core CT-6, CT-7: output, children, events."""
        recorded.flow("f", m=map_of(), n=map_of("m"), s=single("n"))
        run = recorded.start("f", [1, 2, 3])
        for task in recorded.claim("f"):
            recorded.conn.execute(
                "update pgflow.step_tasks set status = 'completed', completed_at = now(), output = %s "
                "where run_id = %s and task_index = %s",
                [Jsonb(task.input * 10), run, task.index],
            )
        recorded.conn.execute("update pgflow.step_states set remaining_tasks = 0 where step_slug = 'm'")
        drop_messages(recorded)
        assert mend(recorded) == ["step without open tasks"]
        assert recorded.state(run, "m", "status", "output") == ("completed", [10, 20, 30])
        assert recorded.event_names(run) == ["run:started", "step:m:started", "step:m:completed", "step:n:started"]
        assert [task.input for task in recorded.claim("f")] == [10, 20, 30]

    @pytest.mark.parametrize("size", [0, 3])
    def test_a_ready_step_is_started(self, machine, size):
        machine.flow("f", a=single(), m=map_of("a"))
        run = machine.start("f")
        machine.conn.execute(
            "update pgflow.step_states set status = 'completed', completed_at = now(), remaining_tasks = 0, "
            "output = %s where step_slug = 'a'",
            [Jsonb(list(range(size)))],
        )
        machine.conn.execute("update pgflow.step_tasks set status = 'completed', completed_at = now()")
        drop_messages(machine)
        assert mend(machine) == [
            "wrong counter",
            "wrong counter",
            "map without a size",
            "ready step that was not started",
        ]
        assert machine.drain("f", lambda task: task.input) == size
        assert machine.run(run)[:2] == ("completed", {"m": list(range(size))})

    @pytest.mark.parametrize("parent", ["completed", "started"])
    def test_tasks_of_a_step_that_has_not_started_go(self, machine, parent):
        """It makes them anew when it starts, now or later; what a worker says of an old one is late (core CT-3)."""
        machine.flow("f", a=single(), m=map_of("a"))
        run = machine.start("f")
        machine.settle([(machine.claim("f")[0], [1, 2])])
        held = machine.claim("f", 1)
        machine.conn.execute(
            "update pgflow.step_states set status = 'created', started_at = null, remaining_tasks = null "
            "where step_slug = 'm'"
        )
        expected = ["task of a step not started"] * 2
        if parent == "completed":
            expected.append("ready step that was not started")
        else:
            machine.conn.execute(
                "update pgflow.step_states set status = 'started', completed_at = null, remaining_tasks = 1, "
                "output = null where step_slug = 'a'; "
                "update pgflow.step_tasks set status = 'queued', started_at = null, completed_at = null, output = null "
                "where step_slug = 'a'; "
                "update pgflow.runs set remaining_steps = 2"
            )
            expected += ["wrong counter", "task without a message"]
        assert mend(machine) == expected
        assert machine.settle([(held[0], "late")], worker=machine.worker)[0][0] is False
        machine.drain("f", lambda task: [3, 4] if task.step == "a" else task.input)
        assert machine.run(run)[:2] == ("completed", {"m": [1, 2] if parent == "completed" else [3, 4]})

    @pytest.mark.parametrize("remaining", [0, 5])
    def test_a_run_without_open_steps_is_completed(self, recorded, remaining):
        """core 3.12: with its output and its event."""
        recorded.flow("f", a=single())
        run = recorded.start("f")
        recorded.conn.execute("update pgflow.step_tasks set status = 'completed', completed_at = now()")
        recorded.conn.execute(
            "update pgflow.step_states set status = 'completed', completed_at = now(), remaining_tasks = 0, "
            "output = '1'"
        )
        recorded.conn.execute("update pgflow.runs set remaining_steps = %s", [remaining])
        drop_messages(recorded)
        expected = ["run without open steps"] if remaining == 0 else ["wrong counter", "run without open steps"]
        assert mend(recorded) == expected
        assert recorded.run(run) == ("completed", {"a": 1}, 0)
        assert recorded.event_names(run)[-1] == "run:completed"

    @pytest.mark.parametrize(
        "damage",
        [
            "update pgflow.runs set remaining_steps = 7",
            "update pgflow.runs set remaining_steps = 0",
            "update pgflow.step_states set remaining_deps = 2 where step_slug = 's'",
            "update pgflow.step_states set remaining_tasks = 9 where step_slug = 'm'",
            "update pgflow.step_states set remaining_tasks = 1 where step_slug = 'm'",
        ],
    )
    def test_wrong_counters_are_counted_again(self, machine, damage):
        machine.flow("f", m=map_of(), s=single("m"))
        run = machine.start("f", [1, 2, 3])
        machine.settle([(machine.claim("f", 1)[0], "x")])
        machine.conn.execute(damage)
        assert mend(machine) == ["wrong counter"]
        machine.drain("f")
        assert machine.status(run) == "completed"

    def test_missing_tasks_are_made(self, machine):
        machine.flow("f", m=map_of())
        run = machine.start("f", [1, 2, 3])
        machine.conn.execute("delete from pgflow.step_tasks where task_index <> 1")
        assert sorted(mend(machine)) == (
            ["message without a task"] * 2 + ["missing task"] * 2 + ["task without a message"] * 2
        )
        machine.drain("f", lambda task: task.input)
        assert machine.run(run)[1] == {"m": [1, 2, 3]}

    def test_what_cannot_be_mended_is_said(self, machine):
        """A map whose parent made no array: nobody can know its size."""
        machine.flow("f", a=single(), m=map_of("a"))
        machine.start("f")
        machine.conn.execute("update pgflow.step_tasks set status = 'completed', completed_at = now()")
        machine.conn.execute(
            "update pgflow.step_states set status = 'completed', completed_at = now(), remaining_tasks = 0, "
            "output = '1' where step_slug = 'a'"
        )
        drop_messages(machine)
        found = execute(machine.conn, repair(dry_run=False))
        assert [(each.damage, each.mended) for each in found if not each.mended] == [("map without a size", False)]


class TestSessions:
    def test_a_run_that_is_being_settled_is_waited_for(self, machine):
        """D-2: the locks of the runs come first, and damage is judged under them."""
        machine.flow("f", a=single(), b=single("a"))
        run = machine.start("f")
        (task,) = machine.claim("f")
        settling = machine.another_session()
        settling.conn.autocommit = False
        settling.settle([(task, 1)], worker=machine.worker)
        machine.conn.execute("set lock_timeout = '2s'")
        assert mend(machine) == []
        machine.conn.execute("reset lock_timeout")
        settling.conn.commit()
        settling.conn.close()
        assert machine.tasks(run) == {"a": ["completed"], "b": ["queued"]}
        assert value(machine.conn, "select count(*) from pgflow_mp.repair()") == 0


@pytest.mark.own_core
def test_a_long_step_under_a_short_flow_timeout_is_never_taken_from_a_healthy_worker(machine):
    """core A-3, 4.3; generations RQ-1: the step's own timeout counts, for the contract's recovery, ours and repair."""
    machine.flow("f", options={"timeout": 3}, long=single(timeout=3600), short=single())
    run = machine.start("f")
    worker = machine.register(ours=True)
    machine.claim("f", worker=worker)
    machine.backdate(run, 1800, "long")
    assert machine.visible_in(run, "long") > 3590
    assert value(machine.conn, "select pgflow.requeue_stalled_tasks()") == 0
    assert value(machine.conn, "select recovered_count from pgflow.recover_stalled_tasks(0.0)") == 0
    assert machine.recover() == 0
    assert mend(machine) == []
    assert machine.task(run, "long", "status", "last_worker_id", "attempts_count") == ("started", worker, 1)
    machine.backdate(run, 1831, "long")
    assert value(machine.conn, "select pgflow.requeue_stalled_tasks()") == 1
