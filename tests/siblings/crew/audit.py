"""After a mixed crew has worked: what the books must say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.siblings.crew.flows import ELEMENTS, expected

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    import psycopg

__all__ = ["audit"]

# Every query counts what must not be.
MUST_BE_ZERO = {
    "runs that are open": "select count(*) from pgflow.runs where status = 'started'",
    "tasks that are open": "select count(*) from pgflow.step_tasks where status in ('queued', 'started')",
    "steps of completed runs that are open": (
        "select count(*) from pgflow.step_states join pgflow.runs as r using (run_id) "
        "where r.status = 'completed' and step_states.status in ('created', 'started')"
    ),
    "completed runs with a wrong count of remaining steps": (
        "select count(*) from pgflow.runs where status = 'completed' and remaining_steps <> 0"
    ),
    "completed runs whose weak step was not given up": (
        "select count(*) from pgflow.runs join pgflow.step_states as s using (run_id) where runs.status = 'completed' "
        "and s.step_slug = 'weak' and (s.status <> 'skipped' or s.skip_reason is distinct from 'handler_failed')"
    ),
    "completed tasks whose output is of no execution of theirs": (
        "select count(*) from pgflow.step_tasks as t where t.status = 'completed' and t.step_slug <> 'numbers' "
        "and not exists (select from ledger as l where (l.run_id, l.step_slug, l.task_index) "
        "= (t.run_id, t.step_slug, t.task_index) and l.token::text = t.output ->> 'token' and not l.raised)"
    ),
    "executions whose output stands in two tasks": (
        "select count(*) from (select output ->> 'token' from pgflow.step_tasks where output ? 'token' "
        "group by 1 having count(*) > 1) as twice"
    ),
    "tasks done twice by members that lived": (
        "select count(*) from (select from ledger where not raised and not member = any (%s) "
        "group by run_id, step_slug, task_index having count(*) > 1) as twice"
    ),
    "messages that are left": (
        "select (select count(*) from pgmq.q_crew) + (select count(*) from pgmq.q_crewrouted__numbers) "
        "+ (select count(*) from pgmq.q_crewrouted__each)"
    ),
    "tasks whose message was not archived exactly once": (
        "select count(*) from pgflow.step_tasks as t where t.message_id is not null and 1 <> ("
        "(select count(*) from pgmq.a_crew as a where t.queue_name = 'crew' and a.msg_id = t.message_id) "
        "+ (select count(*) from pgmq.a_crewrouted__numbers as a "
        "where t.queue_name = 'crewrouted__numbers' and a.msg_id = t.message_id) "
        "+ (select count(*) from pgmq.a_crewrouted__each as a "
        "where t.queue_name = 'crewrouted__each' and a.msg_id = t.message_id))"
    ),
}


def audit(conn: psycopg.Connection[Any], runs: Mapping[uuid.UUID, Mapping[str, Any]], killed: set[str]) -> list[str]:
    """Return what is wrong; empty is as it must be."""
    wrong = []
    for what, query in MUST_BE_ZERO.items():
        found = conn.execute(query, [sorted(killed)] if "%s" in query else None).fetchone()
        if found and found[0]:
            wrong.append(f"{found[0]} {what}")
    ended = {
        run: (status, output) for run, status, output in conn.execute("select run_id, status, output from pgflow.runs")
    }
    if ended.keys() != runs.keys():
        wrong.append(f"{len(ended)} runs, {len(runs)} were started")
    values = dict(
        conn.execute(
            "select run_id, jsonb_agg(output order by task_index) from pgflow.step_tasks "
            "where step_slug = 'each' and status = 'completed' group by run_id"
        ).fetchall()
    )
    for run, given in runs.items():
        if problem := _problem(given, *ended.get(run, ("missing", None)), values.get(run, [])):
            wrong.append(f"run {run} of {given}: {problem}")
    return wrong


def _problem(given: Mapping[str, Any], status: str, output: Any, elements: list[dict[str, Any]]) -> str | None:
    """What is wrong with how a run ended."""
    if given["fate"] == "doomed":
        return None if (status, output) == ("failed", None) else f"it is {status}"
    if status != "completed":
        return f"it is {status}"
    if [each["value"] for each in elements] != [2 * (given["base"] + n) for n in range(ELEMENTS)]:
        return f"its elements are {elements}"
    tokens = [each["token"] for each in elements]
    if given["flow"] == "CrewRouted":
        return None if [each["token"] for each in output["each"]] == tokens else f"its output is {output}"
    last = {name: found for name, found in output["finish"].items() if name not in ("token", "tokens")}
    if last != expected(given["base"]):
        return f"its output is {last}"
    return None if output["finish"]["tokens"] == tokens else "its output is made of other executions than its tasks"
