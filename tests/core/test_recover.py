"""Recovery of tasks that nobody works on. Rules: core 5.2, A-3, A-8; generations 2.7, 7.1; decisions D-3, D-4."""

import pytest

from .ask import rows, value
from .machine import Failure, map_of, single

REQUEUE = "select pgflow.requeue_stalled_tasks()"


@pytest.fixture
def running(machine):
    """A flow with a 60 s timeout and one claimed task."""
    machine.flow("f", options={"timeout": 60}, a=single())
    run = machine.start("f")
    machine.claim("f")
    return run


class TestRequeueStalledTasks:
    def test_a_stalled_task_is_queued_and_visible_again(self, machine, running):
        """core ST-1 [T], ST-3 [T], ST-5 [T], ST-8: the attempt stays counted."""
        machine.backdate(running, 91)
        assert value(machine.conn, REQUEUE) == 1
        columns = ("status", "started_at", "last_worker_id", "requeued_count", "last_requeued_at is not null",
                   "attempts_count")  # fmt: skip
        assert machine.task(running, "a", *columns) == ("queued", None, None, 1, True, 1)
        assert machine.visible_in(running, "a") <= 0
        assert [task.attempt for task in machine.claim("f")] == [2]

    def test_a_running_task_is_left_alone(self, machine, running):
        """core ST-1 [T]: timeout and 30 seconds, strictly earlier."""
        machine.backdate(running, 88)
        assert value(machine.conn, REQUEUE) == 0
        assert machine.task(running, "a", "status") == "started"

    def test_the_timeout_is_the_step_s_own(self, machine):
        """core A-3; generations RQ-1 [T]: longer and shorter than the flow's."""
        machine.flow("f", options={"timeout": 60}, long=single(timeout=600), short=single(timeout=5))
        run = machine.start("f")
        machine.claim("f")
        machine.backdate(run, 100)
        assert value(machine.conn, REQUEUE) == 1
        assert machine.tasks(run) == {"long": ["started"], "short": ["queued"]}

    def test_flows_of_different_timeouts_in_one_call(self, machine):
        """core ST-6 [T]."""
        runs = []
        for slug, timeout in (("f", 10), ("g", 1000)):
            machine.flow(slug, options={"timeout": timeout}, a=single())
            runs.append(machine.start(slug))
            machine.claim(slug)
            machine.backdate(runs[-1], 100)
        assert value(machine.conn, REQUEUE) == 1
        assert [machine.task(run, "a", "status") for run in runs] == ["queued", "started"]

    @pytest.mark.own_core
    def test_after_three_times_it_is_given_up(self, machine, running):
        """core ST-4 [T], ST-5 [T]; generations RQ-2: status stays started, the message is archived even when nothing
        else is requeued (D-3), and it is not looked at again."""
        for _ in range(3):
            machine.backdate(running, 100)
            assert value(machine.conn, REQUEUE) == 1
            machine.claim("f")
        machine.backdate(running, 100)
        assert value(machine.conn, REQUEUE) == 0
        columns = ("status", "requeued_count", "permanently_stalled_at is not null")
        assert machine.task(running, "a", *columns) == ("started", 3, True)
        assert machine.queued("f") == []
        before = machine.everything(running)
        assert value(machine.conn, REQUEUE) == 0
        assert machine.everything(running) == before
        assert machine.status(running) == "started"

    @pytest.mark.own_core
    def test_only_what_stalled_is_given_up(self, machine):
        """core ST-4: not its neighbours in the map and in the run, which run in an attempt of the same number."""
        machine.flow("f", options={"timeout": 60}, m=map_of(), n=map_of())
        run = machine.start("f", [1, 2])
        machine.claim("f")
        machine.conn.execute(
            "update pgflow.step_tasks set requeued_count = 3, queued_at = queued_at - interval '100 s', "
            "started_at = started_at - interval '100 s' where step_slug = 'n' and task_index = 1"
        )
        assert value(machine.conn, REQUEUE) == 0
        given_up = "select step_slug, task_index from pgflow.step_tasks where permanently_stalled_at is not null"
        assert rows(machine.conn, given_up) == [("n", 1)]
        assert machine.queued("f") == [("m", 0), ("m", 1), ("n", 0)]
        assert machine.tasks(run) == {"m": ["started"] * 2, "n": ["started"] * 2}

    @pytest.mark.parametrize(
        "ended",
        [
            "update pgflow.runs set status = 'failed', failed_at = now()",
            "update pgflow.step_states set status = 'skipped', skip_reason = 'x', remaining_tasks = null",
        ],
    )
    def test_only_live_steps_of_live_runs(self, machine, running, ended):
        """core A-3; generations RQ-1 [T]."""
        machine.backdate(running, 100)
        machine.conn.execute(ended)
        assert value(machine.conn, REQUEUE) == 0
        assert machine.task(running, "a", "status") == "started"

    def test_a_locked_task_is_passed_over(self, machine, running):
        """core ST-2, C-5."""
        machine.backdate(running, 100)
        other = machine.another_session()
        other.conn.autocommit = False
        other.conn.execute("select 1 from pgflow.step_tasks for update")
        assert value(machine.conn, REQUEUE) == 0
        other.conn.close()

    def test_it_runs_with_the_owner_s_rights(self, machine):
        """core ST-10, 3.0."""
        sql = (
            "select prosecdef, proconfig is not null from pg_proc where oid = "
            "'pgflow.requeue_stalled_tasks()'::regprocedure"
        )
        assert rows(machine.conn, sql) == [(True, True)]

    @pytest.mark.own_core
    def test_recover_stalled_tasks_is_the_same_with_another_margin(self, machine, running):
        """generations 7.1, 9.1: seconds beyond the timeout; how many tasks, and in how many queues."""
        sql = "select recovered_count, vt_batches from pgflow.recover_stalled_tasks(%s)"
        machine.backdate(running, 70)
        assert rows(machine.conn, sql, 20) == [(0, 0)]
        assert rows(machine.conn, sql, 5) == [(1, 1)]
        assert machine.task(running, "a", "status") == "queued"


