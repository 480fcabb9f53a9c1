"""Drives the state machine in tests: flows in one line, the contract's calls and ours, and what came of them."""

import json
import os
import uuid
from dataclasses import dataclass

import psycopg
from psycopg.types.json import Jsonb

from .ask import column, rows, value

NOTHING = object()


def single(*deps, **options):
    return {"deps": list(deps), **options}


def map_of(*deps, **options):
    return {"deps": list(deps), "step_type": "map", **options}


@dataclass(frozen=True)
class Task:
    """A claimed task."""

    flow: str
    run: uuid.UUID
    step: str
    index: int
    message: int
    attempt: int
    timeout: int
    input: object
    flow_input: object


class Machine:
    """A connection, a registered worker, and short names for what tests do all the time."""

    def __init__(self, conn):
        self.conn = conn
        self.worker = self.register()

    def another_session(self):
        """A second machine on the same database, for tests with two sessions."""
        return Machine(psycopg.connect(self.conn.info.dsn, autocommit=True))

    def register(self, *, ours=False, heartbeat_age=0, stopped=False):
        """A worker row; `ours` makes it one of pgflow-mp."""
        worker = uuid.uuid4()
        self.conn.execute(
            "insert into pgflow.workers (worker_id, queue_name, function_name, last_heartbeat_at, stopped_at) "
            "values (%s, 'any', 'test', clock_timestamp() - make_interval(secs => %s), case when %s then now() end)",
            [worker, heartbeat_age, stopped],
        )
        if ours:
            self.conn.execute(
                "insert into pgflow_mp.workers (worker_id, host, pid, version) values (%s, 'here', 1, '0')", [worker]
            )
        return worker

    # Definitions

    def flow(self, slug, /, *, options=None, **steps):
        """Create a flow; each step is what `single` or `map_of` made, in order."""
        options = options or {}
        self._call("create_flow", flow_slug=slug, **options)
        for step_slug, step in steps.items():
            arguments = dict(step)
            for key, name in (("when", "required_input_pattern"), ("unless", "forbidden_input_pattern")):
                if key in arguments:
                    arguments[name] = Jsonb(arguments.pop(key))
            self._call("add_step", flow_slug=slug, step_slug=step_slug, deps_slugs=arguments.pop("deps"), **arguments)
        return slug

    def _call(self, function, **arguments):
        named = ", ".join(f"{name} => %s" for name in arguments)
        return rows(self.conn, f"select * from pgflow.{function}({named})", *arguments.values())

    # The contract's calls

    def start(self, slug, run_input=NOTHING):
        """Start one run and return its id."""
        payload = Jsonb({} if run_input is NOTHING else run_input)
        return value(self.conn, "select run_id from pgflow.start_flow(%s, %s)", slug, payload)

    def complete(self, run, step, output=None, index=0):
        """complete_task; None is SQL NULL. Returns the status of the task row, or None."""
        payload = None if output is None else Jsonb(output)
        sql = "select status from pgflow.complete_task(run_id => %s, step_slug => %s, task_index => %s, output => %s)"
        found = column(self.conn, sql, run, step, index, payload)
        return found[0] if found else None

    def fail(self, run, step, error="boom", index=0):
        """fail_task. Returns the status of the task row, or None."""
        sql = (
            "select status from pgflow.fail_task(run_id => %s, step_slug => %s, task_index => %s, error_message => %s)"
        )
        found = column(self.conn, sql, run, step, index, error)
        return found[0] if found else None

    def read(self, queue, quantity=100, vt=30):
        """What a foreign worker does first: the ids of visible messages."""
        return column(
            self.conn, "select msg_id from pgmq.read(queue_name => %s, vt => %s, qty => %s)", queue, vt, quantity
        )

    def start_tasks(self, slug, ids, worker=NOTHING):
        """What a foreign worker does then: with three arguments, or with four where the core knows no other form."""
        queue = ", queue_name => lower(%s)" if os.environ.get("PGFLOW_TEST_CORE") else ""
        found = self.conn.execute(
            f"select * from pgflow.start_tasks(flow_slug => %s, msg_ids => %s::bigint[], worker_id => %s::uuid{queue})",
            [slug, ids, self.worker if worker is NOTHING else worker, *([slug] if queue else [])],
        )
        names = [c.name for c in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def poll(self, slug, quantity=100):
        """Read and start, as a foreign worker does."""
        return self.start_tasks(slug, self.read(slug, quantity))

    # Our calls

    def start_many(self, slug, inputs, run_ids=None):
        return column(
            self.conn,
            "select run_id from pgflow_mp.start_flows(%s, %s::jsonb[], %s::uuid[])",
            slug,
            [json.dumps(each) for each in inputs],
            run_ids,
        )

    def claim(self, slug, quantity=100, *, only=None, worker=None):
        found = rows(
            self.conn,
            "select flow_slug, run_id, step_slug, task_index, msg_id, attempt, timeout, input, flow_input "
            "from pgflow_mp.claim_tasks(array[%s], array[%s::uuid], array[%s::int], %s::uuid[])",
            slug,
            worker or self.worker,
            quantity,
            only,
        )
        return [Task(*row) for row in found]

    def settle(self, outcomes, *, worker=None, batch=True):
        """Settle [(task, output or Failure)]; returns (applied, task_status, step_status, run_status) of each."""
        if not batch:
            return [self.settle([each], worker=worker)[0] for each in outcomes]
        tasks = [task for task, _ in outcomes]
        failures = [outcome if isinstance(outcome, Failure) else None for _, outcome in outcomes]
        outputs = [
            None if failed or outcome is None else json.dumps(outcome)
            for failed, (_, outcome) in zip(failures, outcomes, strict=True)
        ]
        return rows(
            self.conn,
            "select applied, task_status, step_status, run_status from pgflow_mp.settle_tasks("
            "%s::uuid[], %s::text[], %s::int[], %s::int[], %s::uuid[], %s::jsonb[], %s::text[], %s::boolean[])",
            [task.run for task in tasks],
            [task.step for task in tasks],
            [task.index for task in tasks],
            [task.attempt for task in tasks],
            [worker or self.worker] * len(tasks),
            outputs,
            [failed.error if failed else None for failed in failures],
            [failed.retryable if failed else True for failed in failures],
        )

    def give_back(self, tasks, *, delay=0, worker=None):
        return value(
            self.conn,
            "select pgflow_mp.give_back_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::uuid[], %s)",
            [task.run for task in tasks],
            [task.step for task in tasks],
            [task.index for task in tasks],
            [task.attempt for task in tasks],
            [worker or self.worker] * len(tasks),
            delay,
        )

    def recover(self, silent="15 seconds"):
        return value(self.conn, "select pgflow_mp.recover_tasks(%s::interval)", silent)

    def skip_delays(self, *runs):
        return rows(self.conn, "select step_slug, task_index, seconds from pgflow_mp.skip_delays(%s)", list(runs))

    def drain(self, slug, handler=lambda task: {"ok": task.step}, batch=100):
        """Work off a queue; returns how many tasks ran."""
        count = 0
        while tasks := self.claim(slug, batch):
            count += len(tasks)
            self.settle([(task, handler(task)) for task in tasks])
        return count

    def backdate(self, run, seconds, step=None):
        """Let the started tasks of a run have begun so much earlier."""
        self.conn.execute(
            "update pgflow.step_tasks set queued_at = queued_at - make_interval(secs => %s), "
            "started_at = started_at - make_interval(secs => %s) "
            "where run_id = %s and status = 'started' and (%s::text is null or step_slug = %s)",
            [seconds, seconds, run, step, step],
        )

    # What came of it

    def run(self, run):
        """(status, output, remaining_steps)."""
        return rows(self.conn, "select status, output, remaining_steps from pgflow.runs where run_id = %s", run)[0]

    def status(self, run):
        return self.run(run)[0]

    def steps(self, run):
        """{step: status}."""
        return dict(rows(self.conn, "select step_slug, status from pgflow.step_states where run_id = %s", run))

    def state(self, run, step, *columns):
        """Columns of one step state; a single column comes bare."""
        (row,) = rows(
            self.conn,
            f"select {', '.join(columns)} from pgflow.step_states where run_id = %s and step_slug = %s",
            run,
            step,
        )
        return row[0] if len(columns) == 1 else row

    def task(self, run, step, *columns, index=0):
        """Columns of one task; a single column comes bare."""
        (row,) = rows(
            self.conn,
            f"select {', '.join(columns)} from pgflow.step_tasks "
            "where run_id = %s and step_slug = %s and task_index = %s",
            run,
            step,
            index,
        )
        return row[0] if len(columns) == 1 else row

    def tasks(self, run):
        """{step: [status of each task]}."""
        found = {}
        for step, status in rows(
            self.conn, "select step_slug, status from pgflow.step_tasks where run_id = %s order by task_index", run
        ):
            found.setdefault(step, []).append(status)
        return found

    def queued(self, queue):
        """(step, index) of the messages in a queue, by message id."""
        return rows(
            self.conn,
            f"select message ->> 'step_slug', (message ->> 'task_index')::int from pgmq.q_{queue} order by msg_id",
        )

    def archived(self, queue):
        return sorted(
            rows(self.conn, f"select message ->> 'step_slug', (message ->> 'task_index')::int from pgmq.a_{queue}")
        )

    def visible_in(self, run, step, index=0):
        """Seconds until the message of a task is visible; negative: it is."""
        queue, message = self.task(run, step, "queue_name", "message_id", index=index)
        return value(
            self.conn,
            f"select extract(epoch from vt - clock_timestamp())::float8 from pgmq.q_{queue} where msg_id = %s",
            message,
        )

    def events(self, run=None):
        """(event, payload) of a run as realtime.send got them, in order."""
        return rows(
            self.conn,
            "select event, payload from realtime.sent "
            "where %s::uuid is null or topic = 'pgflow:run:' || %s order by place",
            run,
            run,
        )

    def event_names(self, run):
        return [event for event, _ in self.events(run)]

    def everything(self, run):
        """All rows of a run, to show that nothing changed."""
        tables = ("runs", "step_states", "step_tasks")
        return [
            rows(self.conn, f"select to_jsonb(t) from pgflow.{t} as t where run_id = %s order by 1::text", run)
            for t in tables
        ]


@dataclass(frozen=True)
class Failure:
    """An outcome that is an error."""

    error: str = "boom"
    retryable: bool = True
