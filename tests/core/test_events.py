"""Events for the platform's realtime service. Rules: core 1.4, section 7; decision D-10."""

import pytest

from pgflow_mp.core.install import install

from .ask import rows, value
from .machine import Failure, map_of, single

# Kind of event: the keys besides event_type, run_id and status (core section 7).
KEYS = {
    "run:started": {"flow_slug", "input", "remaining_steps", "started_at"},
    "run:completed": {"flow_slug", "output", "completed_at"},
    "run:failed": {"flow_slug", "error_message", "failed_at"},
    "run:failed by type": {"flow_slug", "failed_at"},
    "step:started": {"step_slug", "started_at", "remaining_tasks", "remaining_deps"},
    "step:completed": {"step_slug", "output", "completed_at"},
    "step:completed taskless": {
        "step_slug", "output", "started_at", "completed_at", "remaining_tasks", "remaining_deps"
    },
    "step:failed": {"step_slug", "error_message", "failed_at"},
    "step:skipped": {"flow_slug", "step_slug", "skip_reason", "skipped_at"},
    "step:skipped by handler": {"step_slug", "skip_reason", "error_message", "skipped_at"},
}  # fmt: skip


def told(machine, run):
    """[(event, keys besides the common ones)]."""
    common = {"event_type", "run_id", "status"}
    events = machine.events(run)
    assert all(common <= set(payload) and payload["run_id"] == str(run) for _, payload in events)
    for event, payload in events:
        kind, status = event.partition(":")[0], event.rpartition(":")[2]
        assert (payload["event_type"], payload["status"]) == (f"{kind}:{status}", status)
    return [(event, set(payload) - common) for event, payload in events]


class TestPayloads:
    def test_each_event_has_exactly_its_keys(self, recorded):
        """core section 7 [T]: names, topic, private flag, keys and values."""
        recorded.flow("f", a=single(), b=map_of("a"))
        run = recorded.start("f", {"n": 1})
        recorded.settle([(task, [5]) for task in recorded.claim("f")])
        recorded.settle([(task, task.input * 2) for task in recorded.claim("f")])
        sent = rows(recorded.conn, "select distinct topic, private from realtime.sent")
        assert sent == [(f"pgflow:run:{run}", False)]
        events = recorded.events(run)
        assert [event for event, _ in events] == [
            "run:started",
            "step:a:started",
            "step:a:completed",
            "step:b:started",
            "step:b:completed",
            "run:completed",
        ]
        started, a_started, a_completed, b_started, b_completed, completed = [payload for _, payload in events]
        common = {"run_id": str(run)}
        assert started.pop("started_at")
        assert started == common | {
            "event_type": "run:started",
            "flow_slug": "f",
            "input": {"n": 1},
            "status": "started",
            "remaining_steps": 2,
        }
        assert a_started.pop("started_at")
        assert a_started == common | {
            "event_type": "step:started",
            "step_slug": "a",
            "status": "started",
            "remaining_tasks": 1,
            "remaining_deps": 0,
        }
        assert a_completed.pop("completed_at")
        assert a_completed == common | {
            "event_type": "step:completed",
            "step_slug": "a",
            "status": "completed",
            "output": [5],
        }
        assert (b_started["remaining_tasks"], b_completed["output"]) == (1, [10])
        assert completed.pop("completed_at")
        assert completed == common | {
            "event_type": "run:completed",
            "flow_slug": "f",
            "status": "completed",
            "output": {"b": [10]},
        }

    def test_a_type_violation_tells_the_run_first_and_without_an_error(self, recorded):
        """core section 7 [T], section 7 rule 3."""
        recorded.flow("f", a=single(), m=map_of("a"), b=single())
        run = recorded.start("f")
        recorded.poll("f")
        recorded.complete(run, "a", "no array")
        assert told(recorded, run)[3:] == [
            ("run:failed", KEYS["run:failed by type"]),
            ("step:a:failed", KEYS["step:failed"]),
        ]

    def test_a_failure_tells_the_step_first(self, recorded):
        """core section 7 [T], section 7 rule 3: of a handler and of a condition."""
        recorded.flow("f", a=single(max_attempts=1), b=single())
        run = recorded.start("f")
        recorded.poll("f")
        recorded.fail(run, "a", "boom")
        expected = [("step:a:failed", KEYS["step:failed"]), ("run:failed", KEYS["run:failed"])]
        assert told(recorded, run)[3:] == expected
        recorded.flow("g", a=single(when={"x": 1}, when_unmet="fail"))
        run = recorded.start("g")
        assert told(recorded, run) == [("run:started", KEYS["run:started"]), *expected]
        assert {p["error_message"] for e, p in recorded.events(run) if "failed" in e} == {"Condition not met"}

    def test_skips_tell_whose_fault_it_was(self, recorded):
        """core section 7 [T]: a condition, what depends on it, a handler, what depends on that."""
        recorded.flow("c", a=single(when={"x": 1}, when_unmet="skip-cascade"), b=single("a"))
        run = recorded.start("c")
        assert told(recorded, run) == [
            ("run:started", KEYS["run:started"]),
            ("step:a:skipped", KEYS["step:skipped"]),
            ("step:b:skipped", KEYS["step:skipped"]),
            ("run:completed", KEYS["run:completed"]),
        ]
        recorded.flow("h", a=single(max_attempts=1, when_exhausted="skip-cascade"), b=single("a"))
        run = recorded.start("h")
        recorded.settle([(recorded.claim("h")[0], Failure("boom"))])
        assert told(recorded, run) == [
            ("run:started", KEYS["run:started"]),
            ("step:a:started", KEYS["step:started"]),
            ("step:a:skipped", KEYS["step:skipped by handler"]),
            ("step:b:skipped", KEYS["step:skipped"]),
            ("run:completed", KEYS["run:completed"]),
        ]
        reasons = [p["skip_reason"] for e, p in recorded.events(run) if "skipped" in e]
        assert reasons == ["handler_failed", "dependency_skipped"]

    def test_empty_maps_complete_without_having_started(self, recorded):
        """core section 7 [T], section 7 rule 6."""
        recorded.flow("f", m=map_of(), s=single("m"))
        run = recorded.start("f", [])
        recorded.drain("f")
        assert told(recorded, run) == [
            ("run:started", KEYS["run:started"]),
            ("step:m:completed", KEYS["step:completed taskless"]),
            ("step:s:started", KEYS["step:started"]),
            ("step:s:completed", KEYS["step:completed"]),
            ("run:completed", KEYS["run:completed"]),
        ]

    def test_replays_and_late_outcomes_tell_nothing(self, recorded):
        """core section 7 rule 1 [T]."""
        recorded.flow("f", a=single(), b=single("a", max_attempts=1))
        run = recorded.start("f")
        recorded.poll("f")
        recorded.complete(run, "a", 1)
        (task,) = recorded.claim("f")
        recorded.settle([(task, Failure("boom"))])
        before = recorded.events(run)
        recorded.complete(run, "a", 2)
        recorded.fail(run, "a")
        recorded.settle([(task, Failure("boom")), (task, 1)])
        recorded.complete(run, "b", 1)
        assert recorded.events(run) == before

    def test_a_map_is_one_step_started_and_one_step_completed(self, recorded):
        """core CT-7 [T], 4.2.3: the stored output of the step, not a task's; section 7 rule 2: no task events."""
        recorded.flow("f", m=map_of())
        run = recorded.start("f", [1, 2, 3])
        recorded.drain("f", lambda task: task.input, batch=1)
        events = dict(recorded.events(run))
        assert len(recorded.events(run)) == 4
        assert events["step:m:started"]["remaining_tasks"] == 3
        assert events["step:m:completed"]["output"] == [1, 2, 3]

    def test_batches_keep_the_order_of_each_run(self, recorded):
        """core section 7 rule 3: started first, a parent before its children, completed last."""
        recorded.flow("f", b=single(), a=single(), z=single("a", "b"))
        runs = recorded.start_many("f", [1, 2, 3])
        recorded.settle([(task, 1) for task in recorded.claim("f")])
        recorded.settle([(task, 1) for task in recorded.claim("f")])
        for run in runs:
            assert recorded.event_names(run) == [
                "run:started",
                "step:a:started",
                "step:b:started",
                "step:a:completed",
                "step:b:completed",
                "step:z:started",
                "step:z:completed",
                "run:completed",
            ]

    def test_they_are_part_of_the_transaction(self, recorded):
        """core section 7 rule 4."""
        recorded.flow("f", a=single())
        with recorded.conn.transaction(force_rollback=True):
            recorded.start("f")
            assert len(recorded.events()) == 2
        assert recorded.events() == []

    def test_recovery_is_silent_until_a_step_ends(self, recorded):
        """core section 7 rule 1 [T]: no event for retries, requeues and givings back."""
        recorded.flow("f", options={"base_delay": 0}, a=single())
        run = recorded.start("f")
        gone = recorded.register(ours=True, stopped=True)
        recorded.claim("f", worker=gone)
        recorded.recover()
        recorded.give_back(recorded.claim("f"))
        recorded.poll("f")
        recorded.fail(run, "a")
        assert recorded.event_names(run) == ["run:started", "step:a:started"]