class TestLostWorkers:
    @pytest.mark.parametrize("fate", [{"stopped": True}, {"heartbeat_age": 16}])
    def test_our_worker_that_is_gone_loses_its_tasks_at_once(self, machine, fate):
        """D-3: stopped, or silent for 15 s: as if the attempt had never begun; the timeout is not waited for."""
        machine.flow("f", options={"timeout": 3600}, a=single())
        run = machine.start("f")
        machine.claim("f", worker=machine.register(ours=True, **fate))
        assert machine.recover() == 1
        columns = ("status", "attempts_count", "started_at", "last_worker_id", "requeued_count")
        assert machine.task(run, "a", *columns) == ("queued", 0, None, None, 1)
        assert [task.attempt for task in machine.claim("f")] == [1]

    def test_a_beating_worker_keeps_its_tasks(self, machine):
        machine.flow("f", a=single())
        machine.start("f")
        machine.claim("f", worker=machine.register(ours=True, heartbeat_age=10))
        assert machine.recover() == 0
        assert machine.recover("5 seconds") == 1

    def test_a_silent_foreign_worker_keeps_them_until_the_timeout(self, machine):
        """D-3: others do not beat while they are busy."""
        machine.flow("f", options={"timeout": 60}, a=single())
        run = machine.start("f")
        machine.claim("f", worker=machine.register(heartbeat_age=10_000, stopped=True))
        assert machine.recover() == 0
        machine.backdate(run, 88)
        assert machine.recover() == 0
        machine.backdate(run, 91)
        assert machine.recover() == 1
        assert machine.task(run, "a", "attempts_count") == 1

    def test_a_task_that_kills_its_worker_ends_and_so_does_its_run(self, machine):
        """D-3: after three recoveries a loss is a failed attempt, by the step's policy."""
        machine.flow("f", options={"max_attempts": 2, "base_delay": 0}, a=single())
        run = machine.start("f")
        killer = machine.register(ours=True, stopped=True)
        for lost in range(5):
            (task,) = machine.claim("f", worker=killer)
            assert task.attempt == (1 if lost < 4 else 2)
            assert machine.recover() == (1 if lost < 4 else 0)
        assert machine.status(run) == "failed"
        assert machine.task(run, "a", "status", "error_message") == (
            "failed",
            "Worker lost 4 times while running this task",
        )
        assert machine.queued("f") == []

    def test_the_policy_may_be_to_skip(self, machine):
        machine.flow("f", a=single(max_attempts=1, when_exhausted="skip"), b=single("a"))
        run = machine.start("f")
        killer = machine.register(ours=True, stopped=True)
        for _ in range(4):
            machine.claim("f", worker=killer)
            machine.recover()
        assert machine.steps(run) == {"a": "skipped", "b": "started"}

    def test_many_tasks_of_several_flows(self, machine):
        gone = machine.register(ours=True, stopped=True)
        runs = []
        for slug in ("f", "g"):
            machine.flow(slug, m=map_of(), s=single())
            runs.append(machine.start(slug, list(range(20))))
            assert len(machine.claim(slug, 15, worker=gone)) == 15
        assert machine.recover() == 30
        assert all(machine.tasks(run) == {"m": ["queued"] * 20, "s": ["queued"]} for run in runs)

    def test_a_map_shared_with_a_healthy_worker_loses_only_what_the_lost_one_held(self, machine):
        machine.flow("f", m=map_of())
        run = machine.start("f", [1, 2, 3])
        machine.claim("f", 1, worker=machine.register(ours=True))
        machine.claim("f", 1, worker=machine.register(ours=True, stopped=True))
        machine.claim("f", 1, worker=machine.register(ours=True))
        assert machine.recover() == 1
        assert machine.tasks(run) == {"m": ["started", "queued", "started"]}

    def test_a_late_result_of_the_lost_worker_changes_nothing(self, machine):
        """D-5: the attempt has the same number again, but another worker."""
        machine.flow("f", a=single())
        run = machine.start("f")
        gone = machine.register(ours=True, stopped=True)
        (lost,) = machine.claim("f", worker=gone)
        machine.recover()
        (task,) = machine.claim("f")
        assert task.attempt == lost.attempt == 1
        assert machine.settle([(lost, "late")], worker=gone)[0][0] is False
        assert machine.settle([(task, "mine")])[0][0] is True
        assert machine.run(run)[1] == {"a": "mine"}

    @pytest.mark.parametrize("meanwhile", ["settled", "claimed again"])
    def test_what_changed_since_it_was_found_is_left_alone(self, machine, meanwhile):
        """core ST-2: a task is judged under its lock, not by what was seen before."""
        machine.flow("f", m=map_of())
        run = machine.start("f", [1, 2])
        found, other = machine.claim("f")
        if meanwhile == "settled":
            machine.settle([(found, 1)])
        else:
            machine.give_back([found])
            machine.conn.execute("update pgflow.step_tasks set attempts_count = 1 where task_index = 0")
            machine.claim("f")
        before = machine.everything(run)
        sql = "select * from pgflow_mp._requeue_tasks(array[%s], '{m}', '{0}', array[%s], keep_attempt => true)"
        assert rows(machine.conn, sql, run, found.attempt) == []
        assert machine.everything(run) == before
        assert machine.task(run, "m", "status", index=1) == "started"
        assert other.attempt == 1


