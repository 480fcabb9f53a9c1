"""The hooks: what a plugin may implement, and what each of them promises.

A plugin implements any of them, under the same name, with any of the parameters, by name. A parameter may be added
here in a later version; none is ever renamed or taken away.

There are three kinds, and the first paragraph of each docstring says which:

*Observers* are told what has happened. They run in the process that saw it happen, in one thread of their own (in
the caller's where there is no worker: a client, a test's inline run), one after the other and outside of any
transaction: what they are told is committed. All that concerns one run and comes from one worker arrives in order. An
observer may take its time, since nothing waits for it, though what piles up beyond a limit is dropped and told
(`pgflow_events_dropped`). What it returns is ignored; what it raises is logged with the plugin's name, and the other
plugins hear of the event all the same. Each transition is told at most once, and by the process that brought it about:
a worker that is killed takes what it had not told along, and what workers in other languages do is not told. A plugin
that an application gives to its client and to the worker that this starts is called by threads of both.

*Deciders* are asked, the plugin registered last first, and the first answer that is not None counts.

*Child hooks* run where handlers run: in a child process, or in the worker itself for `executor="thread"` and
`"inline"`. They get there by name: a plugin must be importable in the child (an entry point, a module), or be an
object that can be pickled, of which each child has a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import Generator
    from uuid import UUID

    from pgflow_mp.context import Context
    from pgflow_mp.hooks.events import (
        Carriers,
        ChildInfo,
        FailureReason,
        Gauges,
        RunInfo,
        StepInfo,
        TaskInfo,
        WorkerInfo,
    )

PROJECT: Final = "pgflow_mp"
"""Pluggy's name for us, and the group of our entry points."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# A worker and its children


@hookspec
def pgflow_worker_started(worker: WorkerInfo) -> None:
    """Observer, in the worker: it is registered in the database, its children are up, and it begins to claim."""


@hookspec
def pgflow_worker_stopping(worker: WorkerInfo) -> None:
    """Observer, in the worker: it claims nothing more and lets what runs finish."""


@hookspec
def pgflow_worker_stopped(worker: WorkerInfo, left_claimed: int) -> None:
    """Observer, in the worker: it has ended, whatever ended it; the last thing that it tells.

    Args:
        worker: The worker.
        left_claimed: Tasks that it could not give back; others recover them (0 unless the database was away).
    """


@hookspec
def pgflow_child_started(child: ChildInfo) -> None:
    """Observer, in the worker: a child process is up and takes tasks."""


@hookspec
def pgflow_child_lost(child: ChildInfo, cause: str, exit_code: int | None, tasks: tuple[TaskInfo, ...]) -> None:
    """Observer, in the worker: a child process ended that was not told to, or was killed with its task.

    It is killed where its task is past its time, or was cancelled.

    Args:
        child: The child.
        cause: How it ended, in words, with what it last printed and where it was, as the task's error has it.
        exit_code: Its exit status, negative for a signal; None where nobody knows.
        tasks: What it was running. Of a child with an event loop most of these begin again elsewhere, in the same
            attempt; what becomes of each is told by the hooks of tasks.
    """


# Tasks


@hookspec
def pgflow_tasks_claimed(tasks: tuple[TaskInfo, ...], seconds: float) -> None:
    """Observer, in the worker: a claim brought tasks. Those that do not start after all are given back.

    Args:
        tasks: The attempts, as they were claimed.
        seconds: How long the claim took, there and back.
    """


@hookspec
def pgflow_task_started(task: TaskInfo) -> None:
    """Observer, in the worker: a handler begins with the attempt (it was handed to a child, a loop, a thread).

    The one hook that tells what no transaction has recorded: in the database an attempt starts when it is claimed. An
    attempt whose event loop died under it begins again, and is told again.
    """


@hookspec
def pgflow_task_completed(task: TaskInfo, seconds: float) -> None:
    """Observer, in the worker: a task is completed in the database.

    Args:
        task: The attempt.
        seconds: How long its handler ran.
    """


@hookspec
def pgflow_task_timed_out(task: TaskInfo, seconds: float) -> None:
    """Observer, in the worker: an attempt has failed in the database because its time was up.

    What became of the task follows at once: `pgflow_task_retried` or `pgflow_task_failed`.

    Args:
        task: The attempt.
        seconds: How long its handler ran.
    """


@hookspec
def pgflow_task_retried(
    task: TaskInfo, error: str, reason: FailureReason, seconds: float, delay: float, carriers: Carriers
) -> None:
    """Observer, in the worker: an attempt failed, and the task is queued again in the database.

    Args:
        task: The attempt that failed.
        error: As the database has it: what happened in the first line, a bounded traceback below.
        reason: `raised`, `timeout`, `lost` (its process), `input` or `output` (too large, or no JSON), `cancelled`.
        seconds: How long it ran.
        delay: Seconds until the next attempt may start.
        carriers: What plugins passed along to the task.
    """


