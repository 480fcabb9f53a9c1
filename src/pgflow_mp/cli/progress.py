"""What is going on in a run, in words: one line for each thing that changed between two looks at it.

Pure: snapshots in, text out. The lines are for logs and pipes; a busy map step says how far it is at most
once a second. The words are shared with the live display of a terminal (`screen`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgflow_mp.cli.text import safe
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.queries.progress import RunProgress, StepProgress

#: Seconds between two lines that only say how far a step is.
QUIET: Final = 1.0

#: What the contract's skip reasons mean to a reader (core 2.5).
_SKIP_REASONS: Final = {
    "condition_unmet": "its condition was not met",
    "handler_failed": "its handler failed",
    "dependency_skipped": "a step that it depends on was skipped",
}


class Reporter:
    """Turns successive snapshots of one run into lines."""

    def __init__(self) -> None:
        self._seen: dict[str, StepProgress] = {}
        self._troubles: dict[str, tuple[int, str | None]] = {}
        self._said: dict[str, str] = {}
        self._spoke_at = 0.0
        self._summed_up = False

    def lines(self, progress: RunProgress) -> list[str]:
        """What is new since the last call, in definition order of the steps; at the end, the summary."""
        news = [line for step in progress.steps for line in self._news_of(step, progress.seconds)]
        if progress.ended and not self._summed_up:
            self._summed_up = True
            news.append(summary(progress))
        return news

    def _news_of(self, step: StepProgress, now: float) -> Iterator[str]:
        before = self._seen.get(step.slug)
        self._seen[step.slug] = step
        was = before.status if before else "created"
        if step.status != was:
            if was == "created" and step.seconds is not None:  # else it ended without a start: condition, parent
                yield f"{step.slug}: started{f', {_tasks_of(step)}' if _is_counted(step) else ''}"
            if step.ended:
                yield f"{step.slug}: {outcome(step)}"
            return
        if step.status != "started" or before is None:
            return
        trouble_now = (step.attempts, step.error)
        if step.retrying and self._troubles.get(step.slug) != trouble_now:  # a claim may hide it for a moment
            self._troubles[step.slug] = trouble_now
            yield f"{step.slug}: {trouble(step)}"
        if said(step) not in ("", self._said.get(step.slug)) and now - self._spoke_at >= QUIET:
            self._spoke_at = now
            self._said[step.slug] = said(step)
            yield f"{step.slug}: {said(step)}"
        if _is_counted(step) and step.done != before.done:
            if now - self._spoke_at < QUIET:
                self._seen[step.slug] = before  # say it later
                return
            self._spoke_at = now
            yield f"{step.slug}: {step.done:,} of {step.tasks:,} done"


def outcome(step: StepProgress) -> str:
    """How a step ended, in a few words."""
    if step.status == "completed":
        what = f"completed {_tasks_of(step)}" if _is_counted(step) else "completed"
        return f"{what} in {duration(step.seconds or 0.0)}{_tries_of(step)}"
    if step.status == "skipped":
        return f"skipped: {skipped_because(step)}"
    return f"failed{_tries_of(step)}: {first_line(step.error)}"


def trouble(step: StepProgress) -> str:
    """Which attempts failed although the step goes on."""
    tasks = "the task" if step.retrying == 1 and not step.is_map else f"{step.retrying:,} of {_tasks_of(step)}"
    return f"{tasks} will be tried again after: {first_line(step.error)}"


def skipped_because(step: StepProgress) -> str:
    """Why a step was skipped, as a half sentence, with the error where there was one."""
    why = skip_words(step.skip_reason)
    return f"{why}{_tries_of(step)}: {first_line(step.error)}" if step.error else why


def said(step: StepProgress) -> str:
    """What a running task of the step said last of its progress: ``40% page 40 of 100``; nothing where it did not."""
    fraction = "" if step.fraction is None else f"{step.fraction:.0%}"
    return " ".join(filter(None, (fraction, first_line(step.message) if step.message else "")))


def skip_words(reason: str | None) -> str:
    """What a skip reason means; it is free text to the database, so an unknown one is given as it is."""
    return _SKIP_REASONS.get(reason or "", reason or "no reason given")


def summary(progress: RunProgress) -> str:
    """The run in one line: how long, and how many tasks are done."""
    tasks = sum(step.done for step in progress.steps)
    status = f"{progress.status} in" if progress.ended else "running for"
    return f"{status} {duration(progress.seconds)}, {counted(tasks, 'task')} done"


def duration(seconds: float) -> str:
    """Seconds for a reader: ``0.12 s``, ``3.4 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def first_line(error: str | None) -> str:
    """The line of an error that says what happened; the stack follows below it (D-24)."""
    return safe((error or "no error was recorded").strip().split("\n", 1)[0])


def _is_counted(step: StepProgress) -> bool:
    return step.is_map and step.tasks is not None


def _tasks_of(step: StepProgress) -> str:
    return counted(step.tasks or 0, "task")


def _tries_of(step: StepProgress) -> str:
    return f" after {step.attempts} attempts" if step.attempts > 1 else ""