class TestStalledForGood:
    def test_a_task_that_keeps_stalling_ends_by_its_policy(self, machine, running):
        """D-3, A-8: the run ends; the first line is the timeout's."""
        for round_ in range(4):
            machine.backdate(running, 100)
            assert machine.recover() == (1 if round_ < 3 else 0)
            machine.claim("f")
        assert machine.status(running) == "failed"
        assert machine.task(running, "a", "attempts_count") == 4
        assert machine.task(running, "a", "error_message").splitlines()[0] == "Task timed out after 60s"

    @pytest.mark.own_core
    def test_what_the_contract_gave_up_on_is_ended_too(self, machine, running):
        """D-3: though its message is archived."""
        machine.conn.execute("update pgflow.step_tasks set requeued_count = 3")
        machine.backdate(running, 100)
        machine.conn.execute(REQUEUE)
        assert machine.queued("f") == []
        machine.conn.execute("update pgflow.flows set opt_max_attempts = 1")
        assert machine.recover() == 0
        assert machine.status(running) == "failed"

    @pytest.mark.own_core
    def test_it_gets_another_attempt_where_the_policy_has_one(self, machine):
        """With a message again; those of its neighbours stay theirs."""
        machine.flow("f", options={"timeout": 60}, a=map_of(), b=single())
        running = machine.start("f", [1, 2])
        machine.claim("f", 1)
        neighbours = [machine.task(running, "a", "message_id", index=1), machine.task(running, "b", "message_id")]
        machine.conn.execute("update pgflow.step_tasks set requeued_count = 3")
        machine.conn.execute("update pgflow.flows set opt_base_delay = 0")
        machine.backdate(running, 100)
        machine.conn.execute(REQUEUE)
        assert machine.recover() == 1
        *others, task = machine.claim("f")
        assert [other.message for other in others] == neighbours
        assert (task.run, task.step, task.index, task.attempt) == (running, "a", 0, 2)
        assert machine.task(running, "a", "permanently_stalled_at") is None
        machine.settle([(each, 1) for each in (task, *others)])
        assert machine.status(running) == "completed"

    def test_a_task_given_back_meanwhile_is_no_stalled_one_any_more(self, machine, running):
        """D-4: as if the attempt had never begun, so that recovery does not end the next one while it is healthy."""
        machine.conn.execute("update pgflow.step_tasks set requeued_count = 3 where run_id = %s", [running])
        (task,) = rows(machine.conn, "select attempts_count, last_worker_id from pgflow.step_tasks")
        machine.backdate(running, 1000)
        value(machine.conn, REQUEUE)
        assert machine.task(running, "a", "permanently_stalled_at is not null")
        given_back = value(
            machine.conn,
            "select pgflow_mp.give_back_tasks(array[%s::uuid], '{a}', '{0}', array[%s], array[%s::uuid])",
            running,
            *task,
        )
        assert given_back == 1
        assert len(machine.claim("f")) == 1
        assert machine.recover() == 0
        assert machine.task(running, "a", "status") == "started"


