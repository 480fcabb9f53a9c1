"""Conditions, skips, cascades. Rules: core 3.9 to 3.11, 4.4, A-4, A-6; generations 2.4, 2.5, TS-1 to TS-5; D-6."""

import uuid

import pytest

from .ask import refusal, rows, value
from .machine import map_of, single


def skips(machine, run):
    return dict(
        rows(
            machine.conn,
            "select step_slug, skip_reason from pgflow.step_states where run_id = %s and status = 'skipped'",
            run,
        )
    )


class TestWhatIsTested:
    @pytest.mark.parametrize(
        ("pattern", "status"), [({"plan": "vip"}, "started"), ({"plan": "free"}, "skipped"), ({}, "started")]
    )
    def test_a_root_step_is_tested_on_the_run_input(self, machine, pattern, status):
        """core 3.9.3, 3.9.4 [T]: containment; an empty pattern is met by any object (3.9.10)."""
        machine.flow("f", a=single(when=pattern), b=single())
        run = machine.start("f", {"plan": "vip", "n": 1})
        assert machine.state(run, "a", "status") == status

    @pytest.mark.parametrize(("pattern", "status"), [({"plan": "vip"}, "skipped"), ({"plan": "free"}, "started")])
    def test_a_forbidden_pattern_must_not_be_contained(self, machine, pattern, status):
        """core 3.9.4 [T]."""
        machine.flow("f", a=single(unless=pattern), b=single())
        assert machine.state(machine.start("f", {"plan": "vip"}), "a", "status") == status

    @pytest.mark.parametrize(
        ("run_input", "status"), [({"a": 1}, "started"), ({"a": 1, "b": 2}, "skipped"), ({"b": 1}, "skipped")]
    )
    def test_both_patterns_must_hold(self, machine, run_input, status):
        """core 3.9.4 [T]."""
        machine.flow("f", a=single(when={"a": 1}, unless={"b": 2}), b=single())
        assert machine.state(machine.start("f", run_input), "a", "status") == status

    def test_a_dependent_step_is_tested_on_its_parents_outputs(self, machine):
        """core 3.9.3 [T]: parent slug -> stored output."""
        machine.flow("f", p=single(), q=single(), yes=single("p", "q", when={"p": {"ok": True}, "q": [2]}),
                     no=single("p", "q", when={"p": {"ok": False}}))  # fmt: skip
        run = machine.start("f")
        for task in machine.claim("f"):
            machine.settle([(task, {"ok": True, "more": 1} if task.step == "p" else [1, 2])])
        assert machine.state(run, "yes", "status") == "started"
        assert skips(machine, run) == {"no": "condition_unmet"}

    def test_a_skipped_parent_has_no_key(self, machine):
        """core 3.9.3, 3.9.10 [T]: the idiom for fallbacks."""
        machine.flow("f", main=single(when={"go": True}), fallback=single("main", unless={"main": {}}))
        assert machine.steps(machine.start("f", {"go": False})) == {"main": "skipped", "fallback": "started"}
        run = machine.start("f", {"go": True})
        machine.settle([(task, {"done": 1}) for task in machine.claim("f", only=[run])])
        assert skips(machine, run) == {"fallback": "condition_unmet"}

    def test_with_no_parent_completed_the_input_is_an_empty_object(self, machine):
        """core 3.9.3 [T]."""
        machine.flow("f", a=single(when={"go": True}), b=single("a", when={}), c=single("a", when={"a": {}}))
        assert machine.steps(machine.start("f")) == {"a": "skipped", "b": "started", "c": "skipped"}

    def test_a_null_output_of_a_parent_is_json_null(self, machine):
        """core 3.9.11."""
        machine.flow("f", p=single(), c=single("p", when={"p": None}))
        run = machine.start("f")
        machine.settle([(task, None) for task in machine.claim("f")])
        assert machine.state(run, "c", "status") == "started"

    def test_a_map_is_tested_as_a_whole(self, machine):
        """core 3.9.3 [T]: {parent: [...]}, not element by element."""
        machine.flow("f", p=single(), m=map_of("p", when={"p": [3]}), n=map_of("p", when={"p": [4]}))
        run = machine.start("f")
        machine.settle([(task, [1, 2, 3]) for task in machine.claim("f")])
        assert machine.steps(run) == {"p": "completed", "m": "started", "n": "skipped"}

    def test_a_pattern_never_matches_the_array_of_a_root_map(self, machine):
        """core 3.9.10 (CR-6)."""
        machine.flow("f", required=map_of(when={}), forbidden=map_of(unless={}))
        assert machine.steps(machine.start("f", [1])) == {"required": "skipped", "forbidden": "started"}


