"""Flow, step, map_step: a flow written as a class.

The class body is read once, when the class is made: every `Step` in it becomes a `StepDefinition`, its
handler's parameter names become dependencies, and the whole is checked. What is wrong is told then, with
the class, the step and what was likely meant; a class that exists is a flow that can run.

Handlers are plain functions: no ``self``, no instance. ``ProcessOrder.charge`` is a `Step`; calling it
calls the handler with the arguments given, so a step is unit-tested like any function.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    ParamSpec,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
    overload,
)

from pgflow_mp import validation
from pgflow_mp.definition import (
    ExecutorName,
    FlowDefinition,
    SkipMode,
    StepDefinition,
    StepType,
    declared_schedules,
    make_step,
    with_defaults,
)
from pgflow_mp.errors import DefinitionError, InvalidInput
from pgflow_mp.handler import encode_input
from pgflow_mp.rules import (
    CONDITIONS,
    FLOW_OPTIONS,
    FLOW_RUN_OPTIONS,
    RUN_OPTIONS,
    SKIP_MODES,
    STEP_OPTIONS,
    shown,
    unknown_option,
)
from pgflow_mp.signature import RESERVED, parameters_of
from pgflow_mp.typed import check_of, types_of

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    from pgflow_mp.checking import Check

    # A flow that says nothing takes and gives anything. (Python 3.13 has such variables at run time too.)
    InputT = TypeVarWithDefault("InputT", default=Any)
    OutputT = TypeVarWithDefault("OutputT", default=Any)
else:
    InputT = TypeVar("InputT")
    OutputT = TypeVar("OutputT")

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = (*CONDITIONS, *SKIP_MODES, *STEP_OPTIONS, *RUN_OPTIONS)
_RESERVED_STEPS = {
    **dict.fromkeys(RESERVED, "handlers take it as a parameter with a meaning of its own"),
    "definition": "a flow class keeps its definition there",
}


class StepOptions(TypedDict, total=False):
    """The options that single and map steps share; the database's defaults hold for those left out.

    Attributes:
        max_attempts: Attempts of a task, the first included; from the flow, else 3.
        base_delay: Seconds; attempt n is retried after base_delay * 2**n. From the flow, else 5.
        timeout: Seconds that one attempt may take, at least 1; from the flow, else 60.
        start_delay: Seconds that a ready step waits before its first attempt; else 0.
        when: Run only if the step's input contains this JSON object (``@>`` of jsonb).
        unless: Run only if the step's input does not contain this JSON object.
        when_unmet: What an unmet condition does: ``skip`` this step (default), ``skip-cascade`` (this
            step and all that depend on it), or ``fail`` the run.
        when_exhausted: What the last failed attempt does: ``fail`` the run (default), ``skip`` or
            ``skip-cascade``.
        executor: Where the handler runs: ``process`` (default for ``def``), ``async`` (default for ``async def``:
            an event loop in a child process, shared with other tasks), ``thread`` or ``inline`` (in the worker's
            own process).
        processes: How many of the worker's child processes a task takes; else 1.
        concurrency: The most tasks of this step that one worker runs at once; else no limit of its own.
        retry_on: The exception class or classes after which a failed attempt is tried again; any other ends the
            task at once. Else any exception. A timeout or a dead process is always tried again, `NonRetryable`
            never.
    """

    max_attempts: int | None
    base_delay: int | None
    timeout: int | None
    start_delay: int | None
    when: Mapping[str, Any] | None
    unless: Mapping[str, Any] | None
    when_unmet: SkipMode | None
    when_exhausted: SkipMode | None
    executor: ExecutorName | None
    processes: int | None
    concurrency: int | None
    retry_on: type[BaseException] | Sequence[type[BaseException]] | None


class Step(Generic[P, R]):
    """A step in the body of a flow: its handler, callable as it was written, and its options.

    Attributes:
        slug: The step's name: the name it has in the class.
        handler: The function.
    """

    def __init__(self, handler: Callable[P, R], step_type: StepType, options: Mapping[str, Any]) -> None:
        self.handler: Callable[P, R] = getattr(handler, "__func__", handler)  # a staticmethod's function
        self.step_type = step_type
        self.options = dict(options)
        self.slug: str = getattr(self.handler, "__name__", "")
        functools.update_wrapper(self, self.handler)

    def __set_name__(self, owner: type, name: str) -> None:
        self.slug = name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the handler as the function it is."""
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Step {self.slug} ({self.step_type})>"


