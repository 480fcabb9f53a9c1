"""A worker that is killed loses nothing."""

from __future__ import annotations

import signal

import pytest

from pgflow_mp.client import PgFlow
from tests.engine.flows import Marked
from tests.engine.harness import eventually, serving

MODULE = "tests.engine.flows"


def test_a_run_whose_worker_is_killed_in_the_middle_of_a_step_completes_after_the_restart(pgflow_dsn, tmp_path):
    """Issue 2, point 11: kill -9 of the parent; the step's process dies with it, the task runs again."""
    marks = tmp_path / "marks"
    with PgFlow(pgflow_dsn) as app:
        app.compile(Marked)
        run_id = app.start_flow(Marked, {"marks": str(marks), "seconds": 2})
        with serving(pgflow_dsn, f"{MODULE}:Marked") as first:
            eventually(marks.exists)
            first.send_signal(signal.SIGKILL)
        assert app.get_run(run_id).status == "started"
        with serving(pgflow_dsn, f"{MODULE}:Marked"):
            eventually(lambda: app.get_run(run_id).completed)
        run = app.get_run_with_states(run_id)
    assert run.output == {"work": "done"}
    # The interrupted attempt was nobody's fault: it is not counted (D-3), although max_attempts is 1.
    assert run.steps["work"].attempts == 1
    assert len(marks.read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_leaves_nothing_claimed_and_exits_with_0(pgflow_dsn, pgflow_conn, tmp_path):
    marks = tmp_path / "marks"
    with PgFlow(pgflow_dsn) as app:
        app.compile(Marked)
        for _ in range(5):
            app.start_flow(Marked, {"marks": str(marks), "seconds": 1})
        with serving(pgflow_dsn, f"{MODULE}:Marked") as worker:
            eventually(marks.exists)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
    started = pgflow_conn.execute("select count(*) from pgflow.step_tasks where status = 'started'").fetchone()[0]
    assert started == 0
    assert pgflow_conn.execute("select count(*) from pgflow.workers where stopped_at is null").fetchone()[0] == 0
