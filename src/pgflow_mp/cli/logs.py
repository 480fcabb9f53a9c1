"""Log records as lines on stderr: the library configures no handlers, a program must.

A record that was made in a handler carries its task (`pgflow_mp.executors.process.logs`); its line begins with it,
as lines that a handler prints do: with step and run, or with the step alone where there is one run only. As JSON, a
printed line is an object like any other.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pgflow_mp.executors.process import logs

if TYPE_CHECKING:
    from pgflow_mp.executors.base import TaskCall

#: What a record says of its task; None in JSON where it has none.
_TASK: Final = ("flow_slug", "run_id", "step_slug", "task_index", "attempt")


#: The logger of what handlers print, where the log is JSON.
PRINTED: Final = "pgflow_mp.printed"


class TaskFormatter(logging.Formatter):
    """Formats like its base, with ``flow.step[index]``, and the run, in front where the record has a task."""

    def __init__(self, line_format: str, *, with_run: bool) -> None:
        super().__init__(line_format)
        self._with_run = with_run

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Put the task before the line."""
        step_slug = getattr(record, "step_slug", None)
        if step_slug is None:
            return super().formatMessage(record)
        task = f"{getattr(record, 'flow_slug', '')}.{step_slug}[{getattr(record, 'task_index', 0)}]"
        run = f" {getattr(record, 'run_id', '')}" if self._with_run else ""
        return f"{task}{run} {super().formatMessage(record)}"


class JsonFormatter(logging.Formatter):
    """One object a record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record as JSON."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat()
        fields: dict[str, Any] = {
            "at": at, "level": record.levelname, "logger": record.name, "message": record.getMessage()
        }  # fmt: skip
        fields |= {name: getattr(record, name, None) for name in _TASK}
        stack = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else None)
        return json.dumps({**fields, "stack": stack}, ensure_ascii=False, default=str)


class StderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: a live display puts the line above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 - logging never breaks what logs
            self.handleError(record)


def to_stderr(level: int, line_format: str | None, *, with_run: bool = False) -> None:
    """Send all log records of this process, and of its children, to stderr.

    Args:
        level: The least that is shown, as in `logging`.
        line_format: What a line looks like, as in `logging.Formatter`; None for JSON.
        with_run: Whether the line of a task names its run.
    """
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if line_format is None else TaskFormatter(line_format, with_run=with_run))
    logging.root.addHandler(handler)
    logging.root.setLevel(level)


def print_json(call: TaskCall | None, text: str) -> None:
    """Write what children print (an `OutputSink`): one object for each line, with the keys of a log record."""
    task = {} if call is None else logs.task_fields(call)
    for line in text.splitlines():
        fields = {"name": PRINTED, "levelno": logging.INFO, "levelname": "INFO", "msg": line, **task}
        print(JsonFormatter().format(logging.makeLogRecord(fields)), file=sys.stderr, flush=True)
