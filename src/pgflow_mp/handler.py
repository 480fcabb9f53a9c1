"""Calling a handler: binding its parameters by name, running it, telling how it failed.

The values a handler gets depend on its step only (core 3.13.3): a root step gets the run's input, a
dependent one the outputs of its parents, a map step one element. Which of them it takes, its signature
says. A parent that was skipped has no value; the parameter's default stands in (decision D-15).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pgflow_mp.errors import DefinitionError, InvalidInput
from pgflow_mp.signature import CTX, FLOW_INPUT, ITEM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from traceback import TracebackException
    from types import CodeType, TracebackType

    from pgflow_mp.context import Context
    from pgflow_mp.definition import StepDefinition

MAX_ERROR_TEXT: Final = 4000
"""Most characters of an error's text: enough for the frames that matter, small in every table and event."""


def wants_flow_input(step: StepDefinition) -> bool:
    """Whether the handler takes the run's input, which only a root single step gets with its task."""
    return any(parameter.brings == FLOW_INPUT for parameter in step.parameters)


def call(step: StepDefinition, input: Any, flow_input: Any, ctx: Context) -> Any:  # noqa: A002  (the contract's word)
    """Run a step's handler for one task and give what it returns, not yet checked to be JSON.

    Args:
        step: The step.
        input: The task's input: an object of parents' outputs, or the element of a map step.
        flow_input: The run's input.
        ctx: The attempt.

    Raises:
        DefinitionError: The step has no handler here.
        InvalidInput: A value that the handler requires is not in the input.
        BaseException: Whatever the handler raises.
    """
    result = _called(step, input, flow_input, ctx)
    return _awaited(result) if inspect.isawaitable(result) else result


async def call_async(step: StepDefinition, input: Any, flow_input: Any, ctx: Context) -> Any:  # noqa: A002
    """Run a step's handler in the event loop of the caller; otherwise like `call`."""
    result = _called(step, input, flow_input, ctx)
    return await result if inspect.isawaitable(result) else result


def _called(step: StepDefinition, input: Any, flow_input: Any, ctx: Context) -> Any:  # noqa: A002
    if step.handler is None:
        raise DefinitionError(f"step `{step.slug}` has no handler in this process; it was defined as data only")
    return step.handler(**bind(step, input, flow_input, ctx))


def bind(step: StepDefinition, input: Any, flow_input: Any, ctx: Context) -> dict[str, Any]:  # noqa: A002
    """Give the values for the handler's parameters, by name.

    Raises:
        InvalidInput: A value that the handler requires is not in the input.
    """
    outputs = input if not step.is_map and isinstance(input, Mapping) else {}
    own = {FLOW_INPUT: flow_input, CTX: ctx, ITEM: input}
    values: dict[str, Any] = {}
    for parameter in step.parameters:
        name = parameter.name
        if not parameter.is_dependency:
            values[name] = own[parameter.brings]
        elif name in outputs:
            values[name] = outputs[name]
        elif not parameter.optional:
            raise InvalidInput(
                f"step `{step.slug}` needs the output of `{name}`, but its input has only "
                f"{', '.join(outputs) or 'nothing'}; does the flow in the database differ from the code?"
            )
    return values


def _awaited(result: Awaitable[Any]) -> Any:
    """Run an awaitable to its end, also when called from within a running event loop (inline execution)."""
    import asyncio  # only async handlers pay for it

    async def wait() -> Any:
        return await result

    if _loop_is_running():
        return _in_thread(lambda: asyncio.run(wait()))
    return asyncio.run(wait())


def _loop_is_running() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_thread(function: Callable[[], Any]) -> Any:
    import contextvars
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="pgflow-handler") as thread:
        return thread.submit(contextvars.copy_context().run, function).result()


# ---- how it failed ---------------------------------------------------------------------------


def error_text(exc: BaseException, step: StepDefinition | None = None, *, limit: int = MAX_ERROR_TEXT) -> str:
    """Tell an exception as text that Postgres stores: ``ExcType: message``, then the traceback.

    The traceback starts at the user's code; causes and the members of a group follow it. A long text
    keeps its head and its tail. Never raises, whatever the exception is.

    Args:
        exc: What the handler raised.
        step: The step, to find where the user's code begins; without it, our own frames are dropped.
        limit: Most characters of the text.
    """
    headline = _headline(exc)
    try:
        text = headline + _details(exc, step)
    except Exception:  # noqa: BLE001  (a hostile exception must not hide that the task failed)
        text = headline
    return _bounded(_storable(text), limit)


def _headline(exc: BaseException) -> str:
    try:
        message = str(exc)
    except Exception:  # noqa: BLE001
        message = "<its message cannot be shown>"
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__


def _details(exc: BaseException, step: StepDefinition | None) -> str:
    from traceback import TracebackException

    told = TracebackException(type(exc), exc, _user_frames(exc.__traceback__, step), compact=True)
    parts = [str(note) for note in getattr(exc, "__notes__", ())]
    if told.stack:
        parts += ["Traceback (most recent call last):", _joined(told.stack.format())]
    for index, member in enumerate(told.exceptions or (), start=1):
        parts += [f"Member {index} of the group:", _joined(member.format())]
    cause, relation = _cause(told)
    if cause is not None:
        parts += [f"{relation}:", _joined(cause.format())]
    return "".join(f"\n{part}" for part in parts)


def _cause(told: TracebackException) -> tuple[TracebackException | None, str]:
    if told.__cause__ is not None:
        return told.__cause__, "Caused by"
    if told.__context__ is not None and not told.__suppress_context__:
        return told.__context__, "Raised while handling"
    return None, ""


def _joined(lines: Any) -> str:
    return "".join(lines).rstrip("\n")


def _user_frames(frames: TracebackType | None, step: StepDefinition | None) -> TracebackType | None:
    """Drop what lies above the handler: our frames and, for an async handler, the event loop's."""
    code = _code_of(step.handler) if step is not None else None
    rest = frames
    while rest is not None and code is not None:
        if rest.tb_frame.f_code is code:
            return rest
        rest = rest.tb_next
    while frames is not None and _is_machinery(frames):
        frames = frames.tb_next
    return frames


def _code_of(handler: Any) -> CodeType | None:
    code: CodeType | None = getattr(inspect.unwrap(handler), "__code__", None) if handler is not None else None
    return code


def _is_machinery(frame: TracebackType) -> bool:
    module = frame.tb_frame.f_globals.get("__name__") or ""
    return str(module).split(".", 1)[0] in {"pgflow_mp", "pytest_pgflow", "asyncio", "concurrent"}


def _storable(text: str) -> str:
    """Replace what Postgres' text refuses: NUL and lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


def _bounded(text: str, limit: int) -> str:
    """Keep head and tail: the message is at one end, the line that raised at the other."""
    if len(text) <= limit:
        return text
    gap = f"\n... {len(text) - limit:,} characters left out ...\n"
    head = max(0, limit - len(gap)) // 2
    tail = max(0, limit - len(gap) - head)
    return text[:head] + gap + text[len(text) - tail :]
