"""Context: what a handler may ask about the attempt it is running."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    # Generic for type checkers only: logging.LoggerAdapter takes no brackets before it is imported.
    Logger = logging.LoggerAdapter[logging.Logger]


def never() -> bool:
    """Return False: nobody cancels this attempt."""
    return False


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
        is_cancelled: What `cancelled` asks.
        logger: Writes to ``pgflow_mp.flow.<flow>.<step>``; its records carry the ids above.
    """

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    timeout: float
    deadline: float
    logger: Logger
    is_cancelled: Callable[[], bool] = field(default=never, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result of this attempt any more: its run was cancelled, has failed, or is gone.

        Worth asking in a long handler with `executor="thread"`, which nothing can end from outside: it should return
        or raise then, with whatever. A process is killed instead, and a coroutine is cancelled.
        """
        return self.is_cancelled()

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
        is_cancelled: Callable[[], bool] = never,
    ) -> Context:
        """Make the context of an attempt that starts now.

        Args:
            flow_slug: The flow.
            run_id: The run.
            step_slug: The step.
            task_index: The element's place in a map step.
            attempt: 1 for the first.
            timeout: Seconds that the attempt may take.
            is_cancelled: Tells whether the result is still wanted.
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
            is_cancelled=is_cancelled,
        )

    def remaining(self) -> float:
        """Seconds left before the attempt is ended, 0.0 when the time is up."""
        return max(0.0, self.deadline - time.monotonic())
