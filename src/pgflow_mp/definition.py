"""FlowDefinition and StepDefinition: what a flow is, as frozen, checked, comparable data.

Whatever way a flow is written (a class, plain data), it becomes a `FlowDefinition`, and one that exists
is valid: names, options and order are checked when it is made, so nothing downstream checks again.
Two definitions are equal when the database could not tell them apart; handlers do not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from pgflow_mp import validation
from pgflow_mp.errors import DefinitionError, InvalidSchedule, StepNotFound
from pgflow_mp.jsonvalue import encode
from pgflow_mp.rules import (
    CONDITIONS,
    FLOW_OPTIONS,
    RUN_OPTIONS,
    SKIP_MODES,
    STEP_OPTIONS,
    did_you_mean,
    shown,
    unknown_option,
)
from pgflow_mp.schedule import Schedule, ScheduleOption, named_schedules
from pgflow_mp.signature import Parameter, is_async, job_parameters, parameters_of
from pgflow_mp.typed import Types, types_of

if TYPE_CHECKING:
    from pgflow_mp.checking import Check

StepType = Literal["single", "map"]
SkipMode = Literal["fail", "skip", "skip-cascade"]
ExecutorName = Literal["process", "async", "thread", "inline"]

DEFAULT_MAX_ATTEMPTS: Final = 3
"""Attempts of a task, the first included, where neither step nor flow says (core 3.4.1)."""
DEFAULT_BASE_DELAY: Final = 5
"""Base of the retry delay in seconds, where neither step nor flow says (core 3.4.1)."""
DEFAULT_TIMEOUT: Final = 60
"""Seconds that one attempt may take, where neither step nor flow says (core 3.4.1)."""

DATA_KEYS: Final = ("slug", "deps", "step_type", *CONDITIONS, *SKIP_MODES, *STEP_OPTIONS, *RUN_OPTIONS, "handler")
"""The keys of a step written as plain data (decision D-14)."""


class Pattern(Mapping[str, Any]):
    """A condition's JSON object: reads like a dict, cannot change, can be hashed.

    The database asks ``input @> pattern`` (core 3.9.4).

    Args:
        value: A JSON object; it is copied.

    Raises:
        DefinitionError: The value is no JSON object.
    """

    __slots__ = ("_text",)

    def __init__(self, value: Mapping[str, Any]) -> None:
        text = encode(dict(value), error=DefinitionError)
        self._text = json.dumps(json.loads(text or "{}"), sort_keys=True)

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._text)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self._text))

    def __len__(self) -> int:
        return len(json.loads(self._text))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Pattern):
            return self._text == other._text  # tells 1, 1.0 and true apart, as JSON does
        return super().__eq__(other)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for a step once the flow's values and the defaults are filled in.

    Attributes:
        max_attempts: Attempts, the first included; 0 counts as 1.
        base_delay: Retry delay base in seconds.
        timeout: Seconds that one attempt may take.
        start_delay: Seconds that a ready step waits before its first attempt.
    """

    max_attempts: int
    base_delay: int
    timeout: int
    start_delay: int


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """One step of a flow.

    Attributes:
        slug: Its name, unique in the flow whatever the case.
        step_type: ``single`` (one task) or ``map`` (one task for each element).
        deps: The steps it waits for, in definition order.
        handler: The function to call; None when the steps run elsewhere.
        max_attempts, base_delay, timeout, start_delay: Options (counts and seconds); None inherits
            from the flow.
        when: Run only if the input contains this JSON object.
        unless: Run only if the input does not contain this JSON object.
        when_unmet: What an unmet condition does.
        when_exhausted: What the last failed attempt does.
        executor: Where the handler runs; None: see `runs_in`.
        processes: How many of a worker's child processes a task takes; None is 1.
        concurrency: The most tasks of this step that one worker runs at once; None is no limit of its own.
        retry_on: What the handler may raise to be tried again; None is any exception.
        is_job: It is the one step of a job: its handler may give the input any name.
        parameters: What the handler asks for.
        types: What its annotations say of its input and output; read where it is None.
        is_registered: Its handler was found by its name (`registry`), and may take any outputs, as ``**outputs``.
        source: ``module:qualname`` of such a handler, where its name leads to it from outside.

    The last options are the worker's business: the database does not know them, and they do not count when
    definitions are compared.
    """

    slug: str
    step_type: StepType = "single"
    deps: tuple[str, ...] = ()
    handler: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    max_attempts: int | None = None
    base_delay: int | None = None
    timeout: int | None = None
    start_delay: int | None = None
    when: Mapping[str, Any] | None = None
    unless: Mapping[str, Any] | None = None
    when_unmet: SkipMode = "skip"
    when_exhausted: SkipMode = "fail"
    executor: ExecutorName | None = field(default=None, compare=False)
    processes: int | None = field(default=None, compare=False)
    concurrency: int | None = field(default=None, compare=False)
    retry_on: tuple[type[BaseException], ...] | None = field(default=None, compare=False)
    is_job: bool = field(default=False, compare=False, repr=False)
    types: Types | None = field(default=None, compare=False, repr=False)
    is_registered: bool = field(default=False, compare=False, repr=False)
    source: str | None = field(default=None, compare=False, repr=False)
    parameters: tuple[Parameter, ...] = field(init=False, compare=False, repr=False, default=())
    owner: InitVar[str] = ""

    def __post_init__(self, owner: str) -> None:
        with validation.at(owner, "" if self.is_job else validation.named("step", self.slug)):
            validation.check_step(self)
            self._freeze()

    def _freeze(self) -> None:
        put = object.__setattr__
        put(self, "deps", tuple(self.deps))
        if self.retry_on is not None:
            put(self, "retry_on", (self.retry_on,) if isinstance(self.retry_on, type) else tuple(self.retry_on))
        for name in CONDITIONS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Pattern):
                with validation.at(f"`{name}`"):
                    put(self, name, Pattern(value))
        if self.handler is not None:
            try:
                parameters = parameters_of(self.handler, rest=self.is_registered)
                put(self, "parameters", job_parameters(parameters) if self.is_job else parameters)
            except ValueError as problem:
                raise DefinitionError(str(problem)) from None
            if self.types is None:
                put(self, "types", types_of(self.handler))

    @property
    def is_map(self) -> bool:
        """Whether it has one task for each element."""
        return self.step_type == "map"

    @property
    def is_root(self) -> bool:
        """Whether it waits for no other step."""
        return not self.deps

    @property
    def runs_in(self) -> ExecutorName:
        """Where the handler runs: as `executor` says, else `async def` in an event loop, `def` in a process."""
        return self.executor or ("async" if is_async(self.handler) else "process")

    @property
    def may_be_absent(self) -> bool:
        """Whether a step that depends on this one can run without its output.

        So it is after a plain skip (core 3.9.7, 3.15). A cascading skip takes the dependents along, so
        they never run without it.
        """
        conditional = self.when is not None or self.unless is not None
        return self.when_exhausted == "skip" or (conditional and self.when_unmet == "skip")

    def shape(self) -> dict[str, Any]:
        """Give the step's part of the flow's shape (core 6): all seven keys, and the options that are set."""
        shape: dict[str, Any] = {
            "slug": self.slug,
            "stepType": self.step_type,
            "dependencies": sorted(self.deps),
            "whenUnmet": self.when_unmet,
            "whenExhausted": self.when_exhausted,
            "requiredInputPattern": _pattern_shape(self.when),
            "forbiddenInputPattern": _pattern_shape(self.unless),
        }
        options = _options_shape(self, STEP_OPTIONS)
        return shape | ({"options": options} if options else {})


