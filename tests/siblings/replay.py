"""A worker of another language, replayed: it sends exactly the calls of its generation, typed as its driver types them.

It is no sibling's program: what is known of one is its calls (generations 8). A handler is a Python function of the
task, which the test gives. Everything else is as in the sibling: read, claim, work, complete or fail; beat every 5 s;
the Elixir worker also recovers and looks for orphans every 15 s.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import pq

from .forms import FORMS
from .parameters import as_text, driver_types

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from pgflow_mp.definition import FlowDefinition

    from .generations import Generation

__all__ = ["Refused", "Replayed"]

BEAT_SECONDS = 5.0
RECOVER_SECONDS = 15.0
FORM = {form.name: form for form in FORMS}


class Refused(Exception):
    """The database refused a call."""


@dataclass
class Replayed:
    """One worker.

    Args:
        conn: Its connection, which commits each call by itself.
        generation: Whose calls it sends.
        flow: What it serves; its queue is that of the flow.
        handle: Called with each task as a dict of columns; returns what it outputs, or raises.
        most: How many messages it reads at once.
        step: The one step that it serves, when the flow has a queue for each (0.17).

    Attributes:
        worker_id: Of its row.
        told_to_stop: A beat has found it deprecated.
    """

    conn: psycopg.Connection[Any]
    generation: Generation
    flow: FlowDefinition
    handle: Callable[[dict[str, Any]], Any]
    most: int = 10
    step: str | None = None
    worker_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    told_to_stop: bool = False
    _next_beat: float = 0.0
    _next_recovery: float = 0.0

    @property
    def queue(self) -> str:
        """The queue that it reads."""
        return self._queue_of(self.step)

    def _queue_of(self, step: str | None) -> str:
        return self.flow.slug.lower() if self.step is None else f"{self.flow.slug}__{step}".lower()

    def send(self, name: str, *values: Any) -> list[dict[str, Any]]:
        """Send the form of that name with values of its own; return the rows by name, as text."""
        form = FORM[name]
        kinds = [each.partition(":")[0] for each in form.parameters]
        texts = [None if value is None else as_text(kind, value) for kind, value in zip(kinds, values, strict=True)]
        result = self.conn.pgconn.exec_params(
            form.sql.replace("q_greet", f"q_{self.queue}").encode(),
            [None if text is None else text.encode() for text in texts],
            driver_types(form),
        )
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise Refused(result.error_message.decode())
        names = [(result.fname(place) or b"").decode() for place in range(result.nfields)]
        return [
            {
                name: None if (cell := result.get_value(row, place)) is None else cell.decode()
                for place, name in enumerate(names)
            }
            for row in range(result.ntuples)
        ]

    # Its life -----------------------------------------------------------------------------------------------

    def start_up(self) -> None:
        """Send what it sends before its first poll."""
        if self.generation.elixir:  # which compiles in one transaction
            with self.conn.transaction():
                for name in self.generation.start_up[:-1]:
                    self._start_up(name)
            self._start_up(self.generation.start_up[-1])
        else:
            for name in self.generation.start_up:
                self._start_up(name)
        self.beat()

    def _start_up(self, name: str) -> None:
        slug, shape = self.flow.slug, self.flow.shape()
        routes = [{"stepSlug": each.slug, "queueName": self._queue_of(each.slug)} for each in self.flow.steps]
        mode = "flow" if self.step is None else "step"
        own_queue = slug if self.generation.queue_as_written else self.queue
        given = {
            "TS 0.14 track": ["replayed"],
            "TS 0.15 process track": ["replayed", "process"],
            "Elixir track": [f"elixir:{slug}"],
            "TS 0.14, 0.15 compile": [slug, shape, False],
            "TS 0.16 compile": [slug, shape],
            "Elixir compile": [slug, shape],
            "TS 0.17 compile": [slug, shape, mode, routes],
            "Elixir flow type": [slug, "flow"],
            "TS worker row": [own_queue, self.worker_id, "replayed"],
            "TS 0.17.1 worker row": [own_queue, self.worker_id, "replayed", "0.17.1"],
            "Elixir worker row": [self.worker_id, own_queue, f"elixir:{slug}"],
        }
        found = self.send(name, *given[name])
        if "compile" in name:
            answer = json.loads(found[0]["ensure_flow_compiled"])
            if answer["status"] == "mismatch":
                raise Refused(f"{name}: {answer}")

    def beat(self) -> None:
        """Say that it lives; note that it shall stop."""
        found = self.send("Elixir heartbeat" if self.generation.elixir else "TS heartbeat", self.worker_id)
        if not found:
            self.told_to_stop = self.generation.stops_without_row
        elif self.generation.elixir:
            self.told_to_stop = found[0]["deprecated_at"] is not None
        else:
            self.told_to_stop = found[0]["is_deprecated"] == "t"
        self._next_beat = time.monotonic() + BEAT_SECONDS

    def stop(self) -> None:
        """Say that it has stopped."""
        self.send("stop", self.worker_id)

    def recover(self) -> None:
        """Send what the Elixir worker sends every 15 s."""
        self.send("Elixir recovery", 30)
        orphans = [each["msg_id"] for each in self.send("Elixir orphans", self.queue)]
        if orphans:
            self.send("Elixir archive", self.queue, orphans)
        self._next_recovery = time.monotonic() + RECOVER_SECONDS

    # Its work -----------------------------------------------------------------------------------------------

    def poll(self, seconds: float = 1.0) -> int:
        """Beat when it is time, read, claim, and do what was claimed; return how many tasks that were."""
        if time.monotonic() > self._next_beat:
            self.beat()
        if self.generation.elixir and time.monotonic() > self._next_recovery:
            self.recover()
        if self.generation.elixir:
            messages = self.send("Elixir poll", self.queue, 30, self.most)
        else:
            messages = self.send("TS poll", self.queue, 2, self.most, max(1, int(seconds)), 50)
        tasks = self.claim([each["msg_id"] for each in messages]) if messages else []
        for task in tasks:
            self.perform(task)
        return len(tasks)

    def claim(self, messages: list[str]) -> list[dict[str, Any]]:
        """Claim the tasks of messages that it has read; their ids go as decimal texts (8.2 note 1)."""
        if self.generation.elixir:
            self.send("Elixir effective options", self.flow.slug, [each.slug for each in self.flow.steps])
        name = self.generation.claim if self.step is None else "TS 0.17 claim of one step"
        more = [] if name == "TS 0.8-0.16 claim" else [self.queue] if self.step is None else [self.queue, self.step]
        found = self.send(name, self.flow.slug, messages, self.worker_id, *more)
        for task in found:
            task["input"] = json.loads(task["input"])
            task["flow_input"] = None if task["flow_input"] is None else json.loads(task["flow_input"])
            task["task_index"] = int(task["task_index"])
        return found

    def perform(self, task: dict[str, Any]) -> None:
        """Call the handler, and tell what came of it."""
        family = "Elixir" if self.generation.elixir else "TS"
        key = (task["run_id"], task["step_slug"], task["task_index"])
        try:
            output = self.handle(task)
        except Exception as error:  # whatever a handler raises fails its task
            self.send(f"{family} fail", *key, str(error))
        else:
            self.send(f"{family} complete", *key, output)
