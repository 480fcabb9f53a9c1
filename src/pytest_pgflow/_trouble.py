"""Trouble on request: attempts that fail, die, hang, or do their work and lose the result.

A double made of trouble lets the first attempts of each task go wrong and then does something else. It travels to
a child process like the handler that it stands for, so it is made of classes and functions of this module.
"""

from __future__ import annotations

import inspect
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgflow_mp.context import Context


class Own:
    """The step's own handler."""

    def __repr__(self) -> str:
        return "the step's own handler"


OWN = Own()


class Injected(Exception):  # noqa: N818 - nobody made an error
    """A failure that a test asked for."""


class HungInline(BaseException):
    """Stands for a handler that hangs, where waiting for its timeout would prove nothing."""


# What an attempt does that goes wrong; it gets the work that the attempt would have done.
Act = Callable[[Callable[[], Any], "Context"], Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What `fails` and its relatives return: some attempts go wrong, the ones after them do something else."""

    times: int
    act: Act
    then: Any
    task: int | None = None


def fails(
    times: int = 1,
    then: Any = OWN,
    *,
    task: int | None = None,
    error: BaseException | type[BaseException] | None = None,
) -> Trouble:
    """Let a step fail the first attempts of each of its tasks.

    Args:
        times: How many attempts fail.
        then: What the attempts after them do: a fixed output, a function, or the step's own handler (default).
        task: Of a map step, the index of the one task that this happens to; all by default.
        error: What the failing attempts raise.
    """
    if error is not None and not is_exception(error):
        raise TypeError(f"fails(error={error!r}): give an exception to raise")
    return _trouble(
        "fails", times, Raise(error or Injected("this attempt fails because the test asked for it")), then, task
    )


def dies(times: int = 1, then: Any = OWN, *, task: int | None = None) -> Trouble:
    """Let the process of a step be killed in the first attempts of each of its tasks; needs ``executor="process"``.

    Args:
        times: How many attempts end so.
        then: As for `fails`.
        task: As for `fails`.
    """
    return _trouble("dies", times, Die(os.getpid()), then, task)


def hangs(times: int = 1, then: Any = OWN, *, task: int | None = None) -> Trouble:
    """Let a step hang past its timeout in the first attempts of each of its tasks; inline it takes no time.

    Args:
        times: How many attempts end so.
        then: As for `fails`.
        task: As for `fails`.
    """
    return _trouble("hangs", times, Hang(os.getpid()), then, task)


def forgets(times: int = 1, then: Any = OWN, *, task: int | None = None) -> Trouble:
    """Let a step do its work and lose the result in the first attempts: each task is done more than once.

    A queue delivers at least once, so production does this too, at the worst moment. A step is idempotent if the
    test finds the same with and without this.

    Args:
        times: How many attempts end so.
        then: What is done in all attempts; as for `fails`.
        task: As for `fails`.
    """
    return _trouble("forgets", times, Forget(), then, task)


def lags(times: int = 1, then: Any = OWN, *, task: int | None = None) -> Trouble:
    """Let the result of a step come too late in the first attempts: the task was given to another attempt by then.

    So it is in production when a worker is frozen or cut off for longer than a timeout allows. The work is done, its
    result changes nothing any more, and the next attempt does the work again.

    Args:
        times: How many attempts end so.
        then: What is done in all attempts; as for `fails`.
        task: As for `fails`.
    """
    return _trouble("lags", times, Lag(), then, task)


def disconnects(times: int = 1, then: Any = OWN, *, task: int | None = None) -> Trouble:
    """Let the connection be lost while the result of a step is written, after the database took it.

    The engine cannot know that it was taken and sends it again, which must change nothing: the work is done once.

    Args:
        times: In how many attempts.
        then: What is done in all attempts; as for `fails`.
        task: As for `fails`.
    """
    return _trouble("disconnects", times, Disconnect(), then, task)


def _trouble(name: str, times: int, act: Act, then: Any, task: int | None) -> Trouble:
    if times < 1:
        raise ValueError(f"{name}(times={times!r}): at least 1 attempt goes wrong")
    if task is not None and (not isinstance(task, int) or task < 0):
        raise ValueError(f"{name}(task={task!r}): the index of a task is a whole number from 0 on")
    return Trouble(times, act, then, task)


class TroubleFirst:
    """A handler that lets the first attempts go wrong and calls another handler in the later ones.

    Its signature is that of the other one and `ctx`, so it is given what that one asks for. Which attempt it is
    says the context and not a counter: the attempts of a task may run in different processes.
    """

    def __init__(self, trouble: Trouble, handler: Callable[..., Any]) -> None:
        self.act = trouble.act
        self._times = trouble.times
        self._task = trouble.task
        self._handler = handler
        signature = inspect.signature(self._handler)
        self._wants_ctx = "ctx" in signature.parameters
        self.__signature__ = signature if self._wants_ctx else _with_ctx(signature)

    def __call__(self, *, ctx: Context, **values: Any) -> Any:
        if self._wants_ctx:
            values["ctx"] = ctx
        if self.befalls(ctx.task_index, ctx.attempt):
            return self.act(lambda: self._handler(**values), ctx)
        return self._handler(**values)

    def befalls(self, task_index: int, attempt: int) -> bool:
        """Whether this attempt of this task goes wrong."""
        return attempt <= self._times and self._task in (None, task_index)


class Raise:
    """Raise an exception."""

    def __init__(self, error: BaseException | type[BaseException]) -> None:
        self._error = error

    def __call__(self, work: Callable[[], Any], ctx: Context) -> Any:  # noqa: ARG002 - an act
        raise fresh(self._error)


class Die:
    """Kill the process, as the kernel does when memory is short."""

    def __init__(self, test_pid: int) -> None:
        self._test_pid = test_pid

    def __call__(self, work: Callable[[], Any], ctx: Context) -> Any:  # noqa: ARG002 - an act
        if os.getpid() == self._test_pid:
            raise AssertionError('dies() would kill the test itself: run this flow with executor="process"')
        os.kill(os.getpid(), signal.SIGKILL)


class Hang:
    """Do nothing until somebody ends it; in the test's own process the runner takes it for that at once."""

    def __init__(self, test_pid: int) -> None:
        self._test_pid = test_pid

    def __call__(self, work: Callable[[], Any], ctx: Context) -> Any:  # noqa: ARG002 - an act
        if os.getpid() == self._test_pid:
            raise HungInline
        while True:
            time.sleep(ctx.timeout)


class Forget:
    """Do the work and lose what it returned."""

    def __call__(self, work: Callable[[], Any], ctx: Context) -> Any:  # noqa: ARG002 - an act
        result = work()
        if not inspect.isawaitable(result):
            raise Injected(_FORGOTTEN)
        return _forget(result)


class Lag:
    """Do the work; what comes of it is held up on its way (`pytest_pgflow._settling`)."""

    def __call__(self, work: Callable[[], Any], ctx: Context) -> Any:  # noqa: ARG002 - an act
        return work()


class Disconnect:
    """Do the work; the connection is lost while it is settled (`pytest_pgflow._settling`)."""

    def __call__(self, work: Callable[[], Any], ctx: Context) -> Any:  # noqa: ARG002 - an act
        return work()


async def _forget(result: Awaitable[Any]) -> Any:
    await result
    raise Injected(_FORGOTTEN)


_FORGOTTEN = "the result of this attempt is lost because the test asked for it"


def is_exception(value: object) -> bool:
    """Return whether the value can be raised."""
    return isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))


def fresh(error: BaseException | type[BaseException]) -> BaseException:
    """Return the exception to raise, without the traceback of the last time."""
    return (error() if isinstance(error, type) else error).with_traceback(None)


def _with_ctx(signature: inspect.Signature) -> inspect.Signature:
    ctx = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY)
    return signature.replace(parameters=[*signature.parameters.values(), ctx])
