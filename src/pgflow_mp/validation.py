"""Everything that can be wrong with a definition, each told in a sentence that says where.

The order of the checks is the order in which a reader would want to hear: names first, then each
step's own values, then how the steps hang together. `at` puts the place before the sentence, so a
check only says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pgflow_mp.errors import DefinitionError
from pgflow_mp.rules import (
    CONDITIONS,
    FLOW_OPTIONS,
    MAX_FLOW_SLUG,
    SKIP_MODES,
    STEP_OPTIONS,
    did_you_mean,
    exceptions_problem,
    executor_problem,
    mode_problem,
    option_problem,
    shown,
    slug_problem,
    unknown_option,
)
from pgflow_mp.signature import ITEM, RESERVED, is_async

if TYPE_CHECKING:
    from pgflow_mp.definition import FlowDefinition, StepDefinition


@contextmanager
def at(*places: str) -> Iterator[None]:
    """Put the places before the message of a `DefinitionError` from within; empty ones are left out."""
    try:
        yield
    except DefinitionError as error:
        where = ", ".join(filter(None, places))
        error.args = (f"{where}: {error}" if where else str(error),)
        raise


def named(kind: str, slug: object) -> str:
    """Give the name of a flow or step for a message, whatever was given as its slug."""
    return f"{kind} `{slug}`" if isinstance(slug, str) and slug.isprintable() else f"{kind} {shown(slug)}"


def _refuse(problem: str | None) -> None:
    if problem:
        raise DefinitionError(problem)


# ---- one step --------------------------------------------------------------------------------


def check_step(step: StepDefinition) -> None:
    """Check what can be said of a step alone: its name and the values of its options."""
    _refuse(slug_problem(step.slug))
    if step.step_type not in ("single", "map"):
        _refuse(f"step_type must be 'single' or 'map', not {shown(step.step_type)}")
    for name in STEP_OPTIONS:
        _refuse(option_problem(name, getattr(step, name)))
    for name in SKIP_MODES:
        _refuse(mode_problem(name, getattr(step, name)))
    for name in CONDITIONS:
        value = getattr(step, name)
        if value is not None and not isinstance(value, Mapping):
            _refuse(f"{name} must be a JSON object (a dict), not {shown(value)}")
    if step.when_unmet != "skip":
        check_condition_given({"when_unmet": step.when_unmet, "when": step.when, "unless": step.unless})
    _check_run_options(step)
    check_deps_value(step.deps)
    _check_deps_of(step)


def _check_run_options(step: StepDefinition) -> None:
    _refuse(executor_problem(step.executor))
    for name in ("processes", "concurrency"):
        _refuse(option_problem(name, getattr(step, name)))
    if step.retry_on is not None:
        _refuse(exceptions_problem(step.retry_on))
    if step.executor == "async" and step.handler is not None and not is_async(step.handler):
        _refuse(
            "executor='async' runs `async def` handlers, and this one is a plain function, which would block the "
            "event loop for its neighbours; write it as `async def`, or use 'thread' or 'process'"
        )
    if step.processes is not None and step.runs_in != "process":
        _refuse(
            f"processes= says how many child processes a task takes, but this step runs with "
            f"executor={step.runs_in!r}; drop it, or add executor='process'"
        )


def check_condition_given(given: Mapping[str, Any]) -> None:
    """Refuse `when_unmet` on a step without a condition: it would never matter."""
    if given.get("when_unmet") is not None and all(given.get(name) is None for name in CONDITIONS):
        _refuse("when_unmet says what an unmet condition does, but there is none; add when= or unless=")


def check_deps_value(deps: object) -> None:
    """Refuse dependencies that are no list of names."""
    if isinstance(deps, str) or not isinstance(deps, Sequence):
        _refuse(f"the dependencies must be a list of step names, not {shown(deps)}")
    for dep in deps:  # type: ignore[attr-defined]  # _refuse has raised for everything else
        if not isinstance(dep, str):
            _refuse(f"a dependency is the name of a step, not {shown(dep)}")


def _check_deps_of(step: StepDefinition) -> None:
    for dep in step.deps:
        if dep == step.slug:
            _refuse("it depends on itself")
        if step.deps.count(dep) > 1:
            _refuse(f"it names the dependency `{dep}` twice")
    if step.step_type == "map" and len(step.deps) > 1:
        _refuse(
            f"a map step has at most one dependency, the step it maps over, but it has "
            f"{', '.join(step.deps)}; let one step put together what each element needs"
        )
    if step.step_type == "map" and not step.deps and (step.when is not None or step.unless is not None):
        _refuse(
            "a map over the flow's input cannot have a condition: its input is an array, which no object "
            "pattern is contained in (core 3.9.10); put the condition on a step before or after it"
        )


# ---- the whole flow --------------------------------------------------------------------------


def check_flow(flow: FlowDefinition, owner: str) -> None:
    """Check a flow: its own name and options, then how its steps hang together."""
    with at(owner):
        _refuse(slug_problem(flow.slug, MAX_FLOW_SLUG))
        for name in FLOW_OPTIONS:
            _refuse(option_problem(name, getattr(flow, name)))
        if not flow.steps:
            _refuse("a flow needs at least one step")
        _check_unique([step.slug for step in flow.steps])
        _check_schedules(flow)
    by_slug = {step.slug: step for step in flow.steps}
    for step in flow.steps:
        with at(owner, named("step", step.slug)):
            _check_known(step, by_slug)
            _check_order(step, by_slug)
            _check_patterns(step)
            _check_parameters(step, by_slug)


def _check_schedules(flow: FlowDefinition) -> None:
    maps = [step.slug for step in flow.steps if step.is_map and step.is_root]
    for schedule in flow.schedules:
        if maps and not isinstance(schedule.input, list):
            _refuse(
                f"schedule {schedule.name!r}: its input must be a list, for `{maps[0]}` maps over it: "
                "Schedule(..., input=[...])"
            )


def _check_unique(slugs: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for slug in slugs:
        before = seen.setdefault(slug.lower(), slug)
        if before != slug:
            _refuse(
                f"the steps `{before}` and `{slug}` differ only in upper and lower case, "
                f"which queue names do not tell apart (generations SL-2); rename one"
            )
        if slugs.count(slug) > 1:
            _refuse(f"there are two steps `{slug}`; a step's name is unique in its flow")


def _check_known(step: StepDefinition, steps: Mapping[str, StepDefinition]) -> None:
    for dep in step.deps:
        if dep not in steps:
            others = [slug for slug in steps if slug != step.slug]
            _refuse(
                f"it depends on `{dep}`, but there is no such step{did_you_mean(dep, (*others, *RESERVED))}; "
                f"{'the other steps are ' + ', '.join(others) if others else 'it is the only step'}"
            )


def _check_order(step: StepDefinition, steps: Mapping[str, StepDefinition]) -> None:
    order = list(steps)
    for dep in step.deps:
        if order.index(dep) < order.index(step.slug):
            continue
        if way := _way(dep, step.slug, steps):
            cycle = " -> ".join(f"`{slug}`" for slug in (step.slug, *way))
            _refuse(f"it waits for itself: {cycle}; a flow cannot have a cycle, so take one of these out")
        _refuse(f"it depends on `{dep}`, which is defined after it; move `{dep}` above `{step.slug}`")


def _way(start: str, goal: str, steps: Mapping[str, StepDefinition]) -> list[str] | None:
    """Find the steps from `start` up to `goal` along dependencies."""
    ways: list[list[str]] = [[start]]
    seen = {start}
    while ways:
        way = ways.pop(0)
        if way[-1] == goal:
            return way
        for dep in steps[way[-1]].deps if way[-1] in steps else ():
            if dep not in seen:
                seen.add(dep)
                ways.append([*way, dep])
    return None


def _check_patterns(step: StepDefinition) -> None:
    """Refuse patterns that no input could match: a dependent step is asked about its parents' outputs."""
    if not step.deps:
        return
    for name in CONDITIONS:
        for key in getattr(step, name) or ():
            if key not in step.deps:
                _refuse(
                    f"{name} asks about `{key}`, which is no dependency of it"
                    f"{did_you_mean(key, step.deps)}; a step with dependencies is asked about their outputs, "
                    f"here {', '.join(step.deps)}"
                )


