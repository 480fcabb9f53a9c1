"""After the storm: what the books must say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.flows import ELEMENTS, MOST_ATTEMPTS
from tests.faults.processes import marked

if TYPE_CHECKING:
    from tests.faults.world import World

TASKS = ELEMENTS + 2

# Every query counts what must not be.
MUST_BE_ZERO = {
    "runs that have not completed": "select count(*) from pgflow.runs where status <> 'completed'",
    "steps that have not completed": "select count(*) from pgflow.step_states where status <> 'completed'",
    "tasks that have not completed": "select count(*) from pgflow.step_tasks where status <> 'completed'",
    "runs without all of their tasks": (
        "select count(*) from (select from pgflow.runs as r left join pgflow.step_tasks as t using (run_id) "
        f"group by r.run_id having count(t.run_id) <> {TASKS}) as odd"
    ),
    "tasks whose attempts break the policy": (
        f"select count(*) from pgflow.step_tasks where attempts_count not between 1 and {MOST_ATTEMPTS}"
    ),
    "runs with a wrong count of remaining steps": "select count(*) from pgflow.runs where remaining_steps <> 0",
    "completed tasks that the ledger does not know": (
        "select count(*) from pgflow.step_tasks as t where status = 'completed' and not exists ("
        "select from ledger as l where (l.run_id, l.step_slug, l.task_index) = (t.run_id, t.step_slug, t.task_index))"
    ),
    "outputs of an attempt that the ledger does not know": (
        "select count(*) from pgflow.step_tasks as t where step_slug = 'work' and not exists ("
        "select from ledger as l where (l.run_id, l.step_slug, l.task_index) = (t.run_id, t.step_slug, t.task_index) "
        "and l.attempt = (t.output ->> 'attempt')::int)"
    ),
    "outputs of another attempt than the last": (
        "select count(*) from pgflow.step_tasks "
        "where step_slug = 'work' and (output ->> 'attempt')::int <> attempts_count"
    ),
    "live messages": "select count(*) from pgmq.q_storm",
}


def audit(world: World, exit_codes: list[int]) -> list[str]:
    """Return what is wrong; empty is as it must be."""
    wrong = []
    with world.connect() as conn:
        for what, query in MUST_BE_ZERO.items():
            found = conn.execute(query).fetchone()
            if found and found[0]:
                wrong.append(f"{found[0]} {what}")
        outputs = dict(conn.execute("select run_id, (output ->> 'total')::bigint from pgflow.runs").fetchall())
    expected = {run: ELEMENTS * base + sum(range(ELEMENTS)) for run, base in world.runs.items()}
    if outputs != expected:
        odd = [run for run in expected.keys() | outputs.keys() if expected.get(run) != outputs.get(run)]
        wrong.append(f"{len(odd)} runs with a wrong output, or too few or too many: {odd[:3]}")
    if any(exit_codes):
        wrong.append(f"workers that were asked to finish ended with {exit_codes}")
    if left := marked(world.mark):
        wrong.append(f"{len(left)} processes are left: {left}")
    if files := sorted(str(path.relative_to(world.temporary)) for path in world.temporary.rglob("*")):
        wrong.append(f"{len(files)} files and folders are left: {files[:5]}")
    return wrong


def figures(world: World) -> dict[str, int]:
    """Return what there was to get wrong."""
    with world.connect() as conn:
        tasks, attempts, again = conn.execute(
            "select count(*), coalesce(sum(attempts_count), 0), count(*) filter (where attempts_count > 1) "
            "from pgflow.step_tasks"
        ).fetchone() or (0, 0, 0)
        (entries,) = conn.execute("select count(*) from ledger").fetchone() or (0,)
    return {
        "runs": len(world.runs),
        "tasks": tasks,
        "attempts that count": attempts,
        "ledger entries": entries,
        "tasks tried again": again,
    }
