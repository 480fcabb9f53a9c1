"""Several sessions at once. Rules: core 3.19 (C-1 to C-7), A-2, A-5; generations CT-2', FT-2', ST5-1; decision D-2."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from .ask import rows, value
from .machine import Failure, map_of, single


@pytest.fixture
def sessions(machine):
    """Opens further sessions on the machine's database, and closes them."""
    opened = []

    def session(*, autocommit=True):
        other = machine.another_session()
        other.conn.autocommit = autocommit
        opened.append(other)
        return other

    yield session
    for other in opened:
        other.conn.close()


def waiting(machine, session):
    """Wait until the other session waits for a lock."""
    deadline = time.monotonic() + 10
    sql = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    while not value(machine.conn, sql, session.conn.info.backend_pid):
        assert time.monotonic() < deadline, "the other session never waited"
        time.sleep(0.005)


class TestTwoSessions:
    @pytest.mark.parametrize("late", ["complete", "fail"])
    def test_who_waited_while_the_run_failed_changes_nothing(self, machine, sessions, late):
        """core C-4, A-5; generations CT-2', FT-2' [T]: the status is looked at again under the lock."""
        machine.flow("f", a=single(max_attempts=1), b=single())
        run = machine.start("f")
        machine.poll("f")
        failing, waiter = sessions(autocommit=False), sessions()
        failing.fail(run, "a", "boom")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(getattr(waiter, late), run, "b")
            waiting(machine, waiter)
            failing.conn.commit()
            assert answer.result(10) == "cancelled"
        assert machine.steps(run) == {"a": "failed", "b": "started"}
        assert machine.task(run, "b", "status", "output", "error_message") == ("cancelled", None, None)
        assert machine.queued("f") == []

    def test_two_last_tasks_of_a_map_complete_it_once(self, machine, sessions):
        """core C-1, X-1: they must not both see two left; who waited for the lock sees what its holder did."""
        machine.flow("f", m=map_of(), s=single("m"))
        run = machine.start("f", [1, 2])
        first, second = machine.claim("f")
        one, two = sessions(autocommit=False), sessions()
        one.settle([(first, "x")], worker=machine.worker)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(two.settle, [(second, "y")], worker=machine.worker)
            waiting(machine, two)
            one.conn.commit()
            assert answer.result(10) == [(True, "completed", "completed", "started")]
        assert machine.state(run, "m", "output") == ["x", "y"]
        assert [task.input for task in machine.claim("f")] == [{"m": ["x", "y"]}]

    def test_two_parents_finishing_together_start_their_child_once(self, machine, sessions):
        """core C-1: they must not both miss that it became ready."""
        machine.flow("f", a=single(), b=single(), c=single("a", "b"))
        run = machine.start("f")
        machine.poll("f")
        one, two = sessions(autocommit=False), sessions()
        one.complete(run, "a", 1)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(two.complete, run, "b", 2)
            waiting(machine, two)
            one.conn.commit()
            assert answer.result(10) == "completed"
        assert machine.queued("f") == [("c", 0)]

    def test_runs_do_not_wait_for_each_other(self, machine, sessions):
        """core C-1."""
        machine.flow("f", a=single())
        first, second = machine.start("f"), machine.start("f")
        machine.poll("f")
        held = sessions(autocommit=False)
        held.complete(first, "a", 1)
        machine.conn.execute("set lock_timeout = '2s'")
        assert machine.complete(second, "a", 1) == "completed"
        machine.conn.execute("reset lock_timeout")

    @pytest.mark.own_core
    def test_one_message_is_started_by_one_session(self, machine, sessions):
        """core A-2, C-2; generations ST5-1 [T]: the other gets no row, and does not wait."""
        machine.flow("f", a=single())
        run = machine.start("f")
        ids = machine.read("f")
        held = sessions(autocommit=False)
        assert len(held.start_tasks("f", ids, worker=None)) == 1
        machine.conn.execute("set lock_timeout = '2s'")
        assert machine.start_tasks("f", ids) == []
        machine.conn.execute("update pgmq.q_f set vt = now() where false")
        assert machine.claim("f") == []
        machine.conn.execute("reset lock_timeout")
        held.conn.commit()
        assert machine.start_tasks("f", ids) == []
        assert machine.task(run, "a", "attempts_count") == 1

    def test_a_claim_passes_over_what_another_one_holds(self, machine, sessions):
        """D-2: it takes the next tasks instead."""
        machine.flow("f", a=single())
        runs = machine.start_many("f", [1, 2, 3, 4])
        held = sessions(autocommit=False)
        assert [task.run for task in held.claim("f", 2, worker=machine.worker)] == runs[:2]
        assert [task.run for task in machine.claim("f", 2)] == runs[2:]

    def test_a_heartbeat_does_not_wait_for_a_claim(self, machine, sessions):
        """core C-7."""
        machine.flow("f", a=single())
        machine.start("f")
        held = sessions(autocommit=False)
        assert len(held.claim("f", worker=machine.worker)) == 1
        machine.conn.execute("set lock_timeout = '2s'")
        machine.conn.execute("update pgflow.workers set last_heartbeat_at = clock_timestamp()")
        machine.conn.execute("reset lock_timeout")

    def test_a_run_that_fails_during_a_claim_leaves_no_open_task(self, machine, sessions):
        """generations TS-4: the failing session waits for the claimed row, then cancels it."""
        machine.flow("f", a=single(max_attempts=1), b=single())
        run = machine.start("f")
        (task,) = machine.claim("f", 1)
        claiming = sessions(autocommit=False)
        (held,) = claiming.claim("f", 1, worker=machine.worker)
        assert {task.step, held.step} == {"a", "b"}
        failing = sessions()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(failing.fail, run, "a")
            waiting(machine, failing)
            claiming.conn.commit()
            assert answer.result(10) == "failed"
        assert machine.tasks(run) == {"a": ["failed"], "b": ["cancelled"]}
        assert machine.queued("f") == []
        assert machine.settle([(held, 1)])[0][:2] == (False, "cancelled")

    def test_task_rows_are_locked_before_messages(self, machine, sessions):
        """generations TS-5; D-2: a failing run waits for a task row without holding any message."""
        machine.flow("f", a=single(max_attempts=1), b=single())
        run = machine.start("f")
        machine.poll("f")
        holder, failing = sessions(autocommit=False), sessions()
        holder.conn.execute("select from pgflow.step_tasks where run_id = %s and step_slug = 'b' for update", [run])
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(failing.fail, run, "a")
            waiting(machine, failing)
            assert len(rows(machine.conn, "select msg_id from pgmq.q_f for update nowait")) == 2
            holder.conn.commit()
            assert answer.result(10) == "failed"
        assert machine.queued("f") == []

    def test_batches_over_the_same_runs_never_deadlock(self, machine, sessions):
        """D-2: runs are locked in run_id order, whatever the order of the outcomes."""
        machine.flow("f", m=map_of())
        machine.start_many("f", [list(range(8))] * 12)
        tasks = machine.claim("f")
        batches = [tasks[n::6] for n in range(6)]
        for batch in batches:
            random.Random(len(batch)).shuffle(batch)

        def settle(batch):
            session = sessions()
            for start in range(0, len(batch), 4):
                session.settle([(task, task.input) for task in batch[start : start + 4]][::-1], worker=machine.worker)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(settle, batches))
        assert rows(machine.conn, "select status, count(*) from pgflow.runs group by 1") == [("completed", 12)]


