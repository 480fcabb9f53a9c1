"""Calling a handler: binding its parameters by name, running it, telling how it failed.

The values a handler gets depend on its step only (core 3.13.3): a root step gets the run's input, a
dependent one the outputs of its parents, a map step one element. Which of them it takes, its signature
says. A parent that was skipped has no value; the parameter's default stands in (decision D-15). Where a
parameter is annotated with a type that says more than JSON itself, the handler gets a value of that type, and what
it returns is held to the annotation of its output (`pgflow_mp.typed`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pgflow_mp import jsonvalue
from pgflow_mp.checking import Unfit
from pgflow_mp.errors import DefinitionError, InvalidInput, InvalidTaskInput, OutputError
from pgflow_mp.signature import CTX, FLOW_INPUT, ITEM
from pgflow_mp.typed import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from traceback import TracebackException
    from types import CodeType, TracebackType

    from pgflow_mp.checking import Check
    from pgflow_mp.context import Context
    from pgflow_mp.definition import FlowDefinition, StepDefinition

MAX_ERROR_TEXT: Final = 4000
"""Most characters of an error's text: enough for the frames that matter, small in every table and event."""


def wants_flow_input(step: StepDefinition) -> bool:
    """Whether the run's input has to come along with a task, as it does by itself for root single steps only.

    A coroutine that takes `ctx` may ask for it there, and must not keep its loop waiting for it.
    """
    names = {parameter.brings for parameter in step.parameters}
    return FLOW_INPUT in names or (CTX in names and step.runs_in == "async")


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
        InvalidTaskInput: A value is not of the type that the handler's annotation says.
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
        InvalidTaskInput: A value is not of the type that the handler's annotation says.
    """
    outputs = input if not step.is_map and isinstance(input, Mapping) else {}
    own = {FLOW_INPUT: flow_input, CTX: ctx, ITEM: input}
    values: dict[str, Any] = {}
    for parameter in step.parameters:
        name = parameter.name
        if parameter.is_rest:
            named = {other.name for other in step.parameters}
            values |= {slug: output for slug, output in outputs.items() if slug not in named}
        elif not parameter.is_dependency:
            values[name] = _typed(step, name, own[parameter.brings])
        elif name in outputs:
            values[name] = _typed(step, name, outputs[name])
        elif not parameter.optional:
            raise InvalidInput(
                f"step `{step.slug}` needs the output of `{name}`, but its input has only "
                f"{', '.join(outputs) or 'nothing'}; does the flow in the database differ from the code?"
            )
    return values


def _typed(step: StepDefinition, name: str, value: Any) -> Any:
    check = step.types.of(name) if step.types else None
    if check is None:
        return value
    try:
        return check.accept(value)
    except Unfit as problem:
        raise InvalidTaskInput(
            f"step `{step.slug}` takes `{name}: {check}`, and got something else: {problem}"
        ) from None


def encode_output(step: StepDefinition, value: Any, stored: Callable[[Any], Any] | None = None) -> str | None:
    """Turn what a handler returned into JSON text, by the type that it says it returns; None is SQL NULL (D-8).

    Args:
        step: The step.
        value: What its handler returned.
        stored: Gives what is stored in the place of a value that is right (plugins that encode payloads).

    Raises:
        OutputError: The value is no JSON, or is not of that type.
    """
    check = step.types.of(OUTPUT) if step.types else None
    if check is not None:
        try:
            value = check.dump(value)
        except Unfit as problem:
            raise OutputError(f"step `{step.slug}` says that it returns `{check}`, and did not: {problem}") from None
    return jsonvalue.encode(value if stored is None else stored(value))


def encode_input(flow: FlowDefinition, value: Any) -> str:
    """Turn the input of a run into JSON text, by what the flow and its first steps say that they take.

    Steps that take it only under a condition, or later on, are not asked: their own tasks check it.

    Raises:
        InvalidInput: The value is no JSON, or is not of such a type.
    """
    for who, check in _input_checks(flow):
        try:
            value = check.dump(value)
        except Unfit as problem:
            raise InvalidInput(f"{who} takes `{check}` as the run's input, and got something else: {problem}") from None
        except OutputError as problem:
            raise InvalidInput(str(problem)) from None
    text = jsonvalue.encode(value, error=InvalidInput)
    return "null" if text is None else text


def _input_checks(flow: FlowDefinition) -> list[tuple[str, Check]]:
    named = f"flow `{flow.slug}`"
    found = [(named, flow.input_type)]
    for step in flow.steps:
        if step.types and step.is_root and step.when is None and step.unless is None:
            who = f"{named}, step `{step.slug}`,"
            for parameter in step.parameters:
                check = step.types.of(parameter.name)
                if parameter.brings == FLOW_INPUT:
                    found.append((who, check))
                elif parameter.brings == ITEM:
                    found.append((who, check and check.many()))
    return [(who, check) for who, check in found if check is not None]


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
