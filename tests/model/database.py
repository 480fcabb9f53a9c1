"""The real state machine: one database for all examples, its calls, and all its rows in one look.

Flows have fixed slugs, so that their queues are made once; an example replaces their steps and empties all tables,
which takes milliseconds. Time passes by moving everything that waits into the past.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .definition import Flow, Json, Ticket

if TYPE_CHECKING:
    import uuid

SLUGS = "abcdefgh"
FLOWS = ("Alpha", "beta")  # one queue each; the first in mixed case (QI-1)
STEP_FLOW = "gamma"  # a queue for each step
QUEUES = [flow.lower() for flow in FLOWS] + [f"{STEP_FLOW}__{slug}" for slug in SLUGS]

_TABLES = "step_tasks", "step_states", "runs", "deps", "steps", "workers"


def _json(value: Json | None) -> str | None:
    return None if value is None else json.dumps(value.value)


def _union(prefix: str, columns: str) -> str:
    return " union all ".join(f"select '{queue}' as queue, {columns} from pgmq.{prefix}_{queue}" for queue in QUEUES)


_SNAPSHOT = f"""
with live as ({_union("q", "msg_id, message, vt")}),
     archived as ({_union("a", "msg_id")})
select json_build_object(
  'runs', (
    select json_object_agg(run_id, json_build_object(
      'status', status, 'output', output::text, 'remaining_steps', remaining_steps,
      'times', array_remove(array[
        case when completed_at is not null then 'completed_at' end, case when failed_at is not null then 'failed_at' end
      ], null)
    )) from pgflow.runs
  ),
  'states', (
    select json_agg(json_build_object(
      'run', run_id, 'step', step_slug, 'status', status, 'remaining_tasks', remaining_tasks,
      'initial_tasks', initial_tasks, 'remaining_deps', remaining_deps, 'output', output::text, 'error', error_message,
      'skip_reason', skip_reason, 'was_started', started_at is not null,
      'times', array_remove(array[
        case when completed_at is not null then 'completed_at' end,
        case when failed_at is not null then 'failed_at' end,
        case when skipped_at is not null then 'skipped_at' end
      ], null)
    )) from pgflow.step_states
  ),
  'tasks', (
    select json_agg(json_build_object(
      'run', t.run_id, 'step', step_slug, 'index', task_index, 'status', status, 'attempts', attempts_count,
      'output', output::text, 'error', error_message, 'worker', last_worker_id, 'started', started_at is not null,
      'requeued', requeued_count, 'given_up', permanently_stalled_at is not null,
      'message', message_id, 'queue', queue_name,
      'visible_in', (
        select extract(epoch from vt - clock_timestamp()) from live
        where queue = t.queue_name and msg_id = t.message_id
      ),
      'is_archived', exists (select from archived where queue = t.queue_name and msg_id = t.message_id),
      'times', array_remove(array[
        case when completed_at is not null then 'completed_at' end, case when failed_at is not null then 'failed_at' end
      ], null)
    )) from pgflow.step_tasks as t
  ),
  'messages', (select json_agg(json_build_object('queue', queue, 'id', msg_id, 'body', message)) from live),
  'events', (
    select json_agg(json_build_object(
      'place', place, 'event', event, 'topic', topic, 'private', private, 'payload', payload
    ) order by place)
    from realtime.sent where place > %s
  )
)
"""

_EMPTY = f"""
{" ".join(f"delete from pgflow.{table};" for table in _TABLES)}
{" ".join(f"delete from pgmq.q_{queue}; delete from pgmq.a_{queue};" for queue in QUEUES)}
delete from realtime.sent;
"""

_TRUNCATE = f"""
truncate pgflow.step_tasks, pgflow.step_states, pgflow.runs, pgflow.deps, realtime.sent,
  {", ".join(f"pgmq.q_{queue}, pgmq.a_{queue}" for queue in QUEUES)} cascade;
