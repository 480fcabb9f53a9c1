"""Runs a call in this process, now: for tests with breakpoints, monkeypatch and coverage, and in threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.context import NO_SERVICES, Context
from pgflow_mp.executors.base import Completed, Failed, Outcome, TaskCall
from pgflow_mp.executors.payload import MAX_PAYLOAD_MB
from pgflow_mp.executors.perform import perform

if TYPE_CHECKING:
    from pgflow_mp.context import Services
    from pgflow_mp.hooks.handling import HandlerHooks


def run_inline(call: TaskCall, hooks: HandlerHooks | None = None, services: Services = NO_SERVICES) -> Outcome:
    """Run the call's handler here and return its outcome.

    The outcome is what a child process would have given, with two differences: nothing ends a handler that
    runs past its timeout, and `Failed.exception` keeps what it raised.

    Raises:
        KeyboardInterrupt: The person at the keyboard wants to stop; that is no failure of the task.
    """
    outcome = run_here(call, hooks, services)
    if isinstance(outcome, Failed) and isinstance(outcome.exception, KeyboardInterrupt):
        raise outcome.exception
    return outcome


def run_here(
    call: TaskCall,
    hooks: HandlerHooks | None = None,
    services: Services = NO_SERVICES,
    max_payload: float = MAX_PAYLOAD_MB,
) -> Outcome:
    """Run the call's handler in this thread; whatever it raises is its failure.

    Args:
        call: The call.
        hooks: What plugins have around it.
        services: What stands behind its context.
        max_payload: MB of JSON that an input, or the output, may have.
    """
    ctx = Context.begin(
        flow_slug=call.flow.slug,
        run_id=call.run_id,
        step_slug=call.step.slug,
        task_index=call.task_index,
        attempt=call.attempt,
        timeout=call.timeout,
        services=services,
    )
    verdict = perform(call.step, ctx, call.input, call.flow_input, hooks, call.carriers, max_payload)
    if verdict.error is None:
        return Completed(call, verdict.output, verdict.seconds, verdict.carrier)
    return Failed(call, verdict.error, verdict.reason, verdict.retryable, verdict.seconds, verdict.exception)
