"""The state machine of one run in plain Python, written from the contract's text alone.

Rule numbers are those of the contract (core CT-4, generations TS-1, ...) and of the decisions (D-5). Time is a number
of seconds that the program advances. A method changes the run as one call of the database would and appends what it
emits to `events`: a list of groups; the order of groups is promised, the order inside a group is not.
"""

from __future__ import annotations

import copy
from collections import Counter

from .definition import Flow, Json, Step
from .rows import OPEN, Event, OneOf, State, Task
from .values import contains, json_type

DAY = 86_400
STALL_MARGIN = 30  # ST-1
CLAIM_MARGIN = 2  # ST5-2
STALLS = 3  # ST-3


class Run:
    """One run from its start on."""

    def __init__(self, flow: Flow, run_input: Json, now: float) -> None:
        self.flow = flow
        self.input = run_input
        self.status = "started"
        self.output: Json | None = None
        self.remaining_steps = len(flow.steps)
        self.tasks: dict[tuple[str, int], Task] = {}
        self.events: list[list[Event]] = []
        self.states = {step.slug: self._created(step) for step in flow.steps}  # core 3.6.3
        self._send_run("run:started", input=run_input.value, remaining_steps=self.remaining_steps)
        self._advance(now)

    def copy(self) -> Run:
        other = copy.copy(self)
        other.states = {slug: copy.copy(state) for slug, state in self.states.items()}
        other.tasks = {key: copy.copy(task) for key, task in self.tasks.items()}
        for task in other.tasks.values():
            task.history = set(task.history)
        other.events = list(self.events)
        return other

    def _created(self, step: Step) -> State:
        known: int | None = 1
        if step.is_map:
            known = None if step.deps else len(self.input.value)
        return State(remaining_deps=len(step.deps), initial_tasks=known)

    @property
    def ended(self) -> bool:
        return self.status != "started"

    # Events

    def _send_run(self, event: str, **payload: object) -> None:
        when = {"run:started": "started_at", "run:completed": "completed_at", "run:failed": "failed_at"}[event]
        fixed = {"flow_slug": self.flow.slug, "status": event.removeprefix("run:")}
        self.events.append([Event(event, {"event_type": event, **fixed, **payload}, frozenset({when}))])

    def _step_event(self, slug: str, status: str, *times: str, **payload: object) -> Event:
        fixed = {"event_type": f"step:{status}", "status": status, "step_slug": slug}
        return Event(f"step:{slug}:{status}", {**fixed, **payload}, frozenset(times))

    def _send_step(self, slug: str, status: str, *times: str, **payload: object) -> None:
        self.events.append([self._step_event(slug, status, *times, **payload)])

    # What follows from a start, a completion, a skip

    def _advance(self, now: float) -> None:
        """Conditions, then empty maps, conditions again (A-4), then whatever can start; last the run's end."""
        while self._resolve_conditions():
            if not self._complete_taskless_round():
                self._start_ready(now)
                self._maybe_complete()
                return

    def _parent_outputs(self, step: Step) -> dict[str, object]:
        """Completed parents only; SQL NULL as JSON null (3.9.3, 3.9.11, 3.13.3)."""
        found = {}
        for parent in step.deps:
            state = self.states[parent]
            if state.status == "completed":
                found[parent] = None if state.output is None else state.output.value
        return found

    def _unmet(self, mode: str) -> list[Step]:
        """Ready steps whose condition does not hold (3.9.2 to 3.9.4)."""
        found = []
        for step in self.flow.steps:
            state = self.states[step.slug]
            ready = state.status == "created" and state.remaining_deps == 0
            if not ready or step.when_unmet != mode or not (step.when or step.unless):
                continue
            tested = self._parent_outputs(step) if step.deps else self.input.value
            required = step.when is None or contains(tested, step.when.value)
            forbidden = step.unless is not None and contains(tested, step.unless.value)
            if not required or forbidden:
                found.append(step)
        return found

    def _resolve_conditions(self) -> bool:
        """core 3.9; False: the run has failed."""
        while True:
            # Children that a plain skip frees are candidates of the next round (3.9.7).
            failing, skipped, cascading = (self._unmet(mode) for mode in ("fail", "skip", "skip-cascade"))
            if failing:
                self._fail_by_condition(failing[0])
                return False
            for step in skipped:
                self._skip(step.slug, "condition_unmet")
            if skipped:
                times = ("skipped_at",)
                about = {"flow_slug": self.flow.slug, "skip_reason": "condition_unmet"}
                self.events.append([self._step_event(s.slug, "skipped", *times, **about) for s in skipped])
                self._release_children_of_skipped([s.slug for s in skipped])
            for step in cascading:
                self._force_skip(step.slug, "condition_unmet")
            if not skipped:
                return True

    def _fail_by_condition(self, step: Step) -> None:
        """3.9.6, generations 2.4."""
        text = "Condition not met"
        state = self.states[step.slug]
        state.status, state.error = "failed", text
        self._send_step(step.slug, "failed", "failed_at", error_message=text)
        self.status = "failed"
        self._send_run("run:failed", error_message=text)
        self._end_open_tasks("cancelled")

    def _skip(self, slug: str, reason: str) -> None:
        state = self.states[slug]
        state.status, state.skip_reason, state.remaining_tasks = "skipped", reason, None
        self.remaining_steps -= 1

    def _release_children_of_skipped(self, slugs: list[str]) -> None:
        """Plain skips: children lose as many parents as were skipped; their only map child is empty (3.9.7)."""
        for child, count in Counter(c.slug for slug in slugs for c in self.flow.children(slug)).items():
            self.states[child].remaining_deps -= count
            step = self.flow.step(child)
            if step.is_map and len(step.deps) == 1:
                self.states[child].initial_tasks = 0

    def _force_skip(self, slug: str, reason: str) -> int:
        """core 3.11, generations 2.5, A-6: by step_index."""
        members = {step.slug for step in self.flow.descendants(slug)} | {slug}
        changed = 0
        for step in self.flow.steps:
            if step.slug not in members or self.states[step.slug].status not in ("created", "started"):
                continue
            changed += 1
            why = reason if step.slug == slug else "dependency_skipped"
            self._skip(step.slug, why)
            self._send_step(step.slug, "skipped", "skipped_at", flow_slug=self.flow.slug, skip_reason=why)
            self._end_open_tasks("skipped", step.slug)
        return changed

    def _end_open_tasks(self, status: str, slug: str | None = None) -> None:
        """TS-1, TS-2; their messages are archived."""
        for (owner, _), task in self.tasks.items():
            if task.status in OPEN and slug in (None, owner):
                task.status = status
                task.archive()

    def _complete_taskless_round(self) -> int:
        """3.10.1 to 3.10.3."""
        found = [
            step
            for step in self.flow.steps
            if (state := self.states[step.slug]).status == "created"
            and state.remaining_deps == 0
            and state.initial_tasks == 0
        ]
        for step in found:
            state = self.states[step.slug]
            state.status, state.remaining_tasks, state.was_started = "completed", 0, True
            state.output = Json([])
            self.remaining_steps -= 1
        for step in found:
            for child in self.flow.children(step.slug):
                self.states[child.slug].remaining_deps -= 1
                if child.is_map:
                    self.states[child.slug].initial_tasks = 0
        if found:
            about = {"output": [], "remaining_tasks": 0, "remaining_deps": 0}
            times = ("started_at", "completed_at")
            self.events.append([self._step_event(step.slug, "completed", *times, **about) for step in found])
        return len(found)

    def _start_ready(self, now: float) -> None:
        """core 3.8."""
        ready = [
            slug
            for slug, state in sorted(self.states.items())
            if state.status == "created" and state.remaining_deps == 0 and state.initial_tasks
        ]
        for slug in ready:
            state = self.states[slug]
            state.status, state.was_started, state.remaining_tasks = "started", True, state.initial_tasks
            visible_at = now + (self.flow.step(slug).start_delay or 0)
            for index in range(state.initial_tasks):
                self.tasks[slug, index] = Task(visible_at)
        if ready:
            self.events.append(
                [
                    self._step_event(
                        slug,
                        "started",
                        "started_at",
                        remaining_tasks=self.states[slug].remaining_tasks,
                        remaining_deps=0,
                    )
                    for slug in ready
                ]
            )

    def _maybe_complete(self) -> None:
        """core 3.12."""
        if self.remaining_steps or self.ended:
            return
        self.status = "completed"
        output = {}
        for leaf in self.flow.leaves:
            state = self.states[leaf.slug]
            if state.status == "completed":
                output[leaf.slug] = None if state.output is None else state.output.value
        self.output = Json(output) if output else None
        self._send_run("run:completed", output=output or None)

    # Claiming

    def can_start(self, key: tuple[str, int]) -> bool:
        """3.13.1."""
        task = self.tasks[key]
        return not self.ended and task.status == "queued" and self.states[key[0]].status == "started"

    def start_task(self, key: tuple[str, int], worker: str | None, now: float) -> None:
        """3.13.2, ST5-2."""
        task = self.tasks[key]
        task.status, task.worker, task.started_at = "started", worker, now
        task.attempts += 1
        task.settled = None
        task.visible_at = now + self.flow.option(key[0], "timeout") + CLAIM_MARGIN

    def task_input(self, key: tuple[str, int]) -> Json:
        """3.13.3."""
        slug, index = key
        step = self.flow.step(slug)
        if not step.is_map:
            return Json(self._parent_outputs(step))
        elements = self._parent_outputs(step)[step.deps[0]] if step.deps else self.input.value
        return Json(elements[index])

    def flow_input(self, slug: str) -> Json | None:
        """The run's input for root single steps only."""
        step = self.flow.step(slug)
        return None if step.is_map or step.deps else self.input

    # Settling

    def violates(self, slug: str, output: Json | None) -> bool:
        """CT-4: is this no array, where a map child will take its size from it?"""
        if self.flow.step(slug).is_map or (output is not None and isinstance(output.value, list)):
            return False
        return self._child_awaiting_array(slug) is not None

    def _child_awaiting_array(self, slug: str) -> str | None:
        for child in self.flow.children(slug):
            if child.is_map and self.states[child.slug].initial_tasks is None:
                return child.slug
        return None

    def is_running(self, key: tuple[str, int], attempt: int | None, worker: str | None) -> bool:
        """In this attempt for this worker, where they are named (D-5)."""
        task = self.tasks.get(key)
        return (
            task is not None
            and task.status == "started"
            and attempt in (None, task.attempts)
            and worker in (None, task.worker)
        )

    def complete(
        self,
        key: tuple[str, int],
        output: Json | None,
        now: float,
        *,
        attempt: int | None = None,
        worker: str | None = None,
    ) -> bool:
        """core 3.14, generations 2.2; True when something was applied."""
        task = self.tasks.get(key)
        if self.status == "failed" or task is None:
            return False
        slug, _ = key
        state = self.states[slug]
        if state.status != "started":  # CT-3
            task.archive()
            return False
        running = self.is_running(key, attempt, worker)
        if self.violates(slug, output) and (running or attempt is None):
            self._fail_by_type(key, output)
            return True
        if not running:  # CT-5
            return False
        task.status, task.output = "completed", output
        task.archive()  # CT-8
        self._remember(task, "completed")
        state.remaining_tasks -= 1
        if state.remaining_tasks == 0:
            self._complete_step(slug)
            self._advance(now)
        return True

    def _complete_step(self, slug: str) -> None:
        """CT-6, CT-7, O-1."""
        step, state = self.flow.step(slug), self.states[slug]
        state.status = "completed"
        if step.is_map:
            outputs = [self.tasks[slug, index].output for index in range(state.initial_tasks)]
            state.output = Json([None if output is None else output.value for output in outputs])
        else:
            state.output = self.tasks[slug, 0].output
        self.remaining_steps -= 1
        for child in self.flow.children(slug):
            other = self.states[child.slug]
            other.remaining_deps -= 1
            if child.is_map and other.initial_tasks is None:
                other.initial_tasks = len(state.output.value)
        output = None if state.output is None else state.output.value
        self._send_step(slug, "completed", "completed_at", output=output)

    def _fail_by_type(self, key: tuple[str, int], output: Json | None) -> None:
        """CT-4, generations CT-4'."""
        slug, _ = key
        kind = "null" if output is None else json_type(output.value)
        task, state = self.tasks[key], self.states[slug]
        task.status, task.output = "failed", output
        task.error = f"[TYPE_VIOLATION] Produced {kind} instead of array"
        task.archive()
        self._remember(task, "completed")
        self.status = "failed"
        self._send_run("run:failed")
        children = {c.slug for c in self.flow.children(slug) if c.is_map and self.states[c.slug].initial_tasks is None}
        state.status = "failed"
        text = "[TYPE_VIOLATION] Map step {} expects array input but dependency {} produced {}"
        state.error = OneOf(text.format(child, slug, kind) for child in children)
        self._send_step(slug, "failed", "failed_at", error_message=state.error)
        self._end_open_tasks("cancelled")

    def _remember(self, task: Task, kind: str) -> None:
        task.settled = (task.attempts, task.worker, kind)
        task.history.add(task.settled)

    def retry_delay(self, slug: str, attempts: int) -> int:
        """FT-11, capped by D-7."""
        return min(self.flow.option(slug, "base_delay") * 2**attempts, DAY)

    def will_retry(self, key: tuple[str, int], *, retryable: bool = True) -> bool:
        """FT-5."""
        return retryable and self.tasks[key].attempts < self.flow.option(key[0], "max_attempts")

    def fail(
        self,
        key: tuple[str, int],
        error: str,
        now: float,
        *,
        attempt: int | None = None,
        worker: str | None = None,
        retryable: bool = True,
    ) -> bool:
        """core 3.15, generations 2.3, without FT-11 for tasks never started; True when something was applied."""
        task = self.tasks.get(key)
        if task is None:
            return False
        slug, _ = key
        if self.status == "failed" or self.states[slug].status != "started":  # FT-1', FT-3
            task.archive()
            return False
        if not self.is_running(key, attempt, worker):
            return False
        self._remember(task, "failed")
        task.error = error
        if self.will_retry(key, retryable=retryable):
            task.status, task.started_at, task.given_up = "queued", None, False
            task.show(now + self.retry_delay(slug, task.attempts))
            return True
        task.status = "failed"
        task.archive()
        if self.flow.step(slug).when_exhausted == "fail":
            self._fail_step(slug, error)
        else:
            self._skip_by_handler(slug, error, now)
        return True

    def _fail_step(self, slug: str, error: str) -> None:
        """FT-8, FT-10."""
        state = self.states[slug]
        state.status, state.error = "failed", error
        self._send_step(slug, "failed", "failed_at", error_message=error)
        self.status = "failed"
        self._send_run("run:failed", error_message=error)
        self._end_open_tasks("cancelled")

    def _skip_by_handler(self, slug: str, error: str, now: float) -> None:
        """FT-9, FT-9'."""
        self._skip(slug, "handler_failed")
        self.states[slug].error = error
        self._end_open_tasks("skipped", slug)
        self._send_step(slug, "skipped", "skipped_at", skip_reason="handler_failed", error_message=error)
        if self.flow.step(slug).when_exhausted == "skip-cascade":
            self._force_skip(slug, "handler_failed")
            self._maybe_complete()
        else:
            self._release_children_of_skipped([slug])
            self._advance(now)

    def push_back(self, key: tuple[str, int], now: float) -> None:
        """FT-11: fail_task for a task that is queued already."""
        task = self.tasks.get(key)
        if task and not self.ended and self.states[key[0]].status == "started" and task.status == "queued":
            task.visible_at = now + self.retry_delay(key[0], task.attempts)

    # Recovery

    def give_back(self, key: tuple[str, int], attempt: int, worker: str, delay: float, now: float) -> bool:
        """D-4."""
        if not self.is_running(key, attempt, worker):
            return False
        task = self.tasks[key]
        task.status, task.started_at, task.worker, task.given_up = "queued", None, None, False
        task.attempts -= 1
        task.show(now + delay)
        return True

    def is_stalled(self, key: tuple[str, int], now: float) -> bool:
        """RQ-1, apart from the mark of the given up."""
        task = self.tasks[key]
        return (
            not self.ended
            and self.states[key[0]].status == "started"
            and task.status == "started"
            and task.started_at < now - self.flow.option(key[0], "timeout") - STALL_MARGIN
        )

    def requeue(self, key: tuple[str, int], now: float, *, keep_attempt: bool) -> None:
        """ST-3; a lost task's attempt does not count (D-3)."""
        task = self.tasks[key]
        task.status, task.started_at, task.worker = "queued", None, None
        task.requeued += 1
        task.show(now)
        if not keep_attempt:
            task.attempts -= 1

    def give_up(self, key: tuple[str, int]) -> None:
        """ST-4."""
        task = self.tasks[key]
        task.given_up = True
        task.archive()

    def cancel(self) -> bool:
        """D-20; True when it was still going."""
        if self.ended:
            return False
        self.status = "failed"
        self._send_run("run:failed", error_message="Run cancelled")
        self._end_open_tasks("cancelled")
        return True

    def force_skip(self, slug: str, reason: str) -> int:
        """The contract's own function, then maybe_complete_run, as its callers do."""
        changed = self._force_skip(slug, reason)
        self._maybe_complete()
        return changed
