"""Runs one handler to its end: the same few lines in a child process and inline.

Whatever a handler does ends in a `Verdict`: it returned (and the value is JSON), it raised, or it returned
something that is no JSON. `sys.exit()` and other exceptions outside of `Exception` are failures too; a task
must not be able to end the process that runs it. What a handler returns is checked and encoded here, where it
ran, so that one bad value fails one task (D-6).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgflow_mp import handler, jsonvalue
from pgflow_mp.errors import NonRetryable, OutputError

if TYPE_CHECKING:
    from pgflow_mp.context import Context
    from pgflow_mp.definition import StepDefinition
    from pgflow_mp.hooks.events import FailureReason
    from pgflow_mp.hooks.handling import HandlerHooks, WrappedCall


MAX_PAYLOAD_MB = 64
"""Postgres takes up to 256 MB in one jsonb string, and every worker pays for it; see `_check_size`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a handler ended.

    Attributes:
        seconds: How long it took.
        output: JSON text, or None for SQL NULL; meaningless where `error` is set.
        error: The text of the failure, None where it returned.
        reason: `raised` or `output`.
        retryable: False after `NonRetryable`, and after what the step's `retry_on` does not name. An output that
            is no JSON fails by policy, as any bug of a handler does: what it returns may depend on the world, and
            the contract knows no other way.
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
) -> Verdict:
    """Run the step's handler on JSON input and say how it ended.

    Args:
        step: Its handler must be callable here.
        ctx: What the handler may ask for.
        input: The task's input, JSON text.
        flow_input: The run's input, JSON text, where the claim sent it along.
        hooks: What plugins have around the call; None where they have nothing.
        carriers: What came along for them with the run and from the parents' tasks, as JSON text.
    """
    began = time.perf_counter()
    wrapped = None if hooks is None else hooks.around(carriers)
    call = handler.call if wrapped is None else wrapped.call
    try:
        value = call(
            step,
            jsonvalue.decode(input),
            None if flow_input is None else jsonvalue.decode(flow_input),
            ctx,
        )
    except BaseException as error:  # noqa: BLE001 - even SystemExit is the task's failure, not ours
        return _failed(step, error, "raised", time.perf_counter() - began)
    return _returned(step, value, time.perf_counter() - began, wrapped)


async def perform_async(
    step: StepDefinition,
    ctx: Context,
    input: bytes,  # noqa: A002
    flow_input: bytes | None,
    hooks: HandlerHooks | None = None,
    carriers: bytes = b"",
) -> Verdict:
    """Do what `perform` does in the event loop of the caller; a cancellation is a failure like any other."""
    began = time.perf_counter()
    wrapped = None if hooks is None else hooks.around(carriers)
    call = handler.call_async if wrapped is None else wrapped.call_async
    try:
        value = await call(
            step,
            jsonvalue.decode(input),
            None if flow_input is None else jsonvalue.decode(flow_input),
            ctx,
        )
    except BaseException as error:  # noqa: BLE001 - as above
        return _failed(step, error, "raised", time.perf_counter() - began)
    return _returned(step, value, time.perf_counter() - began, wrapped)


def _returned(step: StepDefinition, value: Any, seconds: float, wrapped: WrappedCall | None) -> Verdict:
    try:
        output = handler.encode_output(step, value)
        _check_size(output)
        return Verdict(seconds, output=output, carrier=None if wrapped is None else wrapped.left())
    except OutputError as error:
        return _failed(step, error, "output", seconds)
    except Exception as error:  # noqa: BLE001 - a conversion of the user's own (a model's dump) may raise anything
        return _failed(step, error, "output", seconds)


def _check_size(output: str | None) -> None:
    """Refuse here, in its own process, what would hold up everybody's results on its way to the database (D-6)."""
    if output is not None and len(output) > MAX_PAYLOAD_MB * 1024 * 1024:
        raise OutputError(
            f"the output is too large: {len(output) / 1024 / 1024:.0f} MB of JSON, the limit is {MAX_PAYLOAD_MB} MB; "
            "store it where large things are (a file, a bucket, a table) and return where it is"
        )


def _failed(step: StepDefinition, error: BaseException, reason: FailureReason, seconds: float) -> Verdict:
    return Verdict(
        seconds,
        error=storable(handler.error_text(error, step)),
        reason=reason,
        retryable=reason != "raised" or is_retryable(error, step.retry_on),
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
