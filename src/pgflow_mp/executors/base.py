"""What every executor takes and gives back: a `TaskCall` in, one `Outcome` out.

An executor promises that each submitted call meets exactly one of three fates: its outcome goes to
`on_outcome`, or the call comes back from `take_back` (it never started), or from `close` (it did not
finish). Values travel as JSON text, never as objects: what a task returned is checked and encoded where it
ran (D-6), and an error is text, because an exception class of a user may not survive unpickling.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from pgflow_mp.definition import FlowDefinition, StepDefinition
    from pgflow_mp.executors.status import ExecutorStatus
    from pgflow_mp.hooks.events import ChildInfo, FailureReason


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TaskCall:
    """One attempt of one task, claimed and ready to run. Compared by identity: two claims are two calls.

    Attributes:
        flow: The flow that the task belongs to.
        step: The step whose handler runs.
        run_id: The run.
        task_index: 0, or the element of a map step.
        attempt: 1 for the first attempt; with `worker_id` it names the claim when settling (D-5).
        worker_id: The worker row that claimed it.
        msg_id: Its queue message.
        timeout: Seconds that the handler may take; counted from the moment that a child gets the call.
        input: The task's input as JSON text in UTF-8.
        flow_input: The run's input as JSON text, where the claim sent it along; None otherwise.
        carriers: What plugins passed along, JSON text `[of the run, [of each parent's task]]`; empty where nothing is.
    """

    flow: FlowDefinition
    step: StepDefinition
    run_id: UUID
    task_index: int
    attempt: int
    worker_id: UUID
    msg_id: int
    timeout: float
    input: bytes
    flow_input: bytes | None = None
    carriers: bytes = b""


@dataclass(frozen=True, slots=True)
class Completed:
    """The handler returned.

    Attributes:
        call: What ran.
        output: JSON text, or None where the handler returned None: SQL NULL (D-8).
        seconds: How long the handler ran.
        carrier: What plugins leave for the tasks that follow, a JSON object; None where there is none.
    """

    call: TaskCall
    output: str | None
    seconds: float = 0.0
    carrier: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; whether there is another one is the database's decision.

    Attributes:
        call: What ran.
        error: Text for `error_message`: what happened in the first line, a bounded traceback below (D-24).
        reason: `raised` by the handler, `timeout`, `lost` (its process died), `output` (what it
            returned is no JSON) or `cancelled` (by `Executor.cancel`).
        retryable: False ends the task at once, whatever attempts are left (`NonRetryable`).
        seconds: How long the attempt ran.
        exception: What the handler raised, where it ran in this process (inline); for re-raising in a test.
        retry_delay: Seconds until the next attempt, where a plugin has decided that; None leaves it to the step.
    """

    call: TaskCall
    error: str
    reason: FailureReason
    retryable: bool = True
    seconds: float = 0.0
    exception: BaseException | None = field(default=None, compare=False, repr=False)
    retry_delay: float | None = None


Outcome: TypeAlias = Completed | Failed

CANCELLED = "Task cancelled"
"""The error of a call that was cancelled. Nobody stores it: the task has ended in the database before."""


class Witness(Protocol):
    """Is told by an executor, in its loop, what nobody else sees. Must not raise."""

    def call_started(self, call: TaskCall) -> None:
        """A handler begins with the call now; again, where its event loop died under it."""

    def child_started(self, child: ChildInfo) -> None:
        """A child process is up and takes calls."""

    def child_lost(self, child: ChildInfo, code: int | None, cause: str, calls: Sequence[TaskCall]) -> None:
        """A child process has ended that was not told to, or was killed because a call was past its time.

        Args:
            child: The child.
            code: Its exit status, negative for a signal; None where nobody knows.
            cause: The same in words, with its last words.
            calls: What it was running.
        """


class Errands(Protocol):
    """What a worker does for the tasks that run (`ctx`).

    Attributes:
        dsn: The database that handlers may connect to; given to those that ask.
    """

    dsn: str

    def progress(self, call: TaskCall, fraction: float | None, message: str | None) -> None:
        """Take note of how far a task is; called in the loop."""

    async def flow_input(self, call: TaskCall) -> bytes:
        """Return the input of the task's run as JSON text."""
        ...


class Executor(Protocol):
    """Runs calls elsewhere than in the loop that submits them, and reports to that loop.

    Attributes:
        on_outcome: Called in the loop with each outcome; set at construction.
        on_room: Called in the loop when `free` has grown without an outcome (a child came up), if set.
    """

    on_outcome: Callable[[Outcome], None]
    on_room: Callable[[], None] | None

    @property
    def size(self) -> int:
        """How many calls can run at once."""
        ...

    @property
    def free(self) -> int:
        """How many more calls would start at once: idle children less queued calls, so below 0 in a queue."""
        ...

    async def start(self) -> None:
        """Make it ready to run calls, or raise an error that says why it cannot."""
        ...

    def submit(self, call: TaskCall) -> None:
        """Run the call now where there is room, else when there is. Never blocks."""
        ...

    def take_back(self, older_than: float) -> list[TaskCall]:
        """Give back, oldest first, the calls that have waited `older_than` seconds unstarted (D-27)."""
        ...

    def calls(self) -> list[TaskCall]:
        """Return the calls that it has, running or waiting."""
        ...

    def cancel(self, call: TaskCall) -> None:
        """End a call whose result is not wanted: its outcome is `Failed`, `cancelled`. Others are left alone.

        A call that waits never starts. One in a thread is told, and runs on for as long as its handler likes; its
        outcome is what comes of it. A call that the executor does not have (any more) is ignored.
        """
        ...

    def reload(self) -> None:
        """Use the code as it is now from the next call on; no call is lost."""
        ...

    def status(self) -> ExecutorStatus:
        """Tell what it is doing."""
        ...

    async def close(self, grace: float) -> list[TaskCall]:
        """Let running calls finish for up to `grace` seconds, end all, return what did not finish."""
        ...
