"""The hooks around a handler: decode what it gets, wrap the call, encode what it returned.

`HandlerHooks` is what a child (or the worker itself, for threads) has of its plugins. The wrappers are pluggy's new
style, generators that yield once. Pluggy would run them around a function; here they are run around a function or a
coroutine, by the same lines: begun before the call, ended after it, the last registered outermost.
"""

from __future__ import annotations

import importlib
import logging
import pickle
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from pgflow_mp import handler, jsonvalue
from pgflow_mp.errors import OutputError, PluginError
from pgflow_mp.hooks.events import Carriers, TaskInfo
from pgflow_mp.hooks.manager import Plugins, load
from pgflow_mp.hooks.specs import CHILD_HOOKS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from pgflow_mp.context import Context
    from pgflow_mp.definition import StepDefinition
    from pgflow_mp.hooks.events import ChildInfo
    from pgflow_mp.hooks.manager import Implementation, Plugin

logger = logging.getLogger("pgflow_mp.hooks")

INIT, CALL, ENCODE, DECODE = (
    "pgflow_child_init",
    "pgflow_call_handler",
    "pgflow_encode_payload",
    "pgflow_decode_payload",
)


class HandlerHooks:
    """Runs handlers with the hooks of some plugins around them."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self.wrappers = plugins.implementations(CALL)

    @classmethod
    def of(cls, plugins: Plugins | None) -> HandlerHooks | None:
        """Return the hooks around handlers that these plugins have; None where they have none."""
        return cls(plugins) if plugins is not None and plugins.heard & CHILD_HOOKS else None

    def begin_child(self, child: ChildInfo) -> None:
        """Tell the plugins that this child process begins; what they raise goes through."""
        for implementation in self._plugins.implementations(INIT):
            implementation.call({"child": child})

    def around(self, carriers: bytes) -> WrappedCall:
        """Prepare one call of a handler.

        Args:
            carriers: What came along for the plugins, JSON text `[of the run, [of each parent's task]]`; may be empty.
        """
        return WrappedCall(self, carriers)

    def decoded(self, task: TaskInfo, step: StepDefinition, task_input: Any, flow_input: Any) -> tuple[Any, Any]:
        """Return input and flow input as the plugins decode them."""
        if not self._plugins.implementations(DECODE):
            return task_input, flow_input
        if step.deps and not step.is_map:
            task_input = {slug: self._decode(task, output) for slug, output in task_input.items()}
        else:
            task_input = self.answer(DECODE, task, task_input)
        return task_input, self.answer(DECODE, task, flow_input)

    def _decode(self, task: TaskInfo, output: Any) -> Any:
        """Decode the output of a parent: as a whole, or else each element, which a map step's tasks have returned."""
        decoded = self.answer(DECODE, task, output)
        if decoded is output and isinstance(output, list):
            return [self.answer(DECODE, task, element) for element in output]
        return decoded

    def answer(self, hook: str, task: TaskInfo, value: Any) -> Any:
        """Return the first answer to a question about a value, or the value."""
        for implementation in self._plugins.implementations(hook):
            answer = implementation.call({"task": task, "value": value})
            if answer is not None:
                return answer
        return value


class WrappedCall:
    """One call of a handler with the hooks around it, and what these have of the calls before."""

    def __init__(self, hooks: HandlerHooks, carriers: bytes) -> None:
        self._hooks = hooks
        self._task: TaskInfo | None = None
        self._carriers = Carriers.of(carriers)

    def call(self, step: StepDefinition, input: Any, flow_input: Any, ctx: Context) -> Any:  # noqa: A002
        """Do what `handler.call` does, with the hooks around it."""
        task = self._task = _task(ctx)
        input, flow_input = self._hooks.decoded(task, step, input, flow_input)  # noqa: A001
        wrapping = _Wrapping()
        try:
            wrapping.begin(self._hooks.wrappers, self._event(task, ctx, input))
            value = handler.call(step, input, flow_input, ctx)
        except BaseException as error:  # noqa: BLE001 - for the wrappers to see; it goes on from there
            return wrapping.end(error=error)
        return wrapping.end(value)

    async def call_async(self, step: StepDefinition, input: Any, flow_input: Any, ctx: Context) -> Any:  # noqa: A002
        """Do what `handler.call_async` does, with the hooks around it."""
        task = self._task = _task(ctx)
        input, flow_input = self._hooks.decoded(task, step, input, flow_input)  # noqa: A001
        wrapping = _Wrapping()
        try:
            wrapping.begin(self._hooks.wrappers, self._event(task, ctx, input))
            value = await handler.call_async(step, input, flow_input, ctx)
        except BaseException as error:  # noqa: BLE001 - as above
            return wrapping.end(error=error)
        return wrapping.end(value)

    def encoded(self, value: Any) -> Any:
        """Return what shall be stored in the place of what the call returned."""
        assert self._task is not None, "there was a call"
        return self._hooks.answer(ENCODE, self._task, value)

    def left(self) -> str | None:
        """Return what the plugins leave for the tasks that follow, as JSON text; None for nothing."""
        own = {str(name): str(value) for name, value in self._carriers.own.items()}
        try:
            return jsonvalue.encode(own) if own else None
        except OutputError as error:
            logger.warning("what plugins leave for the tasks that follow cannot be stored: %s", error)
            return None

    def _event(self, task: TaskInfo, ctx: Context, task_input: Any) -> dict[str, Any]:
        return {"task": task, "ctx": ctx, "input": task_input, "carriers": self._carriers}


