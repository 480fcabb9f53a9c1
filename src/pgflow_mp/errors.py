"""Every error that pgflow-mp raises: a sentence that says what was wrong, where, and what to do.

All of them are `PgflowError`s. Where a built-in exception says the same thing (a lookup that found
nothing, a bad value, a time limit), the class is that exception too, so ``except LookupError`` and
``except TimeoutError`` do what a reader expects. All survive pickling with their attributes, since
errors cross process borders (pytest-xdist, the pool).
"""

# ruff: noqa: N818  (the names say what happened: FlowNotFound, RunFailed; decision D-18)

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow_mp.results import Run


def _rebuild(cls: type[PgflowError], args: tuple[Any, ...]) -> PgflowError:
    error = cls.__new__(cls)
    error.args = args
    return error


class PgflowError(Exception):
    """Something went wrong in pgflow-mp.

    Args:
        message: The sentence for the person who meets the error; the class's docstring if left out.
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else self._default_message())

    @classmethod
    def _default_message(cls) -> str:
        return (inspect.getdoc(cls) or cls.__name__).split("\n\n", 1)[0].replace("\n", " ")

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args), self.__dict__.copy()


class DefinitionError(PgflowError, TypeError):
    """The definition of a flow is not valid."""


class DatabaseUnreachable(PgflowError, ConnectionError):
    """The database cannot be reached; check the DSN and that the server runs."""


class PluginError(PgflowError):
    """A plugin cannot be used."""


class InvalidDsn(DatabaseUnreachable, ValueError):
    """The DSN is not valid; it looks like postgresql://user:password@host:5432/database."""


class NotInstalled(PgflowError):
    """This database has no pgflow yet; make it ready with `pgflow-mp install --dsn DSN`."""


class NotPermitted(PgflowError, PermissionError):
    """The database does not permit this to the role that asks."""


class InstallError(PgflowError):
    """The database could not be made ready for pgflow; nothing was changed."""


class FlowNotFound(PgflowError, LookupError):
    """There is no such flow in this database; create it with `pgflow-mp compile MODULE`."""


class StepNotFound(PgflowError, KeyError):
    """The flow has no such step."""


class RunNotFound(PgflowError, LookupError):
    """There is no such run in this database."""


class ScheduleNotFound(PgflowError, LookupError):
    """There is no such schedule in this database."""


class RunExists(PgflowError):
    """There is a run with this id already."""


class RunNotRetryable(PgflowError):
    """The run cannot be repeated: it is still going, or nothing of it failed."""


class WorkerNotFound(PgflowError, LookupError):
    """There is no such worker."""


class InvalidRunId(PgflowError, ValueError):
    """This is no run id: a run id is a UUID."""


class InvalidCursor(PgflowError, ValueError):
    """This is not where a page ended: pass what `next` of the page before was."""


class InvalidConnection(PgflowError, TypeError):
    """This is no connection whose transaction could be joined."""


class InvalidInput(PgflowError, ValueError):
    """The input cannot be used: it is no JSON, or not what the flow takes."""


class InvalidSchedule(PgflowError, ValueError):
    """The time or schedule cannot be used."""


class OutputError(PgflowError, ValueError):
    """The handler returned a value that is no JSON, or not what it says that it returns."""


class NonRetryable(PgflowError):
    """This task failed for good: trying again would not help.

    Raise it in a handler (or raise a subclass) to end the task at once, whatever attempts are left.
    """


class InvalidTaskInput(InvalidInput, NonRetryable):
    """What a task gets is not what its handler says that it takes; trying again would not help.

    The types are those of the handler's annotations (see docs/flows.md).
    """


class ShapeMismatch(PgflowError):
    """The flow in the database has another shape than the one in the code.

    Attributes:
        slug: The flow.
        differences: One sentence for each difference, as the database lists them (core 6.2).
    """

    def __init__(self, slug: str, differences: Sequence[str], message: str | None = None) -> None:
        self.slug = slug
        self.differences = tuple(differences)
        super().__init__(message if message is not None else self._describe())

    def _describe(self) -> str:
        listed = "".join(f"\n  - {difference}" for difference in self.differences)
        return (
            f"flow `{self.slug}` in the database differs from the one in the code:{listed}\n"
            f"Give the changed flow a new slug, or replace it by `pgflow-mp compile --recompile MODULE` "
            f"(`app.compile(flow, recompile=True)`), which deletes all its runs."
        )


class RunFailed(PgflowError):
    """The run failed.

    Attributes:
        run: The failed run with its steps.
    """

    def __init__(self, run: Run, message: str | None = None) -> None:
        self.run = run
        super().__init__(message if message is not None else self._describe())

    def _describe(self) -> str:
        reason = self.run.error or "no step reported an error"
        return f"run {self.run.run_id} of flow `{self.run.flow_slug}` failed: {reason}"


class RunTimeout(PgflowError, TimeoutError):
    """The run did not end in the time given; it goes on without us.

    Attributes:
        run_id: The run that is still going.
    """

    def __init__(self, run_id: UUID, message: str | None = None) -> None:
        self.run_id = run_id
        super().__init__(
            message
            if message is not None
            else f"run {run_id} did not end in the time given; it goes on, `get_run` tells how it ends"
        )


class ServerUnavailable(PgflowError):
    """No Postgres server could be had.

    Attributes:
        attempts: What was tried, in order: ``(kind, why it failed)``.
    """

    def __init__(self, attempts: Sequence[tuple[str, str]], message: str | None = None) -> None:
        self.attempts = list(attempts)
        super().__init__(message if message is not None else self._describe())

    def _describe(self) -> str:
        tried = "".join(f"\n  - {kind}: {reason}" for kind, reason in self.attempts)
        return f"no Postgres server could be had; tried:{tried}"