@hookspec
def pgflow_task_failed(task: TaskInfo, error: str, reason: FailureReason, seconds: float, carriers: Carriers) -> None:
    """Observer, in the worker: a task failed in the database for good: no attempt is left, or none is wanted.

    What its step and its run make of that follows: `pgflow_step_failed` and `pgflow_run_failed`, or
    `pgflow_step_skipped`.

    Args:
        task: Its last attempt.
        error: As the database has it: what happened in the first line, a bounded traceback below.
        reason: `raised`, `timeout`, `lost` (its process), `input` or `output` (too large, or no JSON), `cancelled`.
        seconds: How long it ran; 0.0 for an attempt whose worker was lost, which another worker ended.
        carriers: What plugins passed along to the task; nothing for such an attempt.
    """


@hookspec
def pgflow_tasks_settled(count: int, applied: int, seconds: float) -> None:
    """Observer, in the worker: outcomes of tasks went to the database in one round trip.

    Args:
        count: How many outcomes.
        applied: How many of them counted; the others came too late.
        seconds: How long it took, there and back, lost connections included.
    """


# Steps and runs


@hookspec
def pgflow_step_completed(step: StepInfo) -> None:
    """Observer, in the worker: the last task of a step is completed in the database, or it had none to run.

    Of a step that the start of its run completes (over an empty input) it is the client that tells, after
    `pgflow_run_started`.
    """


@hookspec
def pgflow_step_failed(step: StepInfo, error: str) -> None:
    """Observer, in the worker: a step failed in the database, and its run with it.

    Args:
        step: The step.
        error: As the database has it.
    """


@hookspec
def pgflow_step_skipped(step: StepInfo, reason: str) -> None:
    """Observer, in the worker: a step is skipped in the database, and whatever tasks it had left with it.

    Of a step that the start of its run skips (its condition does not fit the input) it is the client that tells, after
    `pgflow_run_started`.

    Args:
        step: The step.
        reason: `condition_unmet`, `handler_failed` or `dependency_skipped`, as the database has it.
    """


@hookspec
def pgflow_run_started(run: RunInfo) -> None:
    """Observer, in the client, or by schedule the worker, that started it: a run is stored, its first tasks are queued.

    Not told of a run that was started in the caller's own transaction (`conn=`) and is not committed yet: nobody knows
    whether it will be. Runs that others start (SQL, other languages) have no such moment here.
    """


@hookspec
def pgflow_run_completed(run: RunInfo) -> None:
    """Observer, in the worker that settled its last task: a run is completed in the database.

    A run whose steps are all skipped or empty is completed where it is started: there the client tells it.
    """


@hookspec
def pgflow_run_failed(run: RunInfo, error: str) -> None:
    """Observer, in the worker whose settlement failed it, or in the client that cancelled it: a run has failed.

    Args:
        run: The run.
        error: The error of the step that failed it, or `Run cancelled`; empty where there is none.
    """


@hookspec
def pgflow_flow_compiled(
    flow_slug: str, status: str, differences: tuple[str, ...], options_changed: tuple[str, ...]
) -> None:
    """Observer, in the process that compiled it: a flow's definition is in the database as the code has it.

    Args:
        flow_slug: The flow.
        status: `compiled` (it is new), `verified` (it was there), or `recompiled` (replaced, with its runs).
        differences: In what the shape in the database was another one; of `recompiled`.
        options_changed: The options (attempts, delays, timeouts) that were updated in place.
    """


# Trouble, and gauges


@hookspec
def pgflow_poll_failed(error: str, delay: float) -> None:
    """Observer, in the worker: the database could not be asked for tasks; it is asked again.

    Args:
        error: Why, in a sentence.
        delay: Seconds until the next try.
    """


@hookspec
def pgflow_settle_failed(count: int, error: str, delay: float) -> None:
    """Observer, in the worker: outcomes of tasks did not reach the database, or nobody knows; they are sent again.

    Args:
        count: How many outcomes.
        error: Why, in a sentence.
        delay: Seconds until the next try.
    """


@hookspec
def pgflow_gauges(gauges: Gauges) -> None:
    """Observer, in the worker, every 10 seconds: the state of its queues and of its pool.

    They are measured only if some plugin has this hook, by one query on a connection that nothing else waits for.
    """


@hookspec
def pgflow_events_dropped(count: int) -> None:
    """Observer, in the worker: it dropped events, because observers were slower than events came.

    Told as soon as there is room again, before the events that were kept after the gap.

    Args:
        count: How many since the last such call.
    """


# Decisions


