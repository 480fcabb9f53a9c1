"""What a failing test shows of its runs: a section for each, with the steps as a table.

Read from the database while the test still has it, so every run is there: those of `flow_runner`, those that the
application started by itself, and those that never ended. What the failure itself has shown already is not repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgflow_mp.connecting import connect
from pgflow_mp.core.queries.runs import get_run_with_states
from pgflow_mp.core.statement import Statement, execute, rows
from pgflow_mp.errors import DatabaseUnreachable
from pytest_pgflow._databases import kept_dsn
from pytest_pgflow._session import STORIES, Story
from pytest_pgflow._table import run_table, shorten
from pytest_pgflow._timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg
    import pytest

    from pgflow_mp.results import Run, StepState

    Telling = Callable[[Run, Mapping[str, Any]], str]

TIMELINE = "pgflow timeline"
MOST_RUNS = 5
MOST_ERROR_LINES = 40

# The failed ones first, then those that did not end: that is what the test is about.
_RUNS = """
    select run_id from pgflow.runs
    where started_at >= coalesce(%s::timestamptz, '-infinity')
    order by status <> 'failed', status <> 'started', started_at desc
"""


# Each step with its type and what it depends on.
_STEPS = """
    select s.step_slug, s.step_type,
      array(select d.dep_slug from pgflow.deps as d where (d.flow_slug, d.step_slug) = (s.flow_slug, s.step_slug))
    from pgflow.steps as s
    where s.flow_slug = %s
"""


def add_sections(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add to the report of a failed test what its databases tell, and keep these on request."""
    shown = report.longreprtext
    for story in _stories(item):
        story.failed = True
        story.kept = story.own and story.keep_failed
        report.sections += sections(story, lambda run, inputs: tell(run, inputs, shown))


def add_timelines(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the timelines of a test's runs, whatever became of it."""
    for story in _stories(item):
        report.sections += [
            (f"{TIMELINE}{title.removeprefix('pgflow run')}", text)
            for title, text in sections(story, lambda run, _: f"{Timeline.of(run)}\n")
        ]


def _stories(item: pytest.Item) -> list[Story]:
    return [story for node in item.listchain() for story in node.stash.get(STORIES, [])]


def sections(story: Story, tell: Telling) -> list[tuple[str, str]]:
    """Return title and text of a section for each of the latest runs in a database."""
    try:
        with connect(story.dsn, purpose="test report") as conn:
            told = _tell_runs(conn, story, tell)
    except DatabaseUnreachable as error:
        told = [("pgflow", f"The runs of this test cannot be shown: {error}")]
    if story.kept:
        told.append(("pgflow database", f"Kept: psql '{kept_dsn(story.dsn)}'"))
    return told


def _tell_runs(conn: psycopg.Connection[Any], story: Story, tell: Telling) -> list[tuple[str, str]]:
    ids = execute(conn, Statement(_RUNS, (story.since,), rows))
    told = []
    for (run_id,) in ids[:MOST_RUNS]:
        run = execute(conn, get_run_with_states(run_id))
        if run is not None:
            inputs = _inputs(run, execute(conn, Statement(_STEPS, (run.flow_slug,), rows)))
            told.append((f"pgflow run of {run.flow_slug} ({run.status})", tell(run, inputs)))
    if len(ids) > MOST_RUNS:
        told.append(("pgflow", f"... and {len(ids) - MOST_RUNS} more runs"))
    return told


def _inputs(run: Run, steps: list[Any]) -> dict[str, Any]:
    """Return what each failed step was given: of a map step, the element of the task that failed first."""
    inputs: dict[str, Any] = {}
    for slug, step_type, parents in steps:
        step = run.steps.get(slug)
        if step is None or not _error_of(step):
            continue
        outputs = {each: run.steps[each].output for each in parents if run.steps[each].completed}
        inputs[slug] = outputs if parents else run.input
        if step_type == "map":
            whole = next(iter(outputs.values()), None) if parents else run.input
            index = next((task.task_index for task in step.tasks if task.error), 0)
            inputs[slug] = whole[index] if isinstance(whole, list) and index < len(whole) else whole
    return inputs


def tell(run: Run, inputs: Mapping[str, Any], shown: str = "") -> str:
    """Tell all of a run: its input, its steps as a table, and the errors with their tracebacks.

    Args:
        run: The run.
        inputs: What each step that has an error was given.
        shown: What can be read elsewhere in the report; a part that is there in full is left out.
    """
    errors = [(slug, _tell_error(step)) for slug, step in run.steps.items() if _error_of(step)]
    parts = [run_table(run), *(f"error of step {slug}:\n{text}" for slug, text in errors)]
    parts += [f"input of step {slug}: {shorten(inputs[slug])}" for slug, _ in errors if slug in inputs]
    untold = [part for part in parts if not all(line in shown for line in part.splitlines())]
    return "\n\n".join([f"run_id {run.run_id}\ninput {shorten(run.input)}", *untold]) + "\n"


def _error_of(step: StepState) -> str | None:
    return step.error or next((task.error for task in step.tasks if task.error), None)


def _tell_error(step: StepState) -> str:
    lines = (_error_of(step) or "").splitlines()
    if len(lines) > MOST_ERROR_LINES:
        half = MOST_ERROR_LINES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} lines ...", *lines[-half:]]
    return "\n".join(f"    {line}" for line in lines)
