"""From what a person types to flows: ``app.flows``, ``app.flows:ProcessOrder``, ``file.py:process_order``.

The flows of a module are the `Flow` classes, jobs and `FlowDefinition`s that its names reach, in the order of its
names; imported ones count, so a package can gather its flows in one place. Every wrong target ends in a
`UsageError` that says what was looked for, where, and what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.exits import UsageError
from pgflow_mp.cli.importing import import_file, import_module
from pgflow_mp.definition import FlowDefinition
from pgflow_mp.flow import Flow, FlowType
from pgflow_mp.jobs import Job
from pgflow_mp.registry import NamedHandler
from pgflow_mp.rules import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType


@dataclass(frozen=True, slots=True)
class NamedFlow:
    """A flow and the name that its module has for it.

    Attributes:
        name: The class name, or the variable's for a plain `FlowDefinition`.
        definition: What it defines.
    """

    name: str
    definition: FlowDefinition


@dataclass(frozen=True, slots=True)
class Target:
    """``TARGET[:Flow]`` taken apart.

    Attributes:
        source: Module name or path of a ``.py`` file, as typed.
        flow: Class name or slug; None when left out.
    """

    source: str
    flow: str | None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Split at the last colon."""
        source, colon, flow = text.rpartition(":")
        if not colon:
            return cls(text, None)
        if not source or not flow:
            raise UsageError(f"`{text}` names no flow: write MODULE:Flow or FILE.py:Flow, or leave out the colon")
        return cls(source, flow)

    def flows(self) -> list[NamedFlow]:
        """The flow named, or all flows of the source; never empty."""
        is_path = self.source.endswith(".py") or "/" in self.source
        found = flows_in(import_file(self.source) if is_path else import_module(self.source))
        if not found:
            raise UsageError(
                f"{self.source} has no flows: a flow is a subclass of pgflow_mp.Flow with at least one step, "
                "or a function with @job"
            )
        return found if self.flow is None else [_pick(self.flow, found, self.source)]


def load_one(text: str) -> NamedFlow:
    """The one flow that ``TARGET[:Flow]`` names.

    Raises:
        UsageError: No such module or flow, or several flows and none named.
    """
    target = Target.parse(text)
    flows = target.flows()
    if len(flows) > 1:
        choices = ", ".join(f"{target.source}:{flow.name}" for flow in flows)
        raise UsageError(f"{target.source} has {len(flows)} flows; say which one: {choices}")
    return flows[0]


def load_all(texts: Iterable[str]) -> list[NamedFlow]:
    """All flows of several targets, each once, in the order given.

    Raises:
        UsageError: As in `load_one`, or two different flows whose slugs are the same but for their case: they would
            share a queue (generations QI-1).
    """
    found: dict[str, NamedFlow] = {}
    for text in texts:
        for flow in Target.parse(text).flows():
            known = found.setdefault(flow.definition.slug.lower(), flow)
            if known.definition is not flow.definition:
                raise UsageError(_two_with_one_slug(known, flow))
    return list(found.values())


def load_handlers(texts: Iterable[str]) -> dict[str, NamedHandler[..., Any]]:
    """The handlers that modules, or files, name with `@handles`, by their names.

    Raises:
        UsageError: No such module, one without handlers, or two handlers of one name.
    """
    found: dict[str, NamedHandler[..., Any]] = {}
    for text in texts:
        is_path = text.endswith(".py") or "/" in text
        module = import_file(text) if is_path else import_module(text)
        named = [value for value in vars(module).values() if isinstance(value, NamedHandler)]
        if not named:
            raise UsageError(f"{text} has no handlers: a handler is a function with @pgflow_mp.handles")
        for one in named:
            if found.setdefault(one.name, one) is not one:
                raise UsageError(f"there are two handlers of the name `{one.name}`; the second is in {text}")
    return found


def flows_in(module: ModuleType) -> list[NamedFlow]:
    """The flows that a module's names reach."""
    found: dict[int, NamedFlow] = {}
    for name, value in vars(module).items():
        if isinstance(value, FlowDefinition):
            found.setdefault(id(value), NamedFlow(name, value))
        elif isinstance(value, FlowType) and value not in (Flow, Job):
            found.setdefault(id(value.definition), NamedFlow(value.__name__, value.definition))
    return list(found.values())


def modules_of(flows: Iterable[FlowDefinition]) -> list[str]:
    """The modules that define the flows: what children import before their first task's clock runs."""
    return sorted({flow.source.partition(":")[0] for flow in flows if flow.source})


def _pick(name: str, flows: list[NamedFlow], source: str) -> NamedFlow:
    for flow in flows:
        if name in (flow.name, flow.definition.slug):
            return flow
    names = [flow.name for flow in flows]
    meant = did_you_mean(name, [*(flow.definition.slug for flow in flows), *names])
    raise UsageError(f"{source} has no flow {name}{meant}; it has {', '.join(names)}")


def _two_with_one_slug(one: NamedFlow, other: NamedFlow) -> str:
    slugs = one.definition.slug, other.definition.slug
    if slugs[0] == slugs[1]:
        clash = f"two flows have the slug `{slugs[0]}`"
    else:
        clash = f"the slugs `{slugs[0]}` and `{slugs[1]}` differ by case only, and case makes no other queue"
    return f"{clash}: {_origin(one)} and {_origin(other)}; rename one with `slug=`"


def _origin(flow: NamedFlow) -> str:
    return flow.definition.source or flow.name
