"""Runs one handler to its end: the same few lines in a child process and inline.

Whatever a handler does ends in a `Verdict`: it returned (and the value is JSON), it raised, or it returned
something that is no JSON, or too large. `sys.exit()` and other exceptions outside of `Exception` are failures too;
a task must not be able to end the process that runs it. What a handler returns is checked and encoded here, where it
ran, so that one bad value fails one task (D-6).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgflow_mp import handler, jsonvalue
from pgflow_mp.errors import InvalidInput, NonRetryable, OutputError
from pgflow_mp.executors.payload import MAX_PAYLOAD_MB, check_inputs, check_output

if TYPE_CHECKING:
    from pgflow_mp.context import Context
    from pgflow_mp.definition import StepDefinition
    from pgflow_mp.hooks.events import FailureReason
    from pgflow_mp.hooks.handling import HandlerHooks, WrappedCall


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a handler ended.

    Attributes:
        seconds: How long it took.
        output: JSON text, or None for SQL NULL; meaningless where `error` is set.
        error: The text of the failure, None where it returned.
        reason: `raised`, `input` or `output`.
        retryable: False after `NonRetryable`, after what the step's `retry_on` does not name, and after too large an
            input. An output that is no JSON fails by policy, as any bug of a handler does: what it returns may depend
            on the world, and the contract knows no other way.
        exception: What it raised.
        carrier: What plugins leave for the tasks that follow, as a JSON object; None where that is nothing.
    """

    seconds: float
    output: str | None = None
    error: str | None = None
    reason: FailureReason = "raised"
    retryable: bool = True
    exception: BaseException | None = None
    carrier: str | None = None


def perform(
    step: StepDefinition,
    ctx: Context,
    input: bytes,  # noqa: A002
    flow_input: bytes | None,
    hooks: HandlerHooks | None = None,
    carriers: bytes = b"",
    max_payload: float = MAX_PAYLOAD_MB,
) -> Verdict:
    """Run the step's handler on JSON input and say how it ended.

    Args:
        step: Its handler must be callable here.
        ctx: What the handler may ask for.
        input: The task's input, JSON text.
        flow_input: The run's input, JSON text, where the claim sent it along.
        hooks: What plugins have around the call; None where they have nothing.
        carriers: What came along for them with the run and from the parents' tasks, as JSON text.
        max_payload: MB of JSON that an input, or the output, may have.
    """
    began = time.perf_counter()
    wrapped = None if hooks is None else hooks.around(carriers)
    call = handler.call if wrapped is None else wrapped.call
    try:
        check_inputs(max_payload, input, flow_input)
    except InvalidInput as error:
        return _failed(step, error, "input", 0.0)
    try:
        value = call(
            step,
            jsonvalue.decode(input),
            None if flow_input is None else jsonvalue.decode(flow_input),
            ctx,
        )
    except BaseException as error:  # noqa: BLE001 - even SystemExit is the task's failure, not ours
        return _failed(step, error, "raised", time.perf_counter() - began)
    return _returned(step, value, time.perf_counter() - began, wrapped, max_payload)


async def perform_async(
    step: StepDefinition,
    ctx: Context,
    input: bytes,  # noqa: A002
    flow_input: bytes | None,
    hooks: HandlerHooks | None = None,
    carriers: bytes = b"",
    max_payload: float = MAX_PAYLOAD_MB,
) -> Verdict:
    """Do what `perform` does in the event loop of the caller; a cancellation is a failure like any other."""
    began = time.perf_counter()
    wrapped = None if hooks is None else hooks.around(carriers)
    call = handler.call_async if wrapped is None else wrapped.call_async
    try:
        check_inputs(max_payload, input, flow_input)
    except InvalidInput as error:
        return _failed(step, error, "input", 0.0)
    try:
        value = await call(
            step,
            jsonvalue.decode(input),
            None if flow_input is None else jsonvalue.decode(flow_input),
            ctx,
        )
    except BaseException as error:  # noqa: BLE001 - as above
        return _failed(step, error, "raised", time.perf_counter() - began)
    return _returned(step, value, time.perf_counter() - began, wrapped, max_payload)


def _returned(
    step: StepDefinition, value: Any, seconds: float, wrapped: WrappedCall | None, max_payload: float
) -> Verdict:
    try:
        output = handler.encode_output(step, value, None if wrapped is None else wrapped.encoded)
        check_output(max_payload, output)
        return Verdict(seconds, output=output, carrier=None if wrapped is None else wrapped.left())
    except OutputError as error:
        return _failed(step, error, "output", seconds)
    except Exception as error:  # noqa: BLE001 - a conversion of the user's own (a model's dump) may raise anything
        return _failed(step, error, "output", seconds)


def _failed(step: StepDefinition, error: BaseException, reason: FailureReason, seconds: float) -> Verdict:
    return Verdict(
        seconds,
        error=storable(handler.error_text(error, step)),
        reason=reason,
        retryable=reason == "output" or (reason == "raised" and is_retryable(error, step.retry_on)),
        exception=error,
    )


def is_retryable(error: BaseException, retry_on: tuple[type[BaseException], ...] | None) -> bool:
    """Whether an attempt that raised this may be followed by another.

    A group (of a `TaskGroup`, say) may if it is named itself or all its members may; one `NonRetryable` ends the task.

    Args:
        error: What the handler raised.
        retry_on: The step's option; None allows every exception but `NonRetryable`.
    """
    if isinstance(error, NonRetryable):
        return False
    if isinstance(error, BaseExceptionGroup):
        named = retry_on is None or isinstance(error, retry_on)
        return all(is_retryable(member, None if named else retry_on) for member in error.exceptions)
    return retry_on is None or isinstance(error, retry_on)


def storable(text: str) -> str:
    """Return the text as Postgres can keep it: no NUL, no lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
