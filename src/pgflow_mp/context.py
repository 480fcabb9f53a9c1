"""Context: what a handler may ask about the attempt it is running."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from pgflow_mp.errors import PgflowError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from uuid import UUID

    import psycopg

    # Generic for type checkers only: logging.LoggerAdapter takes no brackets before it is imported.
    Logger = logging.LoggerAdapter[logging.Logger]


MOST_MESSAGE: Final = 500
"""Characters of a progress message that are kept."""


class Services(Protocol):
    """What an attempt asks of whatever runs it; each executor has its own."""

    def flow_input(self) -> Any:
        """Return the run's input.

        Raises:
            PgflowError: It cannot be had here.
        """
        ...

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Take note of how far the task is; never raises, never waits."""

    def cancelled(self) -> bool:
        """Return whether nobody wants the result any more."""
        ...

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Lend a connection to the database."""
        ...

    def async_connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """Lend one that is awaited."""
        ...


class NoServices:
    """The services of a context that no worker stands behind."""

    def flow_input(self) -> Any:
        """Refuse."""
        raise PgflowError("this context was made without a run: it has no flow_input")

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Drop it."""

    def cancelled(self) -> bool:
        """Return False: nobody cancels this attempt."""
        return False

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Refuse."""
        raise PgflowError("this context was made without a worker: it has no connection")

    def async_connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """Refuse."""
        raise PgflowError("this context was made without a worker: it has no connection")


NO_SERVICES: Final = NoServices()


@dataclass(frozen=True, slots=True)
class Context:
    """The attempt that is running; a handler gets it in its parameter `ctx`.

    Attributes:
        flow_slug: The flow.
        run_id: The run.
        step_slug: The step.
        task_index: 0 for a single step, the element's place for a map step.
        attempt: 1 for the first attempt.
        timeout: Seconds that this attempt may take, counted from its start.
        deadline: When the attempt is ended, on the clock of `time.monotonic`.
        logger: Writes to ``pgflow_mp.flow.<flow>.<step>``; its records carry the ids above.
        services: What stands behind the methods.
    """

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    timeout: float
    deadline: float
    logger: Logger
    services: Services = field(default=NO_SERVICES, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result of this attempt any more: its run was cancelled, has failed, or is gone.

        Worth asking in a long handler with `executor="thread"`, which nothing can end from outside: it should return
        or raise then, with whatever. A process is killed instead, and a coroutine is cancelled.
        """
        return self.services.cancelled()

    @classmethod
    def begin(
        cls,
        *,
        flow_slug: str,
        run_id: UUID,
        step_slug: str,
        task_index: int = 0,
        attempt: int = 1,
        timeout: float = 60.0,
        services: Services = NO_SERVICES,
    ) -> Context:
        """Make the context of an attempt that starts now.

        Args:
            flow_slug: The flow.
            run_id: The run.
            step_slug: The step.
            task_index: The element's place in a map step.
            attempt: 1 for the first.
            timeout: Seconds that the attempt may take.
            services: What stands behind the methods.
        """
        ids: dict[str, Any] = {
            "flow_slug": flow_slug,
            "run_id": run_id,
            "step_slug": step_slug,
            "task_index": task_index,
            "attempt": attempt,
        }
        logger = logging.getLogger(f"pgflow_mp.flow.{flow_slug}.{step_slug}")
        return cls(
            **ids,
            timeout=timeout,
            deadline=time.monotonic() + timeout,
            logger=logging.LoggerAdapter(logger, ids),
            services=services,
        )

    def remaining(self) -> float:
        """Seconds left before the attempt is ended, 0.0 when the time is up."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def flow_input(self) -> Any:
        """The run's input as it was given, a JSON value; fetched when it is first asked for.

        Steps that always need it take it as their parameter `flow_input`, which comes along with the task.
        """
        return self.services.flow_input()

    @property
    def idempotency_key(self) -> str:
        """Names what this task is to do, for a service that shall do it once: the same at every attempt.

        Another one for each run, step and element. At most 180 ASCII characters, none of them a space.
        """
        return f"{self.run_id}/{self.step_slug}/{self.task_index}"

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Say how far the task is: ``ctx.progress(0.4, "page 40 of 100")``.

        Seen as `progress` of the task in `get_run_with_states`, a second later at most. It may be called as often as
        one likes: of very many calls some are dropped. It never fails a task because of the database.

        Args:
            fraction: From 0 to 1; what is beyond counts as the end that it is beyond.
            message: What is going on, in up to 500 characters; the rest is cut off.

        Raises:
            TypeError: The fraction is no number, or the message no text.
            ValueError: The fraction is NaN.
        """
        self.services.progress(_checked_fraction(fraction), _checked_message(message))

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Lend a connection to the database of the worker: ``with ctx.connection() as conn:``.

        It is opened when a handler first asks, and kept for the next task of the same child. Each statement is a
        transaction of its own; ``with conn.transaction():`` makes one of several. What is open at the end of the block
        is rolled back. It is psycopg's, and of the role that the worker has, or that `task_dsn` names.

        Raises:
            PgflowError: There is no worker behind this context, or this is an event loop.
            DatabaseUnreachable: (entering the block) No connection can be had.
        """
        return self.services.connection()

    def async_connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """Lend a connection for an `async def` handler: ``async with ctx.async_connection() as conn:``.

        As `connection`; tasks that share a loop never share a connection at once.
        """
        return self.services.async_connection()


def _checked_fraction(fraction: object) -> float | None:
    if fraction is None:
        return None
    if isinstance(fraction, bool) or not isinstance(fraction, int | float):
        raise TypeError(f"the fraction of ctx.progress(fraction, message) is a number from 0 to 1, not {fraction!r}")
    if fraction != fraction:
        raise ValueError("the fraction of ctx.progress is NaN; it is a number from 0 to 1")
    return min(1.0, max(0.0, float(fraction)))


def _checked_message(message: object) -> str | None:
    if message is None:
        return None
    if not isinstance(message, str):
        raise TypeError(f"the message of ctx.progress(fraction, message) is text, not {message!r}")
    return message[:MOST_MESSAGE].replace("\x00", "").encode("utf-8", "replace").decode()