# A flow with everything in it: skips, cascades, retries, maps in maps, conditions on outputs.
BUSY = {
    "gen": single(base_delay=0),
    "each": map_of("gen", base_delay=0, max_attempts=4),
    "again": map_of("each", base_delay=0, max_attempts=2, when_exhausted="skip"),
    "maybe": single("gen", when={"gen": [1]}, base_delay=0),
    "side": single(base_delay=0, max_attempts=1, when_exhausted="skip-cascade"),
    "after_side": single("side", base_delay=0),
    "join": single("again", "maybe", base_delay=0, max_attempts=3),
}


class Storm:
    """Threads that claim, settle, fail, give back and recover at random until all runs have ended."""

    def __init__(self, machine, slug, runs, *, seconds):
        self.machine, self.slug, self.runs = machine, slug, runs
        self.deadline = time.monotonic() + seconds
        self.problems = []
        self.pids = set()

    def ended(self):
        sql = "select count(*) from pgflow.runs where run_id = any(%s) and status = 'started'"
        return value(self.machine.conn, sql, self.runs) == 0

    def outcome(self, task, rng):
        if task.step == "gen":
            return list(range(rng.choice([0, 1, 3, 6])))
        if rng.random() < 0.15:
            return Failure(f"attempt {task.attempt}", retryable=rng.random() < 0.9)
        return {"n": task.index}

    def work(self, seed):
        rng = random.Random(seed)
        while not self.done.is_set():
            try:
                session = self.machine.another_session()
                self.pids.add(session.conn.info.backend_pid)
                self.work_with(session, rng)
            except (psycopg.errors.AdminShutdown, psycopg.OperationalError) as error:
                if isinstance(error, psycopg.errors.DeadlockDetected):
                    self.problems.append(error)
            except Exception as error:
                self.problems.append(error)
                raise

    def work_with(self, session, rng):
        # One of ours, so that recovery takes its tasks when it is killed: it counts as silent at once.
        session.conn.execute(
            "insert into pgflow_mp.workers (worker_id, host, pid, version) values (%s, 'here', 1, '0')",
            [session.worker],
        )
        with session.conn:
            while not self.done.is_set():
                tasks = session.claim(self.slug, rng.choice([1, 3, 10]))
                if rng.random() < 0.1:
                    session.give_back(tasks)
                    continue
                outcomes = [(task, self.outcome(task, rng)) for task in tasks]
                rng.shuffle(outcomes)
                session.settle(outcomes)
                if rng.random() < 0.1:
                    session.settle(outcomes)
                if rng.random() < 0.1:
                    session.recover("1 second")
                session.conn.execute(
                    "update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = %s",
                    [session.worker],
                )
                if not tasks:
                    time.sleep(0.005)

    def rage(self, *, threads, kill_every=None):
        self.done = threading.Event()
        workers = [threading.Thread(target=self.work, args=(seed,)) for seed in range(threads)]
        for worker in workers:
            worker.start()
        rng = random.Random(99)
        while not self.ended() and time.monotonic() < self.deadline and not self.problems:
            time.sleep(kill_every or 0.05)
            # Seen from outside, work in progress is whole at every moment (nothing that repair would touch).
            self.problems += rows(self.machine.conn, "select * from pgflow_mp.repair()")
            if kill_every and self.pids:
                self.machine.conn.execute("select pg_terminate_backend(%s)", [rng.choice(sorted(self.pids))])
        self.done.set()
        for worker in workers:
            worker.join(20)
            assert not worker.is_alive()


