"""Log records of handlers: made in a child, handled in the parent with run, step and task attached.

A child has the levels of the parent's loggers, so that a record nobody wants costs nothing. Records travel as
JSON in LOG frames, bounded in size and in number for each task: a handler that logs in a loop must not drown
the parent.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Protocol

from pgflow_mp.executors.process import wire
from pgflow_mp.executors.process.wire import Kind

if TYPE_CHECKING:
    from pgflow_mp.executors.base import TaskCall

MAX_RECORDS = 1000
"""Records that one task may send; one more says that the rest is dropped."""
_COUNTED_TASKS = 1000
MAX_TEXT = 16 * 1024
"""Characters of a message, and of its traceback."""


def levels() -> dict[str, int]:
    """Return the level of every logger of this process that has one; the root logger is ''."""
    known = logging.root.manager.loggerDict.copy()
    found = {name: log.level for name, log in known.items() if isinstance(log, logging.Logger) and log.level}
    return {"": logging.root.level, **found}


def handle(payload: bytes, call: TaskCall | None) -> None:
    """Handle a child's record here as if it had been made here.

    Args:
        payload: Of the LOG frame.
        call: What the child was running; the record gets `flow_slug`, `run_id`, `step_slug`, `task_index` and
            `attempt` from it.
    """
    fields = json.loads(payload)
    log = logging.getLogger(fields["name"])
    if not log.isEnabledFor(fields["levelno"]):
        return
    if call is not None:
        fields |= task_fields(call)
    log.handle(logging.makeLogRecord(fields))


def task_fields(call: TaskCall) -> dict[str, Any]:
    """Return what a record says of the task that it belongs to."""
    return {
        "flow_slug": call.flow.slug,
        "run_id": call.run_id,
        "step_slug": call.step.slug,
        "task_index": call.task_index,
        "attempt": call.attempt,
    }


# In the child ----------------------------------------------------------------------------------------------


class Sender(Protocol):
    """The child's end of the task pipe."""

    @property
    def number(self) -> int:
        """The task that logs."""

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Write one frame."""


class Courier(logging.Handler):
    """The root handler of a child: sends records to the parent."""

    def __init__(self, link: Sender) -> None:
        super().__init__()
        self._link = link
        self._sent: dict[int, int] = {}  # by task

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record, unless its task has sent too many."""
        number = self._link.number
        sent = self._count(number)
        if sent > MAX_RECORDS + 1:
            return
        try:
            fields = self._fields(record)
            if sent > MAX_RECORDS:
                fields["msg"] = f"more than {MAX_RECORDS} log records of one task: the rest is dropped"
            self._link.send(Kind.LOG, number, wire.pack_json(fields))
        except Exception:  # noqa: BLE001 - logging never breaks the handler that logs
            self.handleError(record)

    def _count(self, number: int) -> int:
        if number not in self._sent and len(self._sent) >= _COUNTED_TASKS:
            del self._sent[min(self._sent)]  # the oldest: it has most likely ended
        self._sent[number] = self._sent.get(number, 0) + 1
        return self._sent[number]

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        text = record.exc_text
        if text is None and record.exc_info:
            text = logging.Formatter().formatException(record.exc_info)
        return {
            "name": record.name,
            "levelno": record.levelno,
            "levelname": record.levelname,
            "msg": record.getMessage()[:MAX_TEXT],
            "exc_text": text[-MAX_TEXT:] if text else None,
            "pathname": record.pathname,
            "filename": record.filename,
            "module": record.module,
            "lineno": record.lineno,
            "funcName": record.funcName,
            "created": record.created,
            "process": record.process,
            "threadName": record.threadName,
        }


def install(link: Sender, wanted: dict[str, int]) -> None:
    """Send what is logged in this process to the parent, at the parent's levels."""
    for name, level in wanted.items():
        logging.getLogger(name or None).setLevel(level)
    logging.root.addHandler(Courier(link))


def remove() -> None:
    """Stop sending (a process that a handler has forked)."""
    for handler in logging.root.handlers.copy():
        if isinstance(handler, Courier):
            logging.root.removeHandler(handler)
