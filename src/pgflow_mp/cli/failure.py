"""Why a run failed: the step, the element of a map step, the attempts, the handler's error with its stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.progress import first_line
from pgflow_mp.cli.text import safe

if TYPE_CHECKING:
    from pgflow_mp.results import Run, StepState


def explain(run: Run) -> str:
    """A sentence with the first line of the error; below it, indented, what else the error says.

    Args:
        run: A failed run with its steps.
    """
    if run.cancelled:
        return f"run {run.run_id} was cancelled"
    failed = [state for state in run.steps.values() if state.failed]
    if not failed:
        return f"run {run.run_id} failed: {first_line(run.error)}"
    return "\n".join(_explain_step(run, state) for state in failed)


def _explain_step(run: Run, state: StepState) -> str:
    task = next((task for task in state.tasks if task.status == "failed"), None)
    error = state.error or (task.error if task is not None else None) or ""
    place = f"{state.slug}[{task.task_index}]" if task is not None and len(state.tasks) > 1 else state.slug
    attempts = f" after {task.attempts} attempts" if task is not None and task.attempts > 1 else ""
    stack = "".join(f"\n  {safe(line)}" for line in error.strip().split("\n")[1:])
    return f"run {run.run_id} failed in step {place}{attempts}: {first_line(error)}{stack}"