def assert_consistent(machine, slug, runs):
    """What must hold of runs that have ended, whatever happened on the way."""
    assert {machine.status(run) for run in runs} <= {"completed", "failed"}
    assert machine.queued(slug) == []
    open_tasks = "select count(*) from pgflow.step_tasks where status in ('queued', 'started')"
    assert value(machine.conn, open_tasks) == 0
    # Completed runs: nothing left of any kind, and each map output is the outputs of its tasks.
    open_steps = (
        "select count(*) from pgflow.step_states as s join pgflow.runs as r using (run_id) "
        "where r.status = 'completed' and (r.remaining_steps <> 0 or s.status in ('created', 'started', 'failed'))"
    )
    assert value(machine.conn, open_steps) == 0
    outputs = (
        "select count(*) from pgflow.step_states as s join pgflow.steps as st using (flow_slug, step_slug) "
        "where s.status = 'completed' and st.step_type = 'map' and s.output <> coalesce("
        "(select jsonb_agg(t.output order by t.task_index) from pgflow.step_tasks as t "
        " where t.run_id = s.run_id and t.step_slug = s.step_slug), '[]')"
    )
    assert value(machine.conn, outputs) == 0
    counts = (
        "select count(*) from pgflow.step_states as s where s.status = 'completed' and s.initial_tasks <> "
        "(select count(*) from pgflow.step_tasks as t where t.run_id = s.run_id and t.step_slug = s.step_slug "
        " and t.status = 'completed')"
    )
    assert value(machine.conn, counts) == 0


class TestManySessions:
    def test_eight_settlers_and_claimers(self, machine):
        """Issue 3.5: no deadlock, no lost update, no message left behind."""
        machine.flow("f", **BUSY)
        runs = machine.start_many("f", [{}] * 60)
        storm = Storm(machine, "f", runs, seconds=60)
        storm.rage(threads=8)
        assert storm.problems == []
        assert_consistent(machine, "f", runs)

    @pytest.mark.slow
    def test_sessions_that_are_killed_at_random(self, machine):
        """Issue 3.5: every run ends all the same; what a dead session held is recovered (D-3)."""
        machine.flow("f", **BUSY)
        runs = machine.start_many("f", [{}] * 40)
        storm = Storm(machine, "f", runs, seconds=60)
        storm.rage(threads=6, kill_every=0.03)
        assert storm.problems == []
        assert_consistent(machine, "f", runs)