_StepRef: TypeAlias = "Step[..., Any] | str"


@overload
def step(handler: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *, depends_on: Sequence[_StepRef] = (), **options: Unpack[StepOptions]
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(handler: Any = None, /, **options: Any) -> Any:
    """Make a function of a flow's body a step, with or without options.

    Its parameters say what it gets: the output of the step they are named like, or `flow_input` (the
    run's input) or `ctx` (a `Context`).

    Args:
        handler: The function, where the decorator is used without brackets.
        depends_on: Steps (or their names) to wait for without taking their output.
        **options: See `StepOptions`.
    """
    return _decorator("single", handler, options)


@overload
def map_step(handler: Callable[P, R], /) -> Step[P, R]: ...
@overload
def map_step(
    *, over: _StepRef | None = None, **options: Unpack[StepOptions]
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def map_step(handler: Any = None, /, **options: Any) -> Any:
    """Make a function of a flow's body a step that runs once for each element of an array.

    It gets the element as `item`, and `flow_input` and `ctx` if it asks; its output is the list of what
    the tasks returned, in the order of the elements.

    Args:
        handler: The function, where the decorator is used without brackets.
        over: The step (or its name) whose output is the array; without it, the run's input is.
        **options: See `StepOptions`.
    """
    return _decorator("map", handler, options)


def _decorator(step_type: StepType, handler: Any, options: dict[str, Any]) -> Any:
    if handler is None:
        return lambda handler: Step(_checked(handler), step_type, options)
    return Step(_checked(handler), step_type, options)


def _checked(handler: Any) -> Any:
    if isinstance(handler, Step):
        raise DefinitionError(f"step `{handler.slug}` is decorated twice; keep one of @step and @map_step")
    function = getattr(handler, "__func__", handler)
    if not callable(function) or isinstance(handler, classmethod):
        raise DefinitionError(f"@step and @map_step decorate a function, not {shown(handler)}; options are keywords")
    return handler


class _Body(dict[str, Any]):
    """The namespace of a class body that refuses what a plain dict would silently overwrite."""

    def __init__(self, owner: str) -> None:
        super().__init__()
        self._owner = owner

    def __setitem__(self, name: str, value: Any) -> None:
        before = self.get(name)
        if isinstance(before, Step):
            raise DefinitionError(f"{self._owner}: there are two `{name}`; a step's name is unique in its flow")
        if isinstance(value, Step):
            value.slug = name  # now, not when the class is made: the body may say over= it
        if isinstance(getattr(value, "__func__", None), Step):
            raise DefinitionError(f"{self._owner}, step `{name}`: put no other decorator above @step")
        super().__setitem__(name, value)


class FlowType(type):
    """The type of flow classes: reads their bodies."""

    _definition: FlowDefinition
    _options: dict[str, Any]

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **_: Any) -> _Body:
        return _Body(f"class {name}")

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **keywords: Any) -> FlowType:
        """Make the class and, unless it is `Flow` itself, its definition."""
        cls = super().__new__(mcls, name, bases, namespace)
        own_steps = any(isinstance(value, Step) for value in namespace.values())
        # Without __qualname__ there was no class body: unpickling by value makes the bare class and then
        # sets its attributes, the definition among them.
        is_flow = any(isinstance(base, FlowType) for base in bases)
        if is_flow and (own_steps or "__qualname__" in namespace):
            around = sys._getframe(1).f_locals  # noqa: SLF001  (the only way to a type that a function defines)
            cls._define(keywords, {**around, **namespace})
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **_: Any) -> None:
        super().__init__(name, bases, namespace)

    def _define(cls, keywords: dict[str, Any], scope: Mapping[str, Any]) -> None:
        """Read the body into `_definition`; a job reads its own. The scope has the names around and in it."""
        _define(cls, keywords, scope)

    @property
    def definition(cls) -> FlowDefinition:
        """The flow as data.

        Raises:
            DefinitionError: This is `Flow` itself.
        """
        definition: FlowDefinition | None = vars(cls).get("_definition")
        if definition is None:
            raise DefinitionError(f"`{cls.__name__}` is no flow itself; write a subclass with steps")
        return definition

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse instances: a flow is started, not instantiated."""
        raise DefinitionError(
            f"flows have no instances; start a run with app.start_flow({cls.__name__}, ...), "
            f"or call a step like {cls.__name__}.a_step(...)"
        )

    def __repr__(cls) -> str:
        slug = getattr(vars(cls).get("_definition"), "slug", None)
        return f"<flow {cls.__qualname__} ({slug})>" if slug else f"<class '{cls.__module__}.{cls.__qualname__}'>"


class Flow(Generic[InputT, OutputT], metaclass=FlowType):
    """A workflow: subclass it and decorate functions with `step` and `map_step`.

    ``class Order(Flow[OrderIn, OrderOut])`` says what a run's input and output are: `PgFlow` holds the input to it
    before a run is started, gives the output as such, and type checkers know both. A type is what handlers can be
    annotated with; the output of a run has one entry for each leaf.

    Class keywords: ``slug`` (else the class's name in snake_case), ``max_attempts``, ``base_delay``,
    ``timeout``, ``executor``, ``retry_on`` (defaults of the steps; see `StepOptions`), and ``schedule``: a `Schedule`,
    a cron expression (in UTC), a timedelta, or a list of them.

    A subclass of a flow is a flow of its own with a slug of its own; it inherits steps and options as a
    dataclass inherits fields: a step written again keeps its place.

    Raises:
        DefinitionError: At class creation, when the flow is not valid.
    """


def as_definition(flow: type[Flow] | FlowDefinition) -> FlowDefinition:
    """Give the definition of a flow class; a definition is given back as it is.

    Raises:
        DefinitionError: It is neither.
    """
    if isinstance(flow, FlowDefinition):
        return flow
    if isinstance(flow, FlowType):
        return flow.definition
    raise DefinitionError(f"expected a Flow class or a FlowDefinition, not {shown(flow)}")


# ---- from a class to its definition ----------------------------------------------------------


def _define(cls: FlowType, keywords: dict[str, Any], scope: Mapping[str, Any]) -> None:
    owner = f"class {cls.__name__}"
    slug, schedule = keywords.pop("slug", None), keywords.pop("schedule", None)
    slug = snake_case(cls.__name__) if slug is None else slug
    with validation.at(owner):
        if problem := unknown_option(keywords, ("slug", *FLOW_OPTIONS, *FLOW_RUN_OPTIONS, "schedule")):
            raise DefinitionError(problem)
        schedules = declared_schedules(schedule, slug)
        steps = _steps_of(cls)
        _refuse_reserved(steps)
    cls._options = inherited_options(cls) | keywords
    input_type, output_type = _flow_types(cls, owner, scope)
    cls._definition = FlowDefinition(
        slug,
        tuple(_step_definition(cls, step, list(steps), owner, scope) for step in steps.values()),
        **{name: value for name, value in cls._options.items() if name in FLOW_OPTIONS},
        source=source_of(cls),
        schedules=schedules,
        input_type=input_type,
        output_type=output_type,
        description=cls.__doc__,
        owner=owner,
    )
    check_schedules(cls._definition, owner)


def check_schedules(definition: FlowDefinition, owner: str) -> None:
    """Refuse a schedule whose input is not what the flow says that it takes: nobody would be there to hear of it."""
    for schedule in definition.schedules:
        with validation.at(owner, validation.named("schedule", schedule.name)):
            try:
                encode_input(definition, schedule.input)
            except InvalidInput as error:
                raise DefinitionError(str(error)) from None


def _flow_types(cls: type, owner: str, scope: Mapping[str, Any]) -> tuple[Check | None, Check | None]:
    """Read what ``Flow[input, output]`` says, here or in the nearest base that does."""
    for base in cls.__mro__:
        for written in vars(base).get("__orig_bases__", ()):
            if get_origin(written) is Flow:
                try:
                    taken, given = (check_of(annotation, base, scope) for annotation in get_args(written))
                except NameError as problem:
                    raise DefinitionError(f"{owner}: {written} cannot be read: {problem}") from None
                return taken, given
    return None, None


def _steps_of(cls: type) -> dict[str, Step[..., Any]]:
    """Collect the steps, bases first; one written again keeps its place."""
    steps: dict[str, Step[..., Any]] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Step):
                for other in steps:
                    if steps[other] is value and other != name:
                        raise DefinitionError(
                            f"`{name}` is only another name of step `{other}`; write a step of its own"
                        )
                steps[name] = value
            elif name in steps:
                raise DefinitionError(f"`{name}` is a step of a base class; it cannot become {shown(value)}")
    return steps


def _refuse_reserved(steps: Mapping[str, Any]) -> None:
    for name in steps:
        if name in _RESERVED_STEPS:
            raise DefinitionError(f"no step can be called `{name}`: {_RESERVED_STEPS[name]}")


def inherited_options(cls: FlowType) -> dict[str, Any]:
    """Give the class keywords of the bases, the nearest winning."""
    options: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        options |= vars(base).get("_options", {})
    return options


def _step_definition(
    cls: FlowType, step: Step[..., Any], order: list[str], owner: str, scope: Mapping[str, Any]
) -> StepDefinition:
    options = dict(step.options)
    with validation.at(owner, validation.named("step", step.slug)):
        if step.step_type == "map" and "depends_on" in options:
            raise DefinitionError("a map step waits only for the step it maps over: use over=, not depends_on=")
        parents = "over" if step.step_type == "map" else "depends_on"
        if problem := unknown_option(options, (parents, *_OPTIONS)):
            raise DefinitionError(problem)
        deps = _deps_of(cls, step, options.pop(parents, None), order)
    options = with_defaults(options, {name: cls._options.get(name) for name in FLOW_RUN_OPTIONS})
    types = types_of(step.handler, scope)
    return make_step(step.slug, step.step_type, deps, order, step.handler, options, owner, types)


def _deps_of(cls: type, step: Step[..., Any], given: Any, order: list[str]) -> list[str]:
    if step.step_type == "map":
        return [] if given is None else [_slug_of(given, "over")]
    if isinstance(given, str) or not isinstance(given, Sequence | None):
        raise DefinitionError(f"depends_on must be a list of steps or names, not {shown(given)}")
    waits_for = [_slug_of(ref, "depends_on") for ref in given or ()]
    return waits_for + [name for name in _dependency_names(cls, step, order) if name not in waits_for]


def _dependency_names(cls: type, step: Step[..., Any], order: list[str]) -> list[str]:
    try:
        names = [parameter.name for parameter in parameters_of(step.handler) if parameter.is_dependency]
    except ValueError as problem:
        raise DefinitionError(str(problem)) from None
    for name in names:
        if name in order:
            continue
        if name in ("self", "cls"):
            raise DefinitionError(f"handlers are plain functions without `{name}`; drop the parameter")
        if any(callable(vars(base).get(name)) for base in cls.__mro__):
            raise DefinitionError(f"`{name}` is a plain function of the class, no step; decorate it with @step")
    return names


def _slug_of(ref: object, option: str) -> str:
    if isinstance(ref, Step):
        return ref.slug
    if isinstance(ref, str):
        return ref
    hint = "; decorate that function with @step" if callable(ref) else ""
    raise DefinitionError(f"{option} takes steps or their names, not {shown(ref)}{hint}")


def snake_case(name: str) -> str:
    """Give the slug that a class or function of this name has (D-13)."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def source_of(cls: type) -> str | None:
    """Name the class for other processes; None where its name does not lead to it from outside."""
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        return None
    return f"{cls.__module__}:{cls.__qualname__}"