@dataclass(frozen=True, slots=True)
class FlowDefinition:
    """A flow: its steps in topological order and its options.

    Attributes:
        slug: Its name in the database, at most 47 characters.
        steps: In definition order; a step comes after all that it depends on.
        max_attempts, base_delay, timeout: For steps that do not say (counts and seconds); None is the
            database's default (3, 5, 60).
        source: ``module:qualname`` of the class when its name leads to it from outside, else None
            (plain data, a class in a function or in ``__main__``).
        description: The docstring of the class, or of a job's function.
        schedules: When it starts by itself; each has a name. Compiling brings them into the database.
        input_type: What the input of a run must be, where `Flow[...]` says it.
        output_type: What the output of a run is, where `Flow[...]` says it.
    """

    slug: str
    steps: tuple[StepDefinition, ...]
    max_attempts: int | None = None
    base_delay: int | None = None
    timeout: int | None = None
    source: str | None = field(default=None, compare=False)
    description: str | None = field(default=None, compare=False, repr=False)
    schedules: tuple[Schedule, ...] = field(default=(), compare=False, repr=False)
    input_type: Check | None = field(default=None, compare=False, repr=False)
    output_type: Check | None = field(default=None, compare=False, repr=False)
    owner: InitVar[str] = ""

    def __post_init__(self, owner: str) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if self.schedules:
            object.__setattr__(self, "schedules", declared_schedules(self.schedules, self.slug))
        validation.check_flow(self, owner or validation.named("flow", self.slug))

    def step(self, slug: str) -> StepDefinition:
        """Give a step by its slug.

        Raises:
            StepNotFound: There is none; the message lists those there are.
        """
        for step in self.steps:
            if step.slug == slug:
                return step
        known = [step.slug for step in self.steps]
        raise StepNotFound(
            f"flow `{self.slug}` has no step {shown(slug)}{did_you_mean(slug, known)}; its steps are {', '.join(known)}"
        )

    @property
    def is_job(self) -> bool:
        """Whether it is a job: one step that is named like the flow (D-13)."""
        return len(self.steps) == 1 and self.steps[0].is_job

    @property
    def leaves(self) -> tuple[str, ...]:
        """The steps that nothing depends on: their outputs make the run's output (core 3.12)."""
        parents = {dep for step in self.steps for dep in step.deps}
        return tuple(step.slug for step in self.steps if step.slug not in parents)

    def policy(self, slug: str) -> Policy:
        """Give the options that hold for a step: the step's own, else the flow's, else the default.

        Raises:
            StepNotFound: There is no such step.
        """
        step = self.step(slug)
        return Policy(
            max_attempts=_first(step.max_attempts, self.max_attempts, DEFAULT_MAX_ATTEMPTS),
            base_delay=_first(step.base_delay, self.base_delay, DEFAULT_BASE_DELAY),
            timeout=_first(step.timeout, self.timeout, DEFAULT_TIMEOUT),
            start_delay=_first(step.start_delay, 0),
        )

    def shape(self) -> dict[str, Any]:
        """Give the shape that the database compiles and compares (core 6); unset options are not sent."""
        options = _options_shape(self, FLOW_OPTIONS)
        return {"steps": [step.shape() for step in self.steps]} | ({"options": options} if options else {})

    @classmethod
    def from_data(
        cls,
        slug: str,
        steps: Sequence[Mapping[str, Any]],
        *,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
        executor: ExecutorName | None = None,
        retry_on: type[BaseException] | Sequence[type[BaseException]] | None = None,
        schedule: ScheduleOption | None = None,
    ) -> FlowDefinition:
        """Make a flow from plain data, checked like one written as a class.

        Args:
            slug: Name of the flow.
            steps: One mapping for each step, with the keys of `DATA_KEYS`; only ``slug`` is required.
            max_attempts: Attempts of a task, the first included.
            base_delay: Base of the retry delay in seconds.
            timeout: Seconds that one attempt may take.
            executor: Where the handlers of steps run that do not say.
            retry_on: What handlers of steps that do not say may raise to be tried again.
            schedule: When it starts by itself.

        Raises:
            DefinitionError: Something is wrong; the message says where and what was likely meant.
        """
        owner = validation.named("flow", slug)
        with validation.at(owner):
            entries = validation.check_entries(steps, DATA_KEYS)
            schedules = declared_schedules(schedule, slug)
        slugs = [entry["slug"] for entry in entries]
        defaults = {"executor": executor, "retry_on": retry_on}
        return cls(
            slug,
            tuple(_step_from_data(with_defaults(entry, defaults), slugs, owner) for entry in entries),
            max_attempts=max_attempts,
            base_delay=base_delay,
            timeout=timeout,
            schedules=schedules,
        )