"""


@dataclass(frozen=True)
class Claimed:
    """A row of claim_tasks or start_tasks."""

    run: uuid.UUID
    key: tuple[str, int]
    attempt: int
    message: int
    timeout: int | None
    input: Json | None
    flow_input: Json | None


class Database:
    """Calls on one connection; what they return is plain Python."""

    def __init__(self, conn) -> None:
        self.conn = conn
        self.seen = 0
        self.examples = 0

    def rows(self, sql: str, *params: object) -> list[tuple]:
        return self.conn.execute(sql, params).fetchall()

    def value(self, sql: str, *params: object) -> object:
        return self.rows(sql, *params)[0][0]

    # Setting up

    def prepare(self) -> None:
        """Once in a database: the flows and their queues."""
        for flow in FLOWS:
            self.conn.execute("select pgflow.create_flow(%s)", [flow])
        self.conn.execute("insert into pgflow.flows (flow_slug, queue_mode) values (%s, 'step')", [STEP_FLOW])
        for slug in SLUGS:
            self.conn.execute("select pgmq.create(%s)", [f"{STEP_FLOW}__{slug}"])

    def reset(self, flows: list[Flow], workers: dict[uuid.UUID, bool]) -> None:
        """Empty everything and define these flows; workers: id -> is it one of ours?"""
        self.examples += 1
        if self.examples % 100 == 1:  # the first time too, so that the quick profile runs it
            self.conn.execute(_TRUNCATE)
        self.conn.execute(_EMPTY)
        with self.conn.pipeline():
            for flow in flows:
                self._define(flow)
            for worker, ours in workers.items():
                self.register(worker, ours)
        self.seen = self.value("select coalesce(max(place), 0) from realtime.sent")

    def register(self, worker: uuid.UUID, ours: bool) -> None:
        self.conn.execute(
            "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, 'any', 'model') "
            "on conflict do nothing",
            [worker],
        )
        if ours:
            self.conn.execute(
                "insert into pgflow_mp.workers (worker_id, host, pid, version) values (%s, 'here', 1, '0') "
                "on conflict do nothing",
                [worker],
            )

    def _define(self, flow: Flow) -> None:
        self.conn.execute(
            "update pgflow.flows set opt_max_attempts = %s, opt_base_delay = %s, opt_timeout = %s where flow_slug = %s",
            [flow.max_attempts, flow.base_delay, flow.timeout, flow.slug],
        )
        define = self._insert_step if flow.step_queues else self._add_step
        for index, step in enumerate(flow.steps):
            define(flow, index, step)

    def _add_step(self, flow, _index, step) -> None:
        self.conn.execute(
            "select pgflow.add_step(%s, %s, %s::text[], %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s, %s)",
            [flow.slug, step.slug, list(step.deps), *self._options(step)],
        )

    def _insert_step(self, flow, index, step) -> None:
        """add_step is for flows with one queue (SM-2)."""
        self.conn.execute(
            "insert into pgflow.steps (flow_slug, step_slug, queue_name, step_index, deps_count, opt_max_attempts, "
            "opt_base_delay, opt_timeout, opt_start_delay, step_type, required_input_pattern, forbidden_input_pattern, "
            "when_unmet, when_exhausted) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s, %s)",
            [flow.slug, step.slug, flow.queue(step.slug), index, len(step.deps), *self._options(step)],
        )
        for parent in step.deps:
            self.conn.execute(
                "insert into pgflow.deps (flow_slug, dep_slug, step_slug) values (%s, %s, %s)",
                [flow.slug, parent, step.slug],
            )

    @staticmethod
    def _options(step) -> list[object]:
        return [
            step.max_attempts,
            step.base_delay,
            step.timeout,
            step.start_delay,
            step.kind,
            _json(step.when),
            _json(step.unless),
            step.when_unmet,
            step.when_exhausted,
        ]

    def tick(self, seconds: float) -> None:
        """Let time pass for everything that waits or runs; workers keep beating."""
        interval = f"make_interval(secs => {seconds})"
        self.conn.execute(
            " ".join(f"update pgmq.q_{queue} set vt = vt - {interval};" for queue in QUEUES)
            + f"update pgflow.step_tasks set queued_at = queued_at - {interval}, started_at = started_at - {interval} "
            "where status in ('queued', 'started');"
        )

    def set_worker(self, worker: uuid.UUID, stopped: bool, silent: bool) -> None:
        self.conn.execute(
            "update pgflow.workers set stopped_at = case when %s then clock_timestamp() end, "
            "last_heartbeat_at = clock_timestamp() + case when %s then interval '-1 hour' else '1 hour' end "
            "where worker_id = %s",
            [stopped, silent, worker],
        )

    # Looking

    def snapshot(self) -> dict:
        """All rows, live messages, and the events since the last look."""
        found = self.value(_SNAPSHOT, self.seen)
        events = found["events"] or []
        if events:
            self.seen = events[-1]["place"]
        return {name: part or [] for name, part in found.items()}

    # Calls

    def start_flow(self, flow: str, run_input: Json, run_id: uuid.UUID | None) -> tuple[uuid.UUID, str]:
        return self.rows(
            "select run_id, status from pgflow.start_flow(%s, %s::jsonb, %s::uuid)", flow, _json(run_input), run_id
        )[0]

    def start_flows(self, flow: str, inputs: list[Json], ids: list[uuid.UUID] | None) -> list[tuple[uuid.UUID, str]]:
        return self.rows(
            "select run_id, status from pgflow_mp.start_flows(%s, %s::jsonb[], %s::uuid[])",
            flow,
            [_json(each) for each in inputs],
            ids,
        )

    def claim(self, flows, workers, quantities, only_runs) -> list[Claimed]:
        found = self.rows(
            "select run_id, step_slug, task_index, attempt, msg_id, timeout, input::text, flow_input::text "
            "from pgflow_mp.claim_tasks(%s::text[], %s::uuid[], %s::int[], %s::uuid[])",
            flows,
            workers,
            quantities,
            only_runs,
        )
        return [self._claimed(*row) for row in found]

    def read(self, queue: str, quantity: int, vt: int) -> list[int]:
        found = self.rows("select msg_id from pgmq.read(queue_name => %s, vt => %s, qty => %s)", queue, vt, quantity)
        return [row[0] for row in found]

    def start_tasks(self, flow: Flow, queue: str, step: str | None, messages, worker) -> list[Claimed]:
        """With as many arguments as the kind of flow asks for (generations 9.1)."""
        columns = "run_id, step_slug, task_index, attempts_count, msg_id, null::int, input::text, flow_input::text"
        if flow.step_queues:
            found = self.rows(
                f"select {columns} from pgflow.start_tasks(flow_slug => %s, msg_ids => %s::bigint[], "
                "worker_id => %s::uuid, queue_name => %s::text, step_slug => %s::text)",
                flow.slug,
                messages,
                worker,
                queue,
                step,
            )
        else:
            found = self.rows(
                f"select {columns} from pgflow.start_tasks(flow_slug => %s, msg_ids => %s::bigint[], "
                "worker_id => %s::uuid)",
                flow.slug,
                messages,
                worker,
            )
        return [self._claimed(*row) for row in found]

    @staticmethod
    def _claimed(run, step, index, attempt, message, timeout, task_input, flow_input) -> Claimed:
        given = None if task_input is None else Json(json.loads(task_input))
        flow_given = None if flow_input is None else Json(json.loads(flow_input))
        return Claimed(run, (step, index), attempt, message, timeout, given, flow_given)

    def settle(self, settlements) -> list[tuple]:
        """(applied, task_status, step_status, run_status) of each, after checking that the answers are in order."""
        found = self.rows(
            "select run_id, step_slug, task_index, applied, task_status, step_status, run_status "
            "from pgflow_mp.settle_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::uuid[], %s::jsonb[], "
            "%s::text[], %s::boolean[])",
            [each.run for each in settlements],
            [each.key[0] for each in settlements],
            [each.key[1] for each in settlements],
            [each.attempt for each in settlements],
            [each.worker for each in settlements],
            [_json(each.output) for each in settlements],
            [each.error for each in settlements],
            [each.retryable for each in settlements],
        )
        assert [(row[0], (row[1], row[2])) for row in found] == [(each.run, each.key) for each in settlements]
        return [row[3:] for row in found]

    def complete(self, run, key, output: Json | None) -> list[str]:
        found = self.rows(
            "select status from pgflow.complete_task("
            "run_id => %s, step_slug => %s, task_index => %s, output => %s::jsonb)",
            run,
            *key,
            _json(output),
        )
        return [row[0] for row in found]

    def fail(self, run, key, error: str) -> list[str]:
        found = self.rows(
            "select status from pgflow.fail_task(run_id => %s, step_slug => %s, task_index => %s, error_message => %s)",
            run,
            *key,
            error,
        )
        return [row[0] for row in found]

    def give_back(self, tickets, delay: int) -> int:
        return self.value(
            "select pgflow_mp.give_back_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::uuid[], %s)",
            [each.run for each in tickets],
            [each.key[0] for each in tickets],
            [each.key[1] for each in tickets],
            [each.attempt for each in tickets],
            [each.worker for each in tickets],
            delay,
        )

    def requeue_stalled(self) -> int:
        return self.value("select pgflow.requeue_stalled_tasks()")

    def recover(self) -> int:
        return self.value("select pgflow_mp.recover_tasks('1 minute')")

    def skip_delays(self, runs) -> list[tuple]:
        return self.rows("select run_id, step_slug, task_index, seconds from pgflow_mp.skip_delays(%s::uuid[])", runs)

    def poke(self, run, *, live: bool) -> None:
        """The contract's inner functions, which change nothing when nothing is due (3.8.8, 3.9.1, 3.12).

        The taskless cascade ignores that a run has ended (3.10.6), so it is left to live ones.
        """
        if live:
            assert self.value("select pgflow.cascade_complete_taskless_steps(%s)", run) == 0
        self.conn.execute(
            "select pgflow.cascade_resolve_conditions(%(run)s), pgflow.start_ready_steps(%(run)s), "
            "pgflow.maybe_complete_run(%(run)s)",
            {"run": run},
        )

    def force_skip(self, run, step, reason) -> int:
        found = self.value("select pgflow._cascade_force_skip_steps(%s, %s, %s)", run, step, reason)
        self.conn.execute("select pgflow.maybe_complete_run(%s)", [run])
        return found

    def cancel(self, runs: list[uuid.UUID]) -> list[uuid.UUID]:
        return [row[0] for row in self.rows("select pgflow_mp.cancel_runs(%s::uuid[])", runs)]

    def cancelled(self) -> set[uuid.UUID]:
        return {row[0] for row in self.rows("select run_id from pgflow_mp.runs where cancelled_at is not null")}

    def send(self, queue: str, body: object) -> int:
        return self.value("select pgmq.send(%s, %s::jsonb)", queue, json.dumps(body))

    def held(self, worker: uuid.UUID) -> list[Ticket]:
        """The attempts that a worker has running, as the database sees it."""
        found = self.rows(
            "select run_id, step_slug, task_index, attempts_count from pgflow.step_tasks "
            "where last_worker_id = %s and status = 'started'",
            worker,
        )
        return [Ticket(run, (step, index), attempt, worker) for run, step, index, attempt in found]

    def kill_one(self, session: str) -> bool:
        """End one connection of that name."""
        found = self.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = %s order by state, random() limit 1",
            session,
        )
        return bool(found)