def _check_parameters(step: StepDefinition, steps: Mapping[str, StepDefinition]) -> None:
    for parameter in step.parameters:
        name = parameter.name
        if parameter.is_rest:
            continue
        if name == ITEM and step.step_type != "map":
            _refuse("only a map step has an `item`; make it one with @map_step, or take the whole output")
        if not parameter.is_dependency:
            if name in step.deps:
                _refuse(f"its dependency `{name}` has a name that is reserved for parameters; rename that step")
            continue
        if step.step_type == "map":
            _refuse(_map_parameter(step, name, steps))
        if name not in step.deps:
            meant = "; add it to its deps" if name in steps else did_you_mean(name, (*step.deps, *RESERVED))
            _refuse(f"its handler has the parameter `{name}`, but it does not depend on such a step{meant}")
        if steps[name].may_be_absent and not parameter.optional:
            _refuse(
                f"`{name}` can be skipped, and this step runs all the same; give the parameter a default: {name}=None"
            )


def _map_parameter(step: StepDefinition, name: str, steps: Mapping[str, StepDefinition]) -> str:
    if name in step.deps:
        return f"a map step gets one element of `{name}` as `item`, not the whole; rename the parameter to item"
    if name in steps:
        return (
            f"its handler has the parameter `{name}`, but a map step gets only its elements, as `item`; "
            f"let the step it maps over put what each element needs into the elements"
        )
    return (
        f"its handler has the parameter `{name}`{did_you_mean(name, RESERVED)}; a map step takes {', '.join(RESERVED)}"
    )


# ---- plain data ------------------------------------------------------------------------------


def check_entries(steps: object, known: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Check that plain data is a list of mappings with a slug and known keys, and give it back."""
    if isinstance(steps, (str, Mapping)) or not isinstance(steps, Sequence):
        raise DefinitionError(f"the steps must be a list of mappings, not {shown(steps)}")
    for index, entry in enumerate(steps):
        if not isinstance(entry, Mapping):
            _refuse(f"steps[{index}] must be a mapping with a slug, not {shown(entry)}")
        if "slug" not in entry:
            _refuse(f"steps[{index}] has no slug")
        with at(named("step", entry["slug"])):
            _refuse(unknown_option((str(key) for key in entry), known))
    return steps