class TestFail:
    def test_it_fails_the_run_and_only_the_first_step(self, recorded):
        """core 3.9.6 [T]: the first by step_index; others stay created, no skip of the round happens; 3.6.5."""
        recorded.flow(
            "f",
            z=single(when={"x": 1}, when_unmet="fail"),
            a=single(when={"x": 2}, when_unmet="fail"),
            s=single(when={"x": 3}, when_unmet="skip"),
            free=single(),
        )
        run = recorded.start("f")
        assert recorded.run(run) == ("failed", None, 4)
        assert recorded.steps(run) == {"z": "failed", "a": "created", "s": "created", "free": "created"}
        assert recorded.state(run, "z", "error_message", "started_at", "failed_at = created_at") == (
            "Condition not met",
            None,
            True,
        )
        assert recorded.tasks(run) == {}
        assert recorded.event_names(run) == ["run:started", "step:z:failed", "run:failed"]
        assert [payload.get("error_message") for _, payload in recorded.events(run)][1:] == ["Condition not met"] * 2

    def test_it_cancels_the_tasks_of_all_branches(self, machine):
        """core 3.9.6 [T], generations 2.4, TS-2 [T], TS-3, TS-4: also started ones and unrelated branches."""
        machine.flow("f", gate=single(), guarded=single("gate", when={"gate": 1}, when_unmet="fail"),
                     other=single(), waiting=single())  # fmt: skip
        run = machine.start("f")
        (gate,) = [t for t in machine.claim("f", 3) if t.step == "gate"]
        machine.conn.execute(
            "update pgflow.step_tasks set status = 'queued', started_at = null where step_slug = 'waiting'"
        )
        before = machine.task(run, "other", "attempts_count", "started_at", "last_worker_id", "message_id")
        (result,) = machine.settle([(gate, 2)])
        assert result == (True, "completed", "completed", "failed")
        assert machine.tasks(run) == {"gate": ["completed"], "other": ["cancelled"], "waiting": ["cancelled"]}
        assert machine.task(run, "other", "attempts_count", "started_at", "last_worker_id", "message_id") == before
        assert machine.task(run, "other", "completed_at", "failed_at", "output") == (None, None, None)
        assert machine.steps(run) == {
            "gate": "completed",
            "guarded": "failed",
            "other": "started",
            "waiting": "started",
        }
        assert machine.queued("f") == []
        assert machine.archived("f") == [("gate", 0), ("other", 0), ("waiting", 0)]

    def test_complete_task_archives_its_own_message_then(self, machine):
        """core CT-7 [T], subtle point 5: the row comes back completed."""
        machine.flow("f", gate=single(), guarded=single("gate", when={"gate": 1}, when_unmet="fail"))
        run = machine.start("f")
        machine.poll("f")
        assert machine.complete(run, "gate", 2) == "completed"
        assert machine.status(run) == "failed"
        assert machine.queued("f") == []

    def test_a_failing_handler_skip_may_fail_the_run(self, machine):
        """core FT-9 [T]: conditions before anything is started; task failed, step skipped, run failed."""
        machine.flow("f", a=single(max_attempts=1, when_exhausted="skip"),
                     b=single("a", when={"a": 1}, when_unmet="fail"), c=single("a"))  # fmt: skip
        run = machine.start("f")
        machine.poll("f")
        assert machine.fail(run, "a") == "failed"
        assert machine.status(run) == "failed"
        assert machine.steps(run) == {"a": "skipped", "b": "failed", "c": "created"}
        assert machine.queued("f") == []


