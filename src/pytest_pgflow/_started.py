"""A run that a test takes to its end step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pgflow._pointing import pointing

if TYPE_CHECKING:
    from uuid import UUID

    from pytest_pgflow._batch import Batch
    from pytest_pgflow._results import FlowRun
    from pytest_pgflow._runner import FlowRunner


class StartedRun:
    """A run that was started and is worked off on demand.

    Attributes:
        run_id: The run.
    """

    def __init__(self, runner: FlowRunner, batch: Batch) -> None:
        self._runner = runner
        self._batch = batch
        self.run_id: UUID = batch.run_ids[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._batch.definition.slug} {self.run_id}>"

    @pointing
    def look(self) -> FlowRun:
        """Return the run as it is now."""
        return self._batch.results(check=False)[0]

    @pointing
    def drain(self, *, timeout: float | None = None, check: bool = True, skip_delays: bool | None = None) -> FlowRun:
        """Work the run off to its end; args and errors are those of `FlowRunner.run`."""
        __tracebackhide__ = True
        self._batch.drive(self._runner.deadline(timeout), skip=self._runner.skips(skip_delays))
        return self._batch.results(check=check)[0]

    @pointing
    def advance(
        self, *, until: str, timeout: float | None = None, check: bool = True, skip_delays: bool | None = None
    ) -> FlowRun:
        """Work the run off until a step is completed, failed or skipped, or the run has ended (D-23).

        Args:
            until: The step.
            timeout: Seconds that it may take.
            check: Raise when the run fails.
            skip_delays: Skip delays in the database, or wait for them.

        Raises:
            StepNotFound: The flow has no such step.
        """
        __tracebackhide__ = True
        self._batch.definition.step(until)
        deadline = self._runner.deadline(timeout)
        self._batch.drive(deadline, skip=self._runner.skips(skip_delays), until=lambda: self._is_over(until))
        return self._batch.results(check=check)[0]

    def _is_over(self, slug: str) -> bool:
        step = self.look().steps[slug]
        return step.completed or step.failed or step.skipped