@hookspec(firstresult=True)
def pgflow_retry_delay(task: TaskInfo, error: str, reason: FailureReason, delay: float) -> float | None:
    """Decider, in the worker, in a thread of its own: how long shall a failed task wait for its next attempt?

    Asked after an attempt that failed and before that is settled, outside of any transaction; not of failures that
    nobody shall try again (`NonRetryable`), also where no attempt is left. An answer has half a second. One that comes
    later, an exception, or what is no number of seconds from 0 to 86400, is logged with the plugin's name, and the
    step's own delay counts. Retries without a plugin: base delay x 2^attempts, at most a day.

    Args:
        task: The attempt that failed.
        error: What happened in the first line, a bounded traceback below.
        reason: `raised`, `timeout`, `lost` (its process), `input` or `output` (too large, or no JSON), `cancelled`.
        delay: Seconds that the task waits if no plugin has an answer, as far as this worker's code knows.

    Returns:
        Seconds, or None to leave the decision to others.
    """


@hookspec(firstresult=True)
def pgflow_run_carrier(flow_slug: str, run_id: UUID) -> dict[str, str] | None:
    """Decider, in the client, in the caller's thread: what shall be passed along with a run that is being started?

    Asked once for each run, before the database is. It is kept in the transaction that starts the run, and given to
    `pgflow_call_handler` with each of its tasks, in whichever worker. What it raises is logged with the plugin's name,
    and the run starts without.

    Args:
        flow_slug: The flow.
        run_id: The run's id.

    Returns:
        Text by name, such as a trace's context; None to leave it to others.
    """


@hookspec(firstresult=True)
def pgflow_metrics() -> tuple[str, bytes] | None:
    """Decider, in the worker, in its loop: what does `/metrics` of `serve --http` answer?

    The loop waits for it, so it must be quick. What it raises is an answer with status 500, and logged.

    Returns:
        The content type and the page; None to leave it to others.
    """


# Where handlers run


@hookspec
def pgflow_child_init(child: ChildInfo) -> None:
    """Child hook: a child process has begun and takes no task yet; not called in the worker itself.

    In the main thread, all plugins in turn. What it raises keeps the child from starting, and a worker whose children
    cannot start ends with that error. What it returns is ignored.
    """


@hookspec
def pgflow_call_handler(  # type: ignore[empty-body]
    task: TaskInfo,
    ctx: Context,
    input: Any,  # noqa: A002
    carriers: Carriers,
) -> Generator[None, Any, Any]:
    """Child hook, a wrapper (`@hookimpl(wrapper=True)`): around each call of a handler.

    A generator that yields once. What stands before the `yield` runs before the handler; the `yield` gives what the
    handler returned or raises what it raised, and what the generator returns counts as the handler's result. An
    exception of its own is the attempt's failure. In the thread that runs the handler; of async steps in the event
    loop, where it must not block, and before and after the handler's coroutine as a whole. Plugins registered later
    are further outside. The time that it takes counts as the handler's.

    Args:
        task: The attempt.
        ctx: What the handler gets in its parameter `ctx`.
        input: The task's input, decoded: an object of the parents' outputs, or an element.
        carriers: What plugins passed along from where the run was started and from the parents' tasks, and what this
            task shall leave. A worker asks the database for it, once for each claim, only if some plugin has this
            parameter.

    Returns:
        The handler's result, or another in its place.
    """


@hookspec(firstresult=True)
def pgflow_encode_payload(task: TaskInfo, value: Any) -> Any:
    """Child hook, decider: what shall be stored in the place of what a handler returned?

    In the thread that runs the handler, after it. What it raises is the attempt's failure. Postgres keeps JSON, and
    what is returned here must be; a step that a map step goes over must still give an array.

    Args:
        task: The attempt.
        value: What the handler returned; of a type that its annotation names, already as JSON values.

    Returns:
        What is stored instead (not None), or None to leave the value to others.
    """


@hookspec(firstresult=True)
def pgflow_decode_payload(task: TaskInfo, value: Any) -> Any:
    """Child hook, decider: what shall a handler get in the place of what is stored?

    In the thread that runs the handler, before it. Asked of each value that may have been encoded: the output of each
    parent (of a map step, each of its elements), a map step's element, and the run's input, which no plugin has
    encoded; so a plugin must know its own. What it raises is the attempt's failure.

    Args:
        task: The attempt.
        value: The value, decoded from JSON.

    Returns:
        What the handler gets instead (not None), or None to leave the value to others.
    """


DECIDERS: Final = frozenset({"pgflow_retry_delay", "pgflow_run_carrier", "pgflow_metrics"})
"""The hooks that are asked where the worker or the client runs."""
CHILD_HOOKS: Final = frozenset(
    {"pgflow_child_init", "pgflow_call_handler", "pgflow_encode_payload", "pgflow_decode_payload"}
)
"""The hooks that run where handlers run."""
NAMES: Final = tuple(name for name in globals() if name.startswith("pgflow_"))
"""All hooks, in the order of this page."""
OBSERVERS: Final = tuple(name for name in NAMES if name not in DECIDERS | CHILD_HOOKS)
"""The hooks that are told what has happened."""
