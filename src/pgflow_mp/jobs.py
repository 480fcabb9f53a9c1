"""Job and job: one function with retries and a timeout, started by name: a flow of a single step.

A job is written as a function or as a class, and is a flow in every respect (it is compiled, served, started, tested,
shown); what it adds is that nothing has to be named twice: its step has the job's slug (D-13), and its function may
call the input what it likes.

    @job(max_attempts=5)                        class SendMail(Job, max_attempts=5):
    def send_mail(message, ctx): ...                def perform(message, ctx): ...

`send_mail(...)` and `SendMail.perform(...)` are plain calls. The class is for jobs that share options by inheritance.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypedDict, TypeVar, Unpack, overload

from pgflow_mp import validation
from pgflow_mp.definition import ExecutorName, FlowDefinition, StepDefinition, declared_schedules
from pgflow_mp.errors import DefinitionError
from pgflow_mp.flow import Flow, FlowType, Step, check_schedules, inherited_options, snake_case, source_of
from pgflow_mp.rules import FLOW_OPTIONS, RUN_OPTIONS, shown, unknown_option
from pgflow_mp.typed import types_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgflow_mp.schedule import ScheduleOption

__all__ = ["FunctionJob", "Job", "JobOptions", "job"]

P = ParamSpec("P")
R = TypeVar("R")

PERFORM = "perform"
"""The function of a job that is a class."""

_OPTIONS = ("slug", *FLOW_OPTIONS, "start_delay", *RUN_OPTIONS, "schedule")


class JobOptions(TypedDict, total=False):
    """The options of a job; the database's defaults hold for those left out.

    Attributes:
        slug: Its name in the database; by default the function's name, or the class's in snake_case.
        max_attempts: Attempts, the first included; else 3.
        base_delay: Seconds; attempt n is retried after base_delay * 2**n. Else 5.
        timeout: Seconds that one attempt may take, at least 1; else 60.
        start_delay: Seconds that every run waits before its first attempt; else 0.
        executor: Where the function runs: ``process`` (default for ``def``), ``async`` (default for ``async def``),
            ``thread`` or ``inline``.
        processes: How many of the worker's child processes it takes; else 1.
        concurrency: The most tasks of this job that one worker runs at once; else no limit of its own.
        retry_on: The exception class or classes after which a failed attempt is tried again; else any.
        schedule: When it starts by itself: a `Schedule`, a cron expression (in UTC), a timedelta, or a list of these.
    """

    slug: str | None
    max_attempts: int | None
    base_delay: int | None
    timeout: int | None
    start_delay: int | None
    executor: ExecutorName | None
    processes: int | None
    concurrency: int | None
    retry_on: type[BaseException] | Sequence[type[BaseException]] | None
    schedule: ScheduleOption | None


class FunctionJob(FlowDefinition, Generic[P, R]):
    """A job made of a function: its definition, callable as the function is."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as the function it is."""
        handler: Callable[..., R] | None = self.steps[0].handler
        if handler is None:
            raise DefinitionError(f"job `{self.slug}` has no function in this process")
        return handler(*args, **kwargs)


@overload
def job(handler: Callable[P, R], /) -> FunctionJob[P, R]: ...
@overload
def job(**options: Unpack[JobOptions]) -> Callable[[Callable[P, R]], FunctionJob[P, R]]: ...
def job(handler: Any = None, /, **options: Any) -> Any:
    """Make a function a job, with or without options.

    It takes the input as one parameter of any name, and `ctx` (a `Context`) if it asks; or neither.

    Args:
        handler: The function, where the decorator is used without brackets.
        **options: See `JobOptions`.

    Raises:
        DefinitionError: Something is wrong with it; the message says what.
    """
    if handler is None:
        return lambda handler: _from_function(handler, options, sys._getframe(1).f_locals)  # noqa: SLF001
    return _from_function(handler, options, sys._getframe(1).f_locals)  # noqa: SLF001  (types may be defined there)