class TestSink:
    @pytest.mark.own_core
    def test_a_sink_that_raises_breaks_no_run(self, recorded):
        """core 1.6: it becomes a warning."""
        notices = []
        recorded.conn.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        recorded.flow("f", a=single())
        with recorded.conn.transaction(force_rollback=True):
            recorded.conn.execute("alter table realtime.sent add constraint closed check (false) not valid")
            run = recorded.start("f")
            recorded.settle([(task, 1) for task in recorded.claim("f")])
            assert recorded.status(run) == "completed"
        assert any("realtime.send refused event run:started" in notice for notice in notices)

    @pytest.mark.own_core
    def test_without_realtime_send_nothing_is_sent_and_nothing_fails(self, machine):
        """D-10; core 1.5.1 is the original's behaviour."""
        assert value(machine.conn, "select pgflow_mp._events_wanted()") is False
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.drain("f")
        assert machine.status(run) == "completed"

    @pytest.mark.own_core
    def test_an_install_adapts_when_the_service_comes(self, machine):
        """D-10: decided at install time; sessions that have run the old variant see the new one. And when it goes."""
        machine.flow("f", a=single())
        machine.start("f")
        with machine.conn.transaction(force_rollback=True):
            machine.conn.execute("create schema realtime")
            machine.conn.execute("create table realtime.sent (event text)")
            machine.conn.execute(
                "create function realtime.send(payload jsonb, event text, topic text, private boolean) "
                "returns void language sql as 'insert into realtime.sent values ($2)'"
            )
            install(machine.conn)
            machine.start("f")
            assert rows(machine.conn, "select event from realtime.sent") == [("run:started",), ("step:a:started",)]
            machine.conn.execute("drop function realtime.send")
            install(machine.conn)
            assert machine.status(machine.start("f")) == "started"
            assert value(machine.conn, "select count(*) from realtime.sent") == 2