class _Wrapping:
    """Wrappers that have begun, around one call."""

    def __init__(self) -> None:
        self._begun: list[tuple[str, Generator[None, Any, Any]]] = []

    def begin(self, wrappers: Iterable[Implementation], event: dict[str, Any]) -> None:
        """Run the wrappers up to their `yield`, the outermost first."""
        for implementation in wrappers:
            wrapper = implementation.call(event)
            try:
                next(wrapper)
            except StopIteration:
                raise PluginError(f"plugin `{implementation.plugin}`: {CALL} did not yield") from None
            self._begun.append((implementation.plugin, wrapper))

    def end(self, value: Any = None, error: BaseException | None = None) -> Any:
        """Let the wrappers see how the call ended, innermost first; return or raise what they make of it."""
        while self._begun:
            plugin, wrapper = self._begun.pop()
            try:
                wrapper.send(value) if error is None else wrapper.throw(error)
            except StopIteration as end:
                value, error = end.value, None
            except BaseException as other:  # noqa: BLE001 - the same one again, or the wrapper's own
                value, error = None, other
            else:
                wrapper.close()
                value, error = None, PluginError(f"plugin `{plugin}`: {CALL} yielded twice")
        if error is not None:
            raise error
        return value


def _task(ctx: Context) -> TaskInfo:
    return TaskInfo(ctx.flow_slug, ctx.run_id, ctx.step_slug, ctx.task_index, ctx.attempt)


# The way into a child ----------------------------------------------------------------------------------------


def luggage(plugins: Plugins) -> list[dict[str, str]]:
    """Return what a child needs to have the plugins that it has a use for, as plain JSON values.

    Raises:
        PluginError: One of them can neither be imported nor pickled.
    """
    return [_packed(plugin) for plugin in plugins.all if CHILD_HOOKS.intersection(plugin.hooks)]


def unpack(luggage: Iterable[Mapping[str, str]]) -> HandlerHooks | None:
    """Make the plugins of a child from what `luggage` gave; None where there are none.

    Raises:
        PluginError: One of them cannot be imported here.
    """
    return HandlerHooks.of(Plugins((each["name"], "of the worker", None, _unpacked(each)) for each in luggage))


def _packed(plugin: Plugin) -> dict[str, str]:
    if plugin.reference is not None:
        return {"name": plugin.name, "import": plugin.reference}
    cloudpickle = importlib.import_module("cloudpickle")  # only objects pay for it
    try:
        pickled = cloudpickle.dumps(plugin.instance)
    except Exception as error:
        hooks = ", ".join(hook for hook in plugin.hooks if hook in CHILD_HOOKS)
        raise PluginError(
            f"plugin `{plugin.name}` has hooks that run in child processes ({hooks}), and cannot get there: "
            f"{type(error).__name__}: {error}. Give it as `module` or `module:attribute`, which each child imports, "
            "or keep what cannot be pickled out of it until pgflow_child_init"
        ) from error
    return {"name": plugin.name, "pickle": b64encode(pickled).decode()}


def _unpacked(packed: Mapping[str, str]) -> object:
    if "import" in packed:
        return load(packed["import"])
    return pickle.loads(b64decode(packed["pickle"]))  # noqa: S301 - our own parent's; SECURITY.md