class TestLeftovers:
    def test_messages_without_a_live_task_are_archived(self, machine):
        """D-3: terminal tasks, unknown ones, ended runs; live and hidden ones stay."""
        machine.flow("f", a=single(), b=single())
        run, done = machine.start_many("f", [1, 2])
        machine.claim("f", 1)
        machine.conn.execute("""select pgmq.send('f', '{"who": "knows"}')""")
        machine.conn.execute(
            "update pgflow.step_tasks set status = 'completed' where run_id = %s and step_slug = 'a'",
            [done],
        )
        machine.recover()
        assert machine.queued("f") == [("a", 0), ("b", 0), ("b", 0)]
        assert machine.tasks(run) == {"a": ["started"], "b": ["queued"]}
        assert value(machine.conn, "select count(*) from pgmq.a_f") == 2

    def test_a_pile_of_leftovers_goes_in_one_sweep(self, machine):
        machine.flow("f", a=single())
        machine.conn.execute(
            "select pgmq.send_batch('f', array(select jsonb_build_object('n', n) from generate_series(1, 2500) as n))"
        )
        machine.start("f")
        machine.recover()
        assert machine.queued("f") == [("a", 0)]

    def test_a_missing_queue_stops_nothing(self, machine):
        machine.flow("f", a=single())
        machine.flow("g", a=single())
        machine.start("g")
        machine.claim("g", worker=machine.register(ours=True, stopped=True))
        with machine.conn.transaction(force_rollback=True):
            machine.conn.execute("drop table pgmq.q_f")
            assert machine.recover() == 1

    def test_one_session_at_a_time(self, machine):
        """The others return at once."""
        machine.flow("f", a=single())
        machine.start("f")
        machine.claim("f", worker=machine.register(ours=True, stopped=True))
        other = machine.another_session()
        other.conn.autocommit = False
        assert other.recover() == 1
        assert machine.recover() == 0
        other.conn.rollback()
        assert machine.recover() == 1
        other.conn.close()

    def test_a_long_backlog_is_not_looked_through(self, machine):
        """Started tasks are found behind tens of thousands of waiting messages."""
        machine.flow("f", m=map_of())
        run = machine.start("f", [0] * 20_000)
        lost = machine.claim("f", 5, worker=machine.register(ours=True, stopped=True))
        sql = "select count(*) from pgflow_mp._started_tasks(thorough => false)"
        assert value(machine.conn, sql) == 5
        machine.conn.execute("update pgmq.q_f set vt = now() where read_ct > 0")
        assert value(machine.conn, sql) == 5
        assert machine.recover() == 5
        assert machine.settle([(lost[0], Failure())])[0] == (False, "queued", "started", "started")
        assert machine.status(run) == "started"