def declared_schedules(given: object, slug: str) -> tuple[Schedule, ...]:
    """Read ``schedule=`` of a flow: nothing, a `Schedule`, a cron expression, an interval, or a list of these.

    Raises:
        DefinitionError: It is something else, or of several one has no name of its own.
    """
    try:
        return () if given is None else named_schedules(given, slug)
    except InvalidSchedule as error:
        raise DefinitionError(f"schedule: {error}") from None


def with_defaults(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Give a step's options with its flow's where it has none; an option that is None counts as not given."""
    return {**options, **{name: value for name, value in defaults.items() if options.get(name) is None}}


def make_step(
    slug: str,
    step_type: Any,
    deps: Sequence[str],
    order: Sequence[str],
    handler: Callable[..., Any] | None,
    options: Mapping[str, Any],
    owner: str,
    types: Types | None = None,
) -> StepDefinition:
    """Make a step from what its writer gave; an option that is None counts as not given.

    Args:
        slug: Name of the step.
        step_type: ``single`` or ``map``.
        deps: What it depends on, in any order.
        order: The slugs of all steps in definition order.
        handler: The function to call.
        options: Conditions, skip modes and numbers by name.
        owner: What the step belongs to, for messages.
        types: What the handler's annotations say, where they have been read.

    Raises:
        DefinitionError: Something is wrong with it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    with validation.at(owner, validation.named("step", slug)):
        if problem := unknown_option(given, (*CONDITIONS, *SKIP_MODES, *STEP_OPTIONS, *RUN_OPTIONS)):
            raise DefinitionError(problem)
        validation.check_condition_given(given)
    place = {name: index for index, name in enumerate(order)}
    in_order = tuple(sorted(deps, key=lambda dep: place.get(dep, len(place))))
    return StepDefinition(slug, step_type, in_order, handler, types=types, owner=owner, **given)


def _step_from_data(entry: dict[str, Any], order: Sequence[str], owner: str) -> StepDefinition:
    slug, handler = entry.pop("slug"), entry.pop("handler", None)
    step_type, deps = entry.pop("step_type", None) or "single", entry.pop("deps", None) or ()
    with validation.at(owner, validation.named("step", slug)):
        validation.check_deps_value(deps)
    return make_step(slug, step_type, deps, order, handler, entry, owner)


def _pattern_shape(pattern: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"defined": False} if pattern is None else {"defined": True, "value": dict(pattern)}


def _options_shape(options: StepDefinition | FlowDefinition, names: Sequence[str]) -> dict[str, int]:
    return {_camel(name): value for name in names if (value := getattr(options, name)) is not None}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