class TestSkip:
    def test_children_go_on_as_if_it_had_finished(self, recorded):
        """core 3.9.7 [T], 4.4.2, section 7."""
        recorded.flow("f", a=single(when={"x": 1}), b=single("a"), m=map_of("a"), after=single("m"))
        run = recorded.start("f")
        assert recorded.steps(run) == {"a": "skipped", "b": "started", "m": "completed", "after": "started"}
        assert recorded.state(run, "a", "skip_reason", "skipped_at = created_at", "remaining_tasks") == (
            "condition_unmet",
            True,
            None,
        )
        assert recorded.state(run, "m", "output", "initial_tasks") == ([], 0)
        assert recorded.run(run)[2] == 2
        assert {task.step: task.input for task in recorded.claim("f")} == {"b": {}, "after": {"m": []}}
        event, payload = recorded.events(run)[1]
        assert event == "step:a:skipped"
        assert set(payload) == {"event_type", "run_id", "status", "flow_slug", "step_slug", "skip_reason", "skipped_at"}

    def test_a_join_is_released_by_parents_skipped_together(self, machine):
        """core 3.9.7 [T], subtle point 2: minus the number of parents skipped in the round."""
        machine.flow("f", a=single(when={"x": 1}), b=single(when={"x": 1}), join=single("a", "b"))
        run = machine.start("f")
        assert machine.steps(run) == {"a": "skipped", "b": "skipped", "join": "started"}
        assert machine.state(run, "join", "remaining_deps") == 0
        assert machine.run(run) == ("started", None, 1)

    def test_a_skip_may_make_further_conditions_due(self, machine):
        """core 3.9.7: another round follows."""
        machine.flow("f", a=single(when={"x": 1}), b=single("a", when={"a": 1}), c=single("b"))
        assert machine.steps(machine.start("f")) == {"a": "skipped", "b": "skipped", "c": "started"}

    def test_a_run_in_which_everything_was_skipped_is_completed(self, machine):
        """core 4.4.3, 3.12.2."""
        machine.flow("f", a=single(when={"x": 1}), b=single("a", when={"a": 1}))
        assert machine.run(machine.start("f")) == ("completed", None, 0)

    def test_49_skips_in_a_row_work_and_50_raise(self, machine):
        """core 3.9.5."""
        for count in (49, 50):
            steps = {"s0": single(when={"x": 1})}
            steps |= {f"s{i}": single(f"s{i - 1}", when={f"s{i - 1}": 1}) for i in range(1, count)}
            machine.flow(f"skips{count}", **steps)
        assert machine.run(machine.start("skips49")) == ("completed", None, 0)
        assert refusal(machine.conn, "select pgflow.start_flow('skips50', '{}')") == (
            "P0001",
            "cascade_resolve_conditions exceeded safety limit of 50 iterations",
        )
        assert value(machine.conn, "select count(*) from pgflow.runs where flow_slug = 'skips50'") == 0

    def test_over_the_limit_a_settled_run_fails_alone(self, recorded):
        """D-6: the other outcomes of the batch are applied; the contract's complete_task raises."""
        steps = {"root": single(), "s0": single("root", when={"root": 1})}
        steps |= {f"s{i}": single(f"s{i - 1}", when={f"s{i - 1}": 1}) for i in range(1, 50)}
        recorded.flow("f", **steps)
        bad, good, third = recorded.start_many("f", [1, 2, 3])
        tasks = {task.run: task for task in recorded.claim("f")}
        sql = "select pgflow.complete_task(%s, 'root', 0, '2')"
        assert (
            refusal(recorded.conn, sql, third)[1] == "cascade_resolve_conditions exceeded safety limit of 50 iterations"
        )
        assert recorded.settle([(tasks[bad], 2), (tasks[good], 1)]) == [
            (True, "completed", "completed", "failed"),
            (True, "completed", "completed", "started"),
        ]
        assert recorded.events(bad)[-1][0] == "run:failed"
        assert recorded.events(bad)[-1][1]["error_message"] == (
            "cascade_resolve_conditions exceeded safety limit of 50 iterations"
        )


class TestSkipCascade:
    def test_all_that_depend_on_it_are_skipped(self, recorded):
        """core 3.9.8, 3.11.2 to 3.11.4 [T], A-6: whatever their other parents; events in step_index order."""
        recorded.flow(
            "f",
            root=single(),
            z=single(when={"x": 1}, when_unmet="skip-cascade"),
            y=single("z"),
            b=single("root", "y"),
            a=map_of("b"),
            free=single("root"),
        )
        run = recorded.start("f")
        assert skips(recorded, run) == {
            "z": "condition_unmet",
            "y": "dependency_skipped",
            "b": "dependency_skipped",
            "a": "dependency_skipped",
        }
        assert recorded.run(run)[2] == 2
        assert recorded.event_names(run)[1:5] == [f"step:{s}:skipped" for s in ("z", "y", "b", "a")]
        assert {payload["flow_slug"] for _, payload in recorded.events(run)[1:5]} == {"f"}
        assert recorded.state(run, "b", "remaining_deps", "skipped_at = created_at", "started_at") == (2, True, None)
        assert recorded.state(run, "a", "initial_tasks") is None

    def test_several_cascades_of_a_run_go_by_step_index(self, recorded):
        """core 3.9.8."""
        unmet = {"when": {"x": 1}, "when_unmet": "skip-cascade"}
        recorded.flow("f", z=single(**unmet), a=single(**unmet), za=single("z"), both=single("a", "z"))
        run = recorded.start("f")
        assert recorded.event_names(run)[1:5] == [f"step:{s}:skipped" for s in ("z", "za", "both", "a")]
        assert recorded.status(run) == "completed"
        assert skips(recorded, run)["a"] == "condition_unmet"

    def test_plain_skips_of_the_round_come_first(self, machine):
        """core 3.9.5, 3.9.7, 3.9.8: skip, then skip-cascade."""
        machine.flow("f", c=single(when={"x": 1}, when_unmet="skip-cascade"), p=single(when={"x": 1}), kid=single("p"))
        assert machine.steps(machine.start("f")) == {"c": "skipped", "p": "skipped", "kid": "started"}


