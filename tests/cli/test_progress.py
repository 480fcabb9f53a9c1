from __future__ import annotations

from typing import Any

import pytest

from pgflow_mp.cli.progress import Reporter, duration, summary
from pgflow_mp.core.queries.progress import RunProgress, StepProgress


def a_step(slug: str = "analyse", status: str = "started", **changes: Any) -> StepProgress:
    values: dict[str, Any] = {
        "is_map": True, "deps": (), "tasks": 3, "done": 0, "running": 0, "retrying": 0, "attempts": 1,
        "error": None, "skip_reason": None, "seconds": 1.0,
    }  # fmt: skip
    return StepProgress(slug=slug, status=status, **{**values, **changes})


def told(reporter: Reporter, *steps: StepProgress, at: float = 0.0, status: str = "started") -> list[str]:
    return reporter.lines(RunProgress(flow_slug="f", status=status, seconds=at, steps=steps))


def test_each_change_is_told_once():
    reporter = Reporter()
    assert told(reporter, a_step(status="created", tasks=None)) == []
    assert told(reporter, a_step()) == ["analyse: started, 3 tasks"]
    assert told(reporter, a_step()) == []
    assert told(reporter, a_step(status="completed", done=3)) == ["analyse: completed 3 tasks in 1.0 s"]
    assert told(reporter, a_step(status="completed", done=3)) == []


def test_a_step_that_came_and_went_between_two_looks_is_told_whole():
    lines = told(Reporter(), a_step(status="completed", is_map=False, tasks=1, seconds=0.05))
    assert lines == ["analyse: started", "analyse: completed in 0.05 s"]
    assert told(Reporter(), a_step(status="completed"))[0] == "analyse: started, 3 tasks"


def test_a_busy_map_speaks_once_a_second():
    reporter = Reporter()
    told(reporter, a_step(tasks=1000))
    spoken = [told(reporter, a_step(tasks=1000, done=done), at=done / 100) for done in range(1, 301)]
    lines = [line for lines in spoken for line in lines]
    assert lines == ["analyse: 100 of 1,000 done", "analyse: 200 of 1,000 done", "analyse: 300 of 1,000 done"]


def test_a_failed_attempt_is_told_with_its_first_line():
    reporter = Reporter()
    told(reporter, a_step())
    error = "ValueError: no\n  Traceback ..."
    assert told(reporter, a_step(retrying=1, error=error)) == [
        "analyse: 1 of 3 tasks will be tried again after: ValueError: no"
    ]
    assert told(reporter, a_step(retrying=1, error=error)) == []


def test_the_end_of_a_step_says_why():
    reporter = Reporter()
    assert told(reporter, a_step(status="skipped", skip_reason="condition_unmet", seconds=None)) == [
        "analyse: skipped: its condition was not met"
    ]
    dropped = a_step(
        status="skipped", skip_reason="handler_failed", is_map=False, attempts=2, error="ValueError: no\n  stack"
    )
    assert told(Reporter(), dropped)[-1] == "analyse: skipped: its handler failed after 2 attempts: ValueError: no"
    failed = a_step("charge", "failed", is_map=False, attempts=3, error="Boom: x\nstack")
    assert told(reporter, failed)[-1] == "charge: failed after 3 attempts: Boom: x"


def test_a_step_that_never_started_is_not_told_to_have_started():
    unmet = a_step(status="failed", seconds=None, error="Condition not met")
    assert told(Reporter(), unmet) == ["analyse: failed: Condition not met"]
    unmet = a_step(status="failed", seconds=None, error="Condition not met")
    reporter = Reporter()
    told(reporter, a_step(status="created", seconds=None, tasks=None))
    assert told(reporter, unmet) == ["analyse: failed: Condition not met"]


def test_one_task_is_no_tasks():
    reporter = Reporter()
    assert told(reporter, a_step(tasks=1)) == ["analyse: started, 1 task"]
    assert told(reporter, a_step(tasks=1, retrying=1, error="no")) == [
        "analyse: 1 of 1 task will be tried again after: no"
    ]
    steps = (a_step(done=1, tasks=1),)
    assert (
        summary(RunProgress(flow_slug="f", status="completed", seconds=4.2, steps=steps))
        == "completed in 4.2 s, 1 task done"
    )


def test_the_summary_counts_tasks_not_steps():
    steps = (a_step(done=3), a_step("report", is_map=False, done=1, tasks=1))
    assert (
        summary(RunProgress(flow_slug="f", status="completed", seconds=4.2, steps=steps))
        == "completed in 4.2 s, 4 tasks done"
    )
    assert (
        summary(RunProgress(flow_slug="f", status="started", seconds=4.2, steps=steps))
        == "running for 4.2 s, 4 tasks done"
    )


def test_the_summary_ends_the_lines_once():
    reporter, done = Reporter(), a_step(status="completed", done=3)
    assert told(reporter, done, status="completed")[-1] == "completed in 0.00 s, 3 tasks done"
    assert told(reporter, done, status="completed") == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"), (0.994, "0.99 s"), (0.999, "1.0 s"), (1.0, "1.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"),
        (125.4, "2 min 05 s"), (3599.6, "1 h 00 min"), (3720, "1 h 02 min"),
    ],
)  # fmt: skip
def test_durations_read_like_a_person_would_say_them(seconds, text):
    assert duration(seconds) == text


def test_what_a_handler_says_of_its_progress_is_told_once_a_second_at_most():
    reporter = Reporter()
    told(reporter, a_step(is_map=False))
    assert told(reporter, a_step(is_map=False, fraction=0.4, message="page 40"), at=1.0) == ["analyse: 40% page 40"]
    assert told(reporter, a_step(is_map=False, fraction=0.4, message="page 40"), at=3.0) == []
    assert told(reporter, a_step(is_map=False, fraction=0.5), at=3.0) == ["analyse: 50%"]
    assert told(reporter, a_step(is_map=False, message="page\x1b 51"), at=3.5) == []
    assert told(reporter, a_step(is_map=False, message="page\x1b 51"), at=4.0) == ["analyse: page\\x1b 51"]


def test_a_trouble_that_a_claim_hides_for_a_moment_is_told_once():
    reporter = Reporter()
    told(reporter, a_step())
    trouble = a_step(retrying=1, error="ValueError: no")
    assert len(told(reporter, trouble)) == 1
    assert told(reporter, a_step(running=1)) == []
    assert told(reporter, trouble) == []
    assert len(told(reporter, a_step(retrying=1, attempts=2, error="ValueError: no"))) == 1
