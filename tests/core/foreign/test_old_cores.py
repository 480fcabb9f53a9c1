"""Our machine on cores before 0.17: it runs on views of their tables, and makes up for their defects.

Issue 8 point 4; generations 2, 8.2, 10; core 2.6, 3.10.7, 3.13.5-6, 5.2, 8, appendix A.
"""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from pgflow_mp import Flow, PgFlow, map_step, step
from pgflow_mp.core import beside
from pgflow_mp.core.generation import probe
from pgflow_mp.core.install import install
from pgflow_mp.core.queries import runs, tasks, workers
from pgflow_mp.core.queries.queues import queue_depths
from pgflow_mp.core.queries.repair import repair
from pgflow_mp.core.queries.tasks import Settlement, TaskKey
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.workoff import work_off
from pgflow_mp.errors import PgflowError
from tests.core import foreign
from tests.core.ask import column, rows, value
from tests.engine.harness import eventually, working

from .catalog import catalog
from .replay import Replay
from .test_builders import Greet

NPM = pytest.param(foreign.NPM, marks=pytest.mark.npm)
OTHERS = ("0.15.0", "0.15.1", "0.16.0", "elixir 0.3")
SLOW_OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]

PROCESS = workers.Process("here", 1)


WAITING = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"


class Report(Flow):
    """Singles, a map, a join."""

    @step
    def fetch(flow_input):
        return list(range(flow_input["pages"]))

    @map_step(over=fetch)
    def read(item):
        return item * item

    @step
    def total(read):
        return sum(read)

    @step
    def publish(total, fetch):
        return {"total": total, "pages": len(fetch)}


class Wide(Flow):
    """Two branches; one can fail while the other works."""

    @step(max_attempts=1)
    def left(flow_input):
        raise ValueError("no")

    @step
    def right(flow_input):
        return 1


class Long(Flow, timeout=60):
    """A step that may run for longer than its flow says."""

    @step(timeout=600)
    def compute(flow_input):
        return 1


class Chosen(Flow):
    """A step whose condition is judged when an empty map is done."""

    @map_step
    def each(item):
        return item

    @step(when={"each": [1]})
    def only_with_one(each=None):
        return each


class Crawl(Flow):
    """Wide enough for two workers to share."""

    @map_step
    def load(item):
        return item + 1

    @step
    def count(load):
        return len(load)


class Old:
    """A database with an old core, our functions beside it, and a worker of ours."""

    def __init__(self, dsn, name):
        self.dsn = dsn
        self.name = name
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.app = PgFlow(dsn)

    def close(self):
        self.app.close()
        self.conn.close()

    def ask(self, statement):
        return execute(self.conn, statement)

    def worker(self, flow):
        """Compile the flow and register a worker of ours."""
        self.app.compile(flow)
        worker = uuid.uuid4()
        self.ask(
            workers.register_workers({flow.definition.slug: worker}, function_name="ours", process=PROCESS, version="0")
        )
        return worker

    def claim(self, flow, worker, quantity=100):
        return self.ask(tasks.claim_tasks([flow.definition.slug], [worker], [quantity]))

    def statuses(self, run_id):
        found = rows(
            self.conn,
            "select step_slug || '.' || task_index, status, error_message from pgflow.step_tasks where run_id = %s",
            run_id,
        )
        return {task: (status, error and error.partition("\n")[0]) for task, status, error in found}


def key_of(task, worker):
    return TaskKey(task.run_id, task.step_slug, task.task_index, task.attempt, worker)


def outcome(task, worker, output=None, error=None):
    return Settlement(
        task.run_id, task.step_slug, task.task_index, task.attempt, worker, output=json.dumps(output), error=error
    )


@pytest.fixture(scope="module")
def old(_foreign_databases, request):
    """One database of the generation for all tests of a module that ask for it; each has flows of its own."""
    dsn = _foreign_databases.create(request.param)
    install(dsn)
    made = Old(dsn, request.param)
    yield made
    made.close()
    _foreign_databases.drop(dsn)


@pytest.fixture(autouse=True)
def empty(request):
    """Leave nothing in the shared database to the next test."""
    yield
    if "old" in request.fixturenames:
        old = request.getfixturevalue("old")
        for slug in column(old.conn, "select flow_slug from pgflow.flows"):
            old.app.delete_flow(slug)
        old.conn.execute("delete from pgflow.workers; delete from pgflow_mp.workers")


