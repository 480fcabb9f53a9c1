"""What each generation's own worker sends, replayed: enough to take a run to its end on its own schema.

Rules: generations 8.1, 8.2; core 4.7. Text parameters go untyped, as the drivers of TypeScript send them; psycopg does
the same.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from pgflow_mp.definition import FlowDefinition

__all__ = ["OWN_WORKER", "Replay"]

_CLAIM = "flow_slug => %(slug)s, msg_ids => %(ids)s::bigint[], worker_id => %(worker)s::uuid"
_POLL = (
    "select * from pgmq.read_with_poll(queue_name => %(queue)s, vt => 2, qty => 10, max_poll_seconds => 1, "
    "poll_interval_ms => 50)"
)
_POLL_OF_ELIXIR = (
    "select msg_id, read_ct, enqueued_at, vt, message from pgmq.read(queue_name => %(queue)s, vt => 30, qty => 10)"
)
_COMPLETE = (
    "select * from pgflow.complete_task(run_id => %(run_id)s::uuid, step_slug => %(step_slug)s::text, "
    "task_index => %(task_index)s::int, output => %(output)s::jsonb)"
)
_FAIL = (
    "select * from pgflow.fail_task(run_id => %(run_id)s::uuid, step_slug => %(step_slug)s::text, "
    "task_index => %(task_index)s::int, error_message => %(error)s::text)"
)
_HEARTBEAT = (
    "update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = %(worker)s "
    "returning deprecated_at is not null as deprecated"
)
_INSERT = "insert into pgflow.workers (queue_name, worker_id, function_name) values (%(queue)s, %(worker)s, 'replayed')"
_INSERT_VERSION = (
    "insert into pgflow.workers (queue_name, worker_id, function_name, pgflow_version) "
    "values (%(queue)s, %(worker)s, 'replayed', '0.17.1')"
)
_REGISTER = "select * from pgflow.register_worker(%(worker)s, %(queue)s, 'elixir:Replayed')"
_TRACK = "select pgflow.track_worker_function('replayed')"
_TRACK_PROCESS = "select pgflow.track_worker_function('replayed', 'process')"
_TRACK_ELIXIR = "select pgflow.track_worker_function('elixir:Replayed'::text, 'process')"
_COMPILE_3 = "select pgflow.ensure_flow_compiled(%(slug)s, %(shape)s::jsonb, false) as answer"
_COMPILE_2 = "select pgflow.ensure_flow_compiled(%(slug)s, %(shape)s::jsonb) as answer"
_COMPILE_4 = "select pgflow.ensure_flow_compiled(%(slug)s, %(shape)s::jsonb, 'flow'::text, %(routes)s::jsonb) as answer"
_COMPILE_ELIXIR = "select pgflow.ensure_flow_compiled(%(slug)s::text, %(shape)s::jsonb) as answer"
_CLAIM_3 = f"select * from pgflow.start_tasks({_CLAIM})"
_CLAIM_4 = f"select * from pgflow.start_tasks({_CLAIM}, queue_name => %(queue)s::text)"
_CLAIM_5 = f"select * from pgflow.start_tasks({_CLAIM}, queue_name => %(queue)s::text, step_slug => null::text)"
_CLAIM_ELIXIR = "select * from pgflow.start_tasks(%(slug)s::text, %(ids)s::bigint[], %(worker)s::uuid, %(queue)s::text)"
_CLAIM_ELIXIR_OLD = "select * from pgflow.start_tasks(%(slug)s, %(ids)s, %(worker)s)"
_JOB_OF_ELIXIR = "update pgflow.flows set flow_type = 'flow' where flow_slug = %(slug)s"


@dataclass(frozen=True, slots=True)
class Calls:
    """The statements of one generation's worker.

    Attributes:
        start_up: In their order, up to the worker's row.
        claim: What starts tasks.
        poll: What reads messages.
        lower: Whether it spells its queue in lower case (generations QI-1).
    """

    start_up: tuple[str, ...]
    claim: str
    poll: str = _POLL
    lower: bool = False


OWN_WORKER = {
    "0.8.1": Calls((_INSERT,), _CLAIM_3),
    "0.14.1": Calls((_TRACK, _COMPILE_3, _INSERT), _CLAIM_3),
    "0.15.0": Calls((_TRACK_PROCESS, _COMPILE_3, _INSERT), _CLAIM_3),
    "0.15.1": Calls((_TRACK_PROCESS, _COMPILE_3, _INSERT), _CLAIM_3),
    "0.16.0": Calls((_COMPILE_2, _TRACK_PROCESS, _INSERT), _CLAIM_3),
    "0.17.0": Calls((_COMPILE_4, _TRACK_PROCESS, _INSERT), _CLAIM_5, lower=True),
    "0.17.1": Calls((_COMPILE_4, _TRACK_PROCESS, _INSERT_VERSION), _CLAIM_5, lower=True),
    "elixir 0.3": Calls((_TRACK, _COMPILE_3, _REGISTER), _CLAIM_ELIXIR_OLD, _POLL_OF_ELIXIR),
    "elixir 0.4": Calls(
        (_COMPILE_ELIXIR, _JOB_OF_ELIXIR, _TRACK_ELIXIR, _REGISTER), _CLAIM_ELIXIR, _POLL_OF_ELIXIR, lower=True
    ),
}


class Replay:
    """A worker of one generation, with its calls, on one connection in autocommit.

    Args:
        conn: The connection.
        generation: A key of `OWN_WORKER`.
        flow: What it serves; its handlers are not used.
        handler: Makes the output of a task from its row, or raises.
    """

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        generation: str,
        flow: FlowDefinition,
        handler: Callable[[dict[str, Any]], Any],
    ) -> None:
        self.worker_id = uuid.uuid4()
        self._conn = conn
        self._calls = OWN_WORKER[generation]
        self._handler = handler
        queue = flow.slug.lower()
        self._known = {
            "slug": flow.slug,
            "queue": queue if self._calls.lower else flow.slug,
            "shape": json.dumps(flow.shape()),
            "routes": json.dumps([{"stepSlug": step.slug, "queueName": queue} for step in flow.steps]),
            "worker": self.worker_id,
        }

    def take_over(self, other: Replay) -> None:
        """Be the same worker as `other`, on this connection."""
        self.worker_id = self._known["worker"] = other.worker_id

    def start(self) -> dict[str, Any] | None:
        """Send what is sent before the first poll; return what the compile call answered, if there is one."""
        answers = [row for statement in self._calls.start_up for row in self._ask(statement)]
        return next((row["answer"] for row in answers if "answer" in row), None)

    def poll(self) -> list[dict[str, Any]]:
        """Read, claim, report each task; return the tasks."""
        tasks = self.claim()
        for task in tasks:
            self.report(task)
        return tasks

    def report(self, task: dict[str, Any]) -> None:
        """Do a claimed task, and say how it ended."""
        try:
            reported = {"output": Jsonb(self._handler(task))}
            self._ask(_COMPLETE, **task | reported)
        except ValueError as error:
            self._ask(_FAIL, **task | {"error": str(error)})

    def claim(self) -> list[dict[str, Any]]:
        """Read and claim, and report nothing."""
        read = [str(row["msg_id"]) for row in self._ask(self._calls.poll)]
        return self._ask(self._calls.claim, ids=read) if read else []

    def beat(self) -> bool | None:
        """Say that it is alive; whether it should finish, None where nobody knows it."""
        answers = self._ask(_HEARTBEAT)
        return answers[0]["deprecated"] if answers else None

    def stop(self) -> None:
        """Say that it stopped."""
        self._ask("select pgflow.mark_worker_stopped(%(worker)s::uuid)")

    def _ask(self, statement: str, **more: Any) -> list[dict[str, Any]]:
        with self._conn.cursor(row_factory=dict_row) as cursor:
            # Only what the statement names: a row of a task holds values that no driver would send.
            given = {name: value for name, value in (self._known | more).items() if f"%({name})s" in statement}
            cursor.execute(statement, given)
            return cursor.fetchall() if cursor.description else []
