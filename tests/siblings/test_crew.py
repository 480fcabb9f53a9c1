"""The short form of a mixed crew; `ci/crew` lets a long one work. Rules: issue 8 point 3; generations 8.3, SU-11."""

from __future__ import annotations

import psycopg
import pytest

from .crew.audit import audit
from .crew.deck import OURS, foreigners, node
from .crew.muster import muster
from .npm import packages

pytestmark = pytest.mark.filterwarnings("default::ResourceWarning")


def work_together(dsn, members, scratch):
    report = muster(dsn, members, 4, scratch, pause=0.1, wait=False)
    print(report)
    assert not report.wrong, f"{report}\n{report.log[-20_000:]}"
    assert min(report.kills.values()) >= 1
    assert {member.name for member in members if "/" not in member.name} <= report.tasks.keys(), "somebody did nothing"
    assert report.again > 0
    return report


# What the audit must find, one at a time.
DAMAGE = {
    "completed tasks whose output is of no execution": "delete from ledger where step_slug = 'total'",
    "executions whose output stands in two tasks": (
        "update pgflow.step_tasks set output = (select min(output::text)::jsonb from pgflow.step_tasks "
        "where step_slug = 'finish') where step_slug = 'finish'"
    ),
    "tasks done twice by members that lived": (
        "insert into ledger (run_id, step_slug, task_index, member, raised) "
        "select run_id, step_slug, task_index, 'somebody', false from ledger cross join generate_series(1, 2)"
    ),
    "messages that are left": "select pgmq.send('crew', '{}')",
    "not archived exactly once": "delete from pgmq.a_crew",
    "tasks that are open": "update pgflow.step_tasks set status = 'queued', output = null where step_slug = 'finish'",
    "its output is made of other executions": (
        "update pgflow.runs set output = jsonb_set(output, '{finish,tokens}', '[]') where output ? 'finish'"
    ),
    "it is failed": "update pgflow.runs set status = 'failed' where input ->> 'fate' = 'good'",
}


@pytest.mark.slow
def test_workers_of_all_families_drain_the_same_flows_while_they_are_killed(pgflow_dsn, tmp_path):
    """Replayed workers of other languages, and ours: every run ends right, nothing is done twice, nothing is left."""
    names = ("TypeScript 0.14", "TypeScript 0.16", "TypeScript 0.17.1", "Elixir", "TypeScript 0.17.1/each")
    report = work_together(pgflow_dsn, [OURS, *foreigners(*names)], tmp_path)
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        for problem, damage in DAMAGE.items():
            with conn.transaction(force_rollback=True):
                conn.execute(damage)
                assert any(problem in each for each in audit(conn, report.runs, report.killed)), problem


@pytest.mark.npm
def test_the_real_sql_client_of_0_8_1_and_ours_drain_the_same_flow_while_they_are_killed(pgflow_dsn, tmp_path):
    """One of the crew is the real client under Node, with the real driver."""
    packages()
    work_together(pgflow_dsn, [OURS, node(tmp_path, pgflow_dsn), *foreigners("Elixir")], tmp_path)