four_statuses = pytest.mark.parametrize("old", ["0.14.1", NPM], indirect=True)
one_core = pytest.mark.parametrize("old", ["0.14.1"], indirect=True)
npm_core = pytest.mark.parametrize("old", [NPM], indirect=True)
every_old_core = pytest.mark.parametrize("old", ["0.14.1", NPM, *SLOW_OTHERS], indirect=True)


@pytest.mark.parametrize("name", ["0.14.1", NPM, *SLOW_OTHERS])
def test_nothing_of_the_core_changes_by_install_and_work(foreign_dsn, name):
    dsn = foreign_dsn(name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        before = catalog(conn, schemas=("pgflow",))
        install(dsn)
        assert execute(conn, probe()).tier == "views"
        app = PgFlow(dsn)
        app.compile(Report)
        app.start_flow(Report, {"pages": 2})
        app.delete_flow(Report)
        assert catalog(conn, schemas=("pgflow",)) == before
        assert all(line.endswith("nothing to do") for line in install(dsn))


@every_old_core
def test_a_worker_runs_flows_to_their_end(old):
    for flow in (Report, Wide):
        assert old.app.compile(flow).status == "compiled"
        assert old.app.compile(flow).nothing_to_do
    with working(old.dsn, Report, Wide, processes=1):
        run = old.app.start_flow_sync(Report, {"pages": 3}, timeout=30)
        assert run.output == {"publish": {"total": 5, "pages": 3}}
        assert run.steps["read"].output == [0, 1, 4]
        with pytest.raises(PgflowError, match="ValueError: no"):
            old.app.start_flow_sync(Wide, {}, timeout=30)
    assert column(old.conn, "select count(*) from pgmq.q_report") == [0]


@four_statuses
def test_what_a_failed_run_leaves_is_ended(old):
    """core FT-10: the core's own functions leave such tasks started for ever."""
    worker = old.worker(Wide)
    run_id = old.app.start_flow(Wide, {})
    left, right = sorted(old.claim(Wide, worker), key=lambda task: task.step_slug)
    (settled,) = old.ask(tasks.settle_tasks([outcome(left, worker, error="no")]))
    assert (settled.applied, settled.run_status) == (True, "failed")
    assert old.statuses(run_id) == {"left.0": ("failed", "no"), "right.0": ("failed", "Run failed")}
    assert column(old.conn, "select count(*) from pgmq.q_wide") == [0]
    assert old.ask(tasks.lost_tasks([key_of(right, worker)])) == [0]
    (late,) = old.ask(tasks.settle_tasks([outcome(right, worker, 1)]))
    assert not late.applied


@four_statuses
def test_tasks_of_a_run_that_others_have_failed_are_lost_to_our_worker(old):
    """The row says that it is still with us (core FT-10); its run tells that nobody wants it."""
    worker = old.worker(Wide)
    run_id = old.app.start_flow(Wide, {})
    held = [key_of(task, worker) for task in old.claim(Wide, worker)]
    assert old.ask(tasks.lost_tasks(held)) == []
    old.conn.execute("select pgflow.fail_task(%s, 'left', 0, 'theirs')", (run_id,))
    assert value(old.conn, "select status from pgflow.step_tasks where step_slug = 'right'") == "started"
    assert old.ask(tasks.lost_tasks(held)) == [0, 1]


@four_statuses
def test_a_cancelled_run_is_told_as_such(old):
    worker = old.worker(Wide)
    run_id = old.app.start_flow(Wide, {})
    old.claim(Wide, worker, 1)
    assert old.ask(runs.cancel_runs([run_id])) == {run_id}
    run = old.app.get_run(run_id)
    assert (run.status, run.cancelled, run.error) == ("failed", True, "Run cancelled")
    assert set(old.statuses(run_id).values()) == {("failed", "Run cancelled")}


@four_statuses
def test_a_message_that_another_worker_has_just_read_is_left_to_it(old):
    """core 3.13.6: its claim does not look whether the task was started meanwhile, so both would run it."""
    worker = old.worker(Crawl)
    old.app.start_flow(Crawl, [1])
    with psycopg.connect(old.dsn) as theirs, ThreadPoolExecutor(1) as pool:
        (read,) = column(theirs, "select msg_id from pgmq.read('crawl', 5, 10)")  # not committed: ours still sees it
        claim = pool.submit(old.claim, Crawl, worker)
        eventually(lambda: value(theirs, WAITING, old.conn.info.backend_pid))
        theirs.commit()
        assert claim.result(10) == []
        assert column(theirs, "select msg_id from pgflow.start_tasks('crawl', %s::bigint[], %s)", [read], worker) == [
            read
        ]


@four_statuses
def test_a_claimed_message_stays_hidden_for_the_timeout(old):
    """core 3.13.5: the core's own claim leaves it visible again after two to five seconds."""
    worker = old.worker(Long)
    old.app.start_flow(Long, {})
    (task,) = old.claim(Long, worker)
    assert (task.attempt, task.timeout, task.input, task.flow_input) == (1, 600, b"{}", b"{}")
    hidden = value(old.conn, "select extract(epoch from vt - clock_timestamp())::float from pgmq.q_long")
    assert 600 < hidden <= 602


@one_core
def test_its_recovery_leaves_a_long_task_to_a_worker_that_beats(old):
    """core ST-1: it judges by the flow's timeout. A worker that beats no more loses the task to it as before."""
    worker = old.worker(Long)
    old.app.start_flow(Long, {})
    (task,) = old.claim(Long, worker)
    backdate = (
        "update pgflow.step_tasks set started_at = now() - interval '2 minutes', queued_at = now() - interval '1 h'"
    )
    old.conn.execute(backdate)
    assert old.ask(workers.heartbeat([worker])) == {worker: False}
    assert value(old.conn, "select pgflow.requeue_stalled_tasks()") == 0
    assert old.ask(tasks.held_tasks([worker])) == [key_of(task, worker)]
    old.conn.execute(backdate)
    assert value(old.conn, "select pgflow.requeue_stalled_tasks()") == 1


@one_core
def test_a_task_that_its_recovery_gave_up_on_ends_and_so_does_its_run(old):
    """core ST-4: it stays started for ever there."""
    worker = old.worker(Wide)
    run_id = old.app.start_flow(Wide, {})
    old.claim(Wide, worker)
    old.conn.execute(
        "update pgflow.step_tasks set requeued_count = 3, queued_at = now() - interval '1 h', "
        "started_at = now() - interval '10 minutes'"
    )
    old.conn.execute("select pgflow.requeue_stalled_tasks()")
    assert old.app.get_run(run_id).status == "started"
    old.ask(tasks.recover_tasks())
    run = old.app.get_run(run_id)
    assert run.status == "failed"
    assert run.error.startswith("Task timed out after 60s")


@one_core
def test_conditions_are_judged_after_an_empty_map(old):
    """core 3.10.7: there the step is started without a look at its condition."""
    old.worker(Chosen)
    theirs = value(old.conn, "select run_id from pgflow.start_flow('chosen', '[]')")
    assert old.app.get_run(theirs).status == "started"
    ours = old.app.start_flow(Chosen, [])
    run = old.app.get_run(ours)
    assert run.status == "completed"
    assert old.app.get_run_with_states(ours).steps["only_with_one"].skip_reason == "condition_unmet"


@four_statuses
def test_tasks_of_a_lost_worker_are_queued_again_three_times_at_most(old):
    """D-3. Before 0.13.2 no column counts that."""
    worker = old.worker(Wide)
    run_id = old.app.start_flow(Wide, {})
    for lost in range(4):
        assert {task.attempt for task in old.claim(Wide, worker)} == {1}, lost
        old.conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '1 minute'")
        old.ask(tasks.recover_tasks())
        old.ask(workers.heartbeat([worker]))
    assert old.app.get_run(run_id).error == "Worker lost 4 times while running this task"
    old.app.delete_flow(Wide)
    assert column(old.conn, "select count(*) from pgflow_mp.task_requeues") == [0]


@four_statuses
def test_a_flow_that_others_made_is_verified_worked_off_and_deleted(old):
    """generations QI-1: its queue is listed as its slug is written, and found by the lower case of that."""
    old.conn.execute("select pgflow.create_flow('Greet', 3, 5, 60)")
    old.conn.execute("select pgflow.add_step('Greet', 'upper', '{}', step_type => 'map')")
    old.conn.execute("select pgflow.add_step('Greet', 'join', '{upper}')")
    assert old.app.compile(Greet).nothing_to_do
    theirs = value(old.conn, "select run_id from pgflow.start_flow(flow_slug => 'Greet', input => '[\"a\", \"b\"]')")
    run_ids = [theirs, old.app.start_flow(Greet, ["c"])]
    work_off(old.conn, [Greet.definition], run_ids, out_of_time=lambda: False)
    assert [old.app.get_run(run_id).output for run_id in run_ids] == [{"join": "AB"}, {"join": "C"}]
    assert [(depth.queue_name, depth.ready) for depth in old.ask(queue_depths())] == [("greet", 0)]
    old.app.delete_flow("Greet")
    assert column(old.conn, "select queue_name from pgmq.list_queues()") == []


@four_statuses
def test_a_worker_that_stopped_is_none_any_more(old):
    """Before 0.10 no column tells that; its tasks go to others at once."""
    worker = old.worker(Wide)
    old.app.start_flow(Wide, {})
    assert len(old.claim(Wide, worker)) == 2
    assert [each.state for each in old.ask(workers.list_workers())] == ["live"]
    assert old.ask(workers.flows_of_other_workers(["wide"], [])) == {"wide"}
    old.ask(workers.mark_workers_stopped([worker]))
    assert old.ask(workers.flows_of_other_workers(["wide"], [])) == set()
    assert old.ask(workers.list_workers()) == []
    assert [each.state for each in old.ask(workers.list_workers(include_stopped=True))] == ["stopped"]
    assert old.ask(tasks.recover_tasks()) == 2
    assert len(old.claim(Wide, old.worker(Wide))) == 2


@four_statuses
def test_a_worker_without_a_row_is_registered_again(old):
    """generations 8.2: before 0.16 a missing row says nothing."""
    worker = old.worker(Wide)
    old.conn.execute("delete from pgflow.workers")
    assert old.ask(workers.heartbeat([worker])) == {worker: None}


@pytest.mark.slow
@one_core
def test_a_running_worker_makes_its_row_again(old):
    old.app.compile(Crawl)
    with working(old.dsn, Crawl, processes=1) as ours:
        eventually(ours.ready.is_set)
        old.conn.execute("delete from pgflow.workers")
        eventually(lambda: column(old.conn, "select queue_name from pgflow.workers") == ["crawl"])
        assert old.app.start_flow_sync(Crawl, [1], timeout=30).output == {"count": 1}


@four_statuses
def test_what_others_have_left_is_found_and_mended(old):
    """Open tasks of a run that their functions failed; a message without a task."""
    old.worker(Wide)
    run_id = old.app.start_flow(Wide, {})
    old.claim(Wide, old.worker(Wide))
    old.conn.execute("select pgflow.fail_task(%s, 'left', 0, 'theirs')", (run_id,))
    old.conn.execute("select pgmq.send('wide', '{}')")
    found = [(damage.damage, damage.step_slug) for damage in old.ask(repair(dry_run=True))]
    assert found == [("open task of an ended run", "right"), ("message without a task", None)]
    assert all(damage.mended for damage in old.ask(repair(dry_run=False)))
    assert old.statuses(run_id)["right.0"] == ("failed", "Run failed")
    assert old.ask(repair(dry_run=True)) == []


@four_statuses
def test_runs_that_ended_long_ago_are_deleted_with_all_that_is_kept_of_them(old):
    worker = old.worker(Crawl)
    run_id = old.app.start_flow(Crawl, [1], idempotency_key="once")
    old.conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '1 minute'")
    old.claim(Crawl, worker)
    assert old.ask(tasks.recover_tasks()) == 1
    old.app.cancel_run(run_id)
    old.conn.execute(
        "update pgflow.runs set started_at = now() - interval '2 days', failed_at = now() - interval '1 day'"
    )
    pruned = old.app.prune(timedelta(hours=1))
    assert (pruned.runs, pruned.tasks) == (1, 1)
    for table in ("pgflow.step_states", "pgflow_mp.task_requeues", "pgflow_mp.run_keys", "pgflow_mp.runs"):
        assert column(old.conn, f"select count(*) from {table}") == [0], table


@four_statuses
def test_a_worker_is_not_tracked_as_a_function_to_be_called(old):
    """generations 1.2.4: the platform would call it by HTTP."""
    old.worker(Wide)
    if value(old.conn, "select to_regclass('pgflow.worker_functions') is not null"):
        assert column(old.conn, "select function_name from pgflow.worker_functions") == []


@npm_core
def test_what_it_cannot_do_is_refused_when_it_is_compiled(old):
    with pytest.raises(
        PgflowError, match='step "only_with_one" of flow "chosen" has a condition on its input'
    ) as refused:
        old.app.compile(Chosen)
    assert "which the core of this database (before 0.14) cannot do" in str(refused.value)
    assert not old.app.flow_exists("chosen")


@four_statuses
def test_a_failed_run_is_retried_from_its_failed_steps_where_outputs_are_stored(old):
    worker = old.worker(Wide)
    run_id = old.app.start_flow(Wide, {})
    left, right = sorted(old.claim(Wide, worker), key=lambda task: task.step_slug)
    old.ask(tasks.settle_tasks([outcome(right, worker, 7), outcome(left, worker, error="no")]))
    if old.name == foreign.NPM:
        with pytest.raises(PgflowError, match="cannot be retried from its failed steps: the core of this database"):
            old.app.retry_run(run_id, from_failed=True)
        again = old.app.retry_run(run_id)
    else:
        again = old.app.retry_run(run_id, from_failed=True)
        assert old.app.get_run_with_states(again).steps["right"].output == 7
    assert old.app.get_run(again).status == "started"


@npm_core
def test_what_one_worker_has_settled_another_statement_does_not_overwrite(old):
    """A view's trigger writes the row; it looks again what became of it, as the table itself would."""
    worker = old.worker(Crawl)
    run_id = old.app.start_flow(Crawl, [1])
    (task,) = old.claim(Crawl, worker)
    with psycopg.connect(old.dsn) as other, old.conn.pipeline():
        other.execute("update pgflow.step_tasks set attempts_count = 2 where run_id = %s", (run_id,))
        old.conn.execute("set lock_timeout = '10s'")
        settled = old.conn.execute(
            "update pgflow_mp.core_step_tasks set status = 'completed' where run_id = %s and attempts_count = 1",
            (run_id,),
        )
        other.commit()
    old.conn.execute("reset lock_timeout")
    assert settled.rowcount == 0
    assert value(old.conn, "select status from pgflow.step_tasks") == "started"
    assert task.attempt == 1


@pytest.mark.slow
@pytest.mark.parametrize("old", foreign.EACH, indirect=True)
def test_a_worker_of_the_generation_drains_the_same_flow_beside_ours(old):
    """Every run ends right, and no task was started twice."""
    old.app.compile(Crawl)
    theirs = Replay(
        old.conn,
        old.name,
        Crawl.definition,
        lambda task: task["input"] + 1 if task["step_slug"] == "load" else len(task["input"]["load"]),
    )
    answer = theirs.start()
    assert answer is None or answer["status"] == "verified"
    done = 0

    def all_ended():
        nonlocal done
        done += len(theirs.poll())
        theirs.beat()
        return value(old.conn, "select count(*) from pgflow.runs where status = 'started'") == 0

    started = [old.app.start_flow(Crawl, list(range(12)))]
    assert not all_ended()
    with working(old.dsn, Crawl, processes=1) as ours:
        eventually(ours.ready.is_set)
        started += [old.app.start_flow(Crawl, list(range(12))) for _ in range(24)]
        eventually(all_ended)
    assert [old.app.get_run(run_id).output for run_id in started] == [{"count": 12}] * 25
    assert value(old.conn, "select max(attempts_count) from pgflow.step_tasks") == 1
    assert 0 < done < 25 * 13
    assert column(old.conn, "select count(*) from pgmq.q_crawl") == [0]


def test_every_column_that_is_filled_is_one_of_ours(pgflow_conn):
    """Else a core would be asked for what no other has."""
    ours = rows(
        pgflow_conn,
        "select c.relname::text, a.attname::text from pg_attribute as a join pg_class as c on c.oid = a.attrelid "
        "where c.relnamespace = 'pgflow'::regnamespace and a.attnum > 0",
    )
    assert {(table, name) for table, fills in beside.FILLS.items() for name in fills} <= set(ours)
