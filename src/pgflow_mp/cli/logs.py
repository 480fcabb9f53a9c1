"""Log records as lines on stderr: the library configures no handlers, a program must.

A record that was made in a handler carries its task (`pgflow_mp.executors.process.logs`); its line begins with it,
as lines that a handler prints do.
"""

from __future__ import annotations

import logging
import sys


class TaskFormatter(logging.Formatter):
    """Formats like its base, with ``flow.step[index]`` in front where the record has a task."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Put the task before the line."""
        step_slug = getattr(record, "step_slug", None)
        if step_slug is None:
            return super().formatMessage(record)
        task = f"{getattr(record, 'flow_slug', '')}.{step_slug}[{getattr(record, 'task_index', 0)}]"
        return f"{task} {super().formatMessage(record)}"


class StderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: a live display puts the line above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 - logging never breaks what logs
            self.handleError(record)


def to_stderr(level: int, line_format: str) -> None:
    """Send all log records of this process, and of its children, to stderr.

    Args:
        level: The least that is shown, as in `logging`.
        line_format: What a line looks like, as in `logging.Formatter`.
    """
    handler = StderrHandler()
    handler.setFormatter(TaskFormatter(line_format))
    logging.root.addHandler(handler)
    logging.root.setLevel(level)