class TestForcedSkip:
    SQL = "select pgflow._cascade_force_skip_steps(%s, %s, %s)"

    def test_it_ends_open_tasks_and_archives_their_messages(self, machine):
        """core 3.11.5 [T], 3.11.6, 3.11.7; generations 2.5, TS-1 [T]: once; a second call changes nothing."""
        machine.flow("f", m=map_of(), after=single("m"), other=single())
        run = machine.start("f", [1, 2, 3])
        first = machine.claim("f", 1)[0]
        machine.settle([(first, 1)])
        machine.claim("f", 1)
        assert value(machine.conn, self.SQL, run, "m", "because") == 2
        assert machine.tasks(run)["m"] == ["completed", "skipped", "skipped"]
        assert machine.tasks(run)["other"] == ["queued"]
        assert skips(machine, run) == {"m": "because", "after": "dependency_skipped"}
        assert machine.queued("f") == [("other", 0)]
        assert machine.run(run) == ("started", None, 1)
        assert machine.state(run, "m", "started_at is not null", "remaining_tasks") == (True, None)
        before = machine.everything(run)
        assert value(machine.conn, self.SQL, run, "m", "again") == 0
        assert machine.everything(run) == before

    def test_the_walk_goes_on_through_ended_steps(self, machine):
        """core 3.11.2 [T]: terminal ones are left alone."""
        machine.flow("f", a=single(), b=single("a"), c=single("b"))
        run = machine.start("f")
        machine.settle([(machine.claim("f")[0], 1)])
        assert value(machine.conn, self.SQL, run, "a", "x") == 2
        assert machine.steps(run) == {"a": "completed", "b": "skipped", "c": "skipped"}
        assert skips(machine, run) == {"b": "dependency_skipped", "c": "dependency_skipped"}

    def test_it_does_not_complete_the_run(self, machine):
        """core 3.11.7."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.conn.execute(self.SQL, [run, "a", "x"])
        assert machine.run(run) == ("started", None, 0)

    def test_an_unknown_run_is_an_error(self, machine):
        """core 3.11.1."""
        run = uuid.uuid4()
        assert refusal(machine.conn, self.SQL, run, "a", "x") == ("P0001", f"Run not found: {run}")

    @pytest.mark.own_core
    def test_it_archives_in_every_queue(self, machine):
        """generations 6.3 [T]: a flow with a queue for each step."""
        machine.conn.execute(
            "select pgflow._create_flow_from_shape('f', "
            """'{"steps": [{"slug": "a"}, {"slug": "b"}, {"slug": "c", "dependencies": ["a", "b"]}]}', 'step')"""
        )
        machine.conn.execute("insert into pgflow.deps (flow_slug, dep_slug, step_slug) values ('f', 'a', 'b')")
        run = machine.start("f")
        machine.conn.execute(self.SQL, [run, "a", "x"])
        assert [value(machine.conn, f"select count(*) from pgmq.a_f__{s}") for s in "ab"] == [1, 1]
        assert machine.tasks(run) == {"a": ["skipped"], "b": ["skipped"]}


class TestResolveConditions:
    SQL = "select pgflow.cascade_resolve_conditions(%s)"

    @pytest.mark.parametrize(("status", "answer"), [("failed", False), ("completed", True)])
    def test_an_ended_run_is_only_reported(self, machine, status, answer):
        """core 3.9.1: no writes."""
        machine.flow("f", a=single(), b=single("a", when={"a": 1}))
        run = machine.start("f")
        machine.conn.execute(f"update pgflow.runs set status = '{status}', {status}_at = now()")
        machine.conn.execute("update pgflow.step_states set remaining_deps = 0")
        before = machine.everything(run)
        assert value(machine.conn, self.SQL, run) is answer
        assert machine.everything(run) == before

    def test_an_unknown_run_may_go_on(self, machine):
        """core 3.9.1."""
        assert value(machine.conn, self.SQL, uuid.uuid4()) is True

    def test_it_says_whether_the_run_may_go_on(self, machine):
        """core 3.9: false means failed."""
        machine.flow("f", a=single(), b=single("a", when={"a": 1}, when_unmet="fail"), c=single("a", when={"a": 1}))
        run = machine.start("f")
        assert value(machine.conn, self.SQL, run) is True
        machine.conn.execute("update pgflow.step_states set remaining_deps = 0 where step_slug = 'c'")
        assert value(machine.conn, self.SQL, run) is True
        assert skips(machine, run) == {"c": "condition_unmet"}
        machine.conn.execute("update pgflow.step_states set remaining_deps = 0 where step_slug = 'b'")
        assert value(machine.conn, self.SQL, run) is False
        assert machine.status(run) == "failed"


class TestTaskless:
    SQL = "select pgflow.cascade_complete_taskless_steps(%s)"

    def test_empty_maps_complete_in_chains(self, recorded):
        """core 3.10.1 to 3.10.4 [T], 4.2.6 [T], section 7 rule 6: one step:completed each, no step:started."""
        recorded.flow("f", a=map_of(), b=map_of("a"), s=single("b"), t=single("a", "b"))
        run = recorded.start("f", [])
        assert recorded.steps(run) == {"a": "completed", "b": "completed", "s": "started", "t": "started"}
        columns = ("output", "remaining_tasks", "initial_tasks", "started_at = completed_at")
        assert recorded.state(run, "b", *columns) == ([], 0, 0, True)
        assert recorded.run(run)[2] == 2
        assert recorded.event_names(run) == [
            "run:started",
            "step:a:completed",
            "step:b:completed",
            "step:s:started",
            "step:t:started",
        ]
        assert recorded.events(run)[1][1] == {
            "event_type": "step:completed",
            "run_id": str(run),
            "step_slug": "a",
            "status": "completed",
            "output": [],
            "remaining_tasks": 0,
            "remaining_deps": 0,
            "started_at": recorded.events(run)[1][1]["completed_at"],
            "completed_at": recorded.events(run)[1][1]["completed_at"],
        }

    def test_49_in_a_row_work(self, machine):
        """core 3.10.4 [T], 3.10.5 (timed; far below its 5 s)."""
        steps = {"s0": map_of()} | {f"s{i}": map_of(f"s{i - 1}") for i in range(1, 49)}
        machine.flow("f", **steps)
        assert machine.run(machine.start("f", [])) == ("completed", {"s48": []}, 0)

    def test_it_returns_how_many_and_leaves_the_run(self, machine):
        """core 3.10.3, 3.10.4, 3.10.6 [T]."""
        machine.flow("f", a=single(), m=map_of("a"), n=map_of("m"))
        run = machine.start("f")
        assert value(machine.conn, self.SQL, run) == 0
        machine.conn.execute(
            "update pgflow.step_states set remaining_deps = 0, initial_tasks = 0 where step_slug = 'm'"
        )
        machine.conn.execute("update pgflow.runs set remaining_steps = 2")
        assert value(machine.conn, self.SQL, run) == 2
        assert machine.run(run) == ("started", None, 0)

    def test_it_ignores_the_status_of_the_run(self, machine):
        """core 3.10.6 [T]."""
        machine.flow("f", a=single())
        run = machine.start("f")
        machine.conn.execute("update pgflow.runs set status = 'failed', failed_at = now()")
        assert value(machine.conn, self.SQL, run) == 0

    @pytest.mark.own_core
    def test_conditions_are_evaluated_after_every_round(self, machine):
        """core A-4: of a single step and of a map that became ready through an empty map."""
        machine.flow(
            "f",
            m=map_of(),
            single_unmet=single("m", when={"m": [1]}),
            map_unmet=map_of("m", when={"m": [1]}),
            after=single("map_unmet"),
        )
        run = machine.start("f", [])
        assert machine.steps(run) == {
            "m": "completed",
            "single_unmet": "skipped",
            "map_unmet": "skipped",
            "after": "started",
        }

    @pytest.mark.own_core
    def test_a_condition_that_fails_there_stops_everything(self, machine):
        """core A-4: nothing is started, the run is not completed."""
        machine.flow(
            "f", m=map_of(), bad=single("m", when={"m": [1]}, when_unmet="fail"), fine=single("m"), more=map_of("m")
        )
        run = machine.start("f", [])
        assert machine.steps(run) == {"m": "completed", "bad": "failed", "fine": "created", "more": "created"}
        assert machine.status(run) == "failed"
        assert machine.queued("f") == []
