"""Events for the platform's realtime service. Rules: core 1.4, section 7; decision D-10."""

from pgflow_mp.core.install import install

from .ask import rows, value
from .machine import map_of, single


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

    def test_without_realtime_send_nothing_is_sent_and_nothing_fails(self, machine):
        """D-10; core 1.5.1 is the original's behaviour."""
        assert value(machine.conn, "select pgflow_mp._events_wanted()") is False
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.drain("f")
        assert machine.status(run) == "completed"

    def test_an_install_adapts_when_the_service_comes(self, machine):
        """D-10: decided at install time; sessions that have run the old variant see the new one."""
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