class JobType(FlowType):
    """The type of job classes: reads their one function."""

    def _define(cls, keywords: dict[str, Any], scope: Mapping[str, Any]) -> None:  # noqa: N805 - of a class, not of an instance
        if Flow in cls.__bases__:  # Job itself
            return
        owner = f"class {cls.__name__}"
        with validation.at(owner):
            handler = _perform_of(cls)
            own = _checked(keywords)
            # A subclass has a slug and schedules of its own.
            slug, schedule = own.pop("slug", snake_case(cls.__name__)), own.pop("schedule", None)
            schedules = declared_schedules(schedule, slug)
        cls._options = inherited_options(cls) | own
        cls._definition = FlowDefinition(
            slug,
            (_step(slug, handler, cls._options, owner, scope),),
            **_flow_options(cls._options),
            source=source_of(cls),
            schedules=schedules,
            description=cls.__doc__,
            owner=owner,
        )
        check_schedules(cls._definition, owner)

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:  # noqa: N805
        """Refuse instances: a job is enqueued, not instantiated."""
        raise DefinitionError(
            f"jobs have no instances; start a run with app.enqueue({cls.__name__}, ...), "
            f"or call the function: {cls.__name__}.{PERFORM}(...)"
        )


class Job(Flow, metaclass=JobType):
    """A job written as a class: subclass it and write its function, ``perform``.

    Class keywords: those of `JobOptions`. A subclass of a job is a job of its own that inherits options and function.

    Raises:
        DefinitionError: At class creation, when the job is not valid.
    """


def _from_function(handler: Any, options: Mapping[str, Any], scope: Mapping[str, Any]) -> FunctionJob[..., Any]:
    if isinstance(handler, Step | FlowDefinition | type):
        raise DefinitionError(f"@job makes a function a job, not {shown(handler)}; it takes no other decorator of ours")
    name = getattr(handler, "__name__", None)
    if not callable(handler) or name is None:
        raise DefinitionError(f"@job decorates a function, not {shown(handler)}; options are keywords")
    owner = f"job `{name}`"
    with validation.at(owner):
        given = _checked(options)
        slug = given.get("slug", name)
        schedules = declared_schedules(given.pop("schedule", None), slug)
    made: FunctionJob[..., Any] = FunctionJob(
        slug,
        (_step(slug, handler, given, owner, scope),),
        **_flow_options(given),
        source=source_of(handler),
        schedules=schedules,
        description=handler.__doc__,
        owner=owner,
    )
    check_schedules(made, owner)
    return made


def _perform_of(cls: type) -> Callable[..., Any]:
    steps = [name for base in cls.__mro__ for name, value in vars(base).items() if isinstance(value, Step)]
    if steps:
        raise DefinitionError(
            f"a job has one function, `{PERFORM}`, and no steps, but this one has `{steps[0]}`; for steps write a Flow"
        )
    for base in cls.__mro__:
        if PERFORM in vars(base):
            handler = vars(base)[PERFORM]
            function: Callable[..., Any] = getattr(handler, "__func__", handler)  # a staticmethod's function
            return function
    raise DefinitionError(f"a job needs a function `{PERFORM}` that takes the input: def {PERFORM}(order): ...")


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    if problem := unknown_option(options, _OPTIONS):
        raise DefinitionError(problem)
    return {name: value for name, value in options.items() if value is not None}


def _flow_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What is said to the flow, as other clients say it; its step inherits."""
    return {name: value for name, value in options.items() if name in FLOW_OPTIONS}


def _step(
    slug: str, handler: Callable[..., Any], options: Mapping[str, Any], owner: str, scope: Mapping[str, Any]
) -> StepDefinition:
    own = {name: value for name, value in options.items() if name not in (*FLOW_OPTIONS, "slug")}
    return StepDefinition(slug, handler=handler, is_job=True, types=types_of(handler, scope), owner=owner, **own)
