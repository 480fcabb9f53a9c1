"""Sessions that work off runs while their connections are killed: workers of ours and foreign ones, a janitor, and one
that cancels.

A connection may die in the middle of any call. Whoever made the call then does what a worker has to do: settling is
repeated, a claim whose answer was lost is given back, or the worker is replaced and its tasks are left to recovery.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
import uuid
from dataclasses import dataclass

import psycopg

from .database import Database
from .definition import Flow, Json
from .orders import Settlement
from .reference import Run

SESSION = "model session"
_CURED_BY_REPEATING = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


class Lost(Exception):
    """The connection died during a call; nobody knows whether it was carried out."""


@dataclass(frozen=True)
class Behaviour:
    """What the handler of a step does: fails so many attempts of its first task, else returns this."""

    output: Json | None = None
    failures: int = 0

    def outcome(self, flow: Flow, key: tuple[str, int], attempt: int) -> dict:
        """Keyword arguments of a Settlement."""
        slug, index = key
        if index == 0 and attempt <= self.failures:
            return {"error": f"attempt {attempt} of {slug}"}
        return {"output": Json([index, self.output and self.output.value]) if flow.step(slug).is_map else self.output}


@dataclass(frozen=True)
class Job:
    """Runs to work off: inputs by run id, the handlers of each flow, and which runs are cancelled on their way."""

    flows: dict[str, Flow]
    runs: dict[uuid.UUID, tuple[Flow, Json]]
    behaviour: dict[tuple[str, str], Behaviour]
    doomed: list[uuid.UUID]

    def outcome(self, run_id: uuid.UUID, key: tuple[str, int], attempt: int) -> dict:
        flow, _ = self.runs[run_id]
        return self.behaviour[flow.slug, key[0]].outcome(flow, key, attempt)

    def expected(self, run_id: uuid.UUID) -> Run:
        """The run worked off one task at a time, by the reference model."""
        flow, run_input = self.runs[run_id]
        run, now = Run(flow, run_input, 0.0), 0.0
        while not run.ended:
            now += 1e6
            key = next(key for key in sorted(run.tasks) if run.can_start(key))
            run.start_task(key, "worker", now)
            told = self.outcome(run_id, key, run.tasks[key].attempts)
            if "error" in told:
                run.fail(key, told["error"], now)
            else:
                run.complete(key, told["output"], now)
        return run


class Crew:
    """The sessions, what they share, and what went wrong."""

    def __init__(self, dsn: str, job: Job, seed: int) -> None:
        self.dsn, self.job = dsn, job
        self.random = random.Random(seed)
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.deadlocks: list[str] = []
        self.losses = 0
        self.kills_left = 30
        # A task that is lost four times has failed (D-3), which would be another outcome than the expected one.
        self.replacements_left = 3

    def run(self, seconds: float) -> None:
        """Work until every run has ended; raises what a session could not cope with."""
        members = [OurWorker(self) for _ in range(4)] + [ForeignWorker(self) for _ in range(2)]
        members += [Starter(self), Janitor(self), Canceller(self), Killer(self)]
        for member in members:
            member.start()
        deadline = time.monotonic() + seconds
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            while not self.errors and time.monotonic() < deadline and not self._all_ended(conn):
                time.sleep(0.02)
        self.stop.set()
        for member in members:
            member.join(timeout=30)
        assert not any(member.is_alive() for member in members), "a session hangs"
        for error in self.errors:
            raise error

    def _all_ended(self, conn) -> bool:
        (ended,) = conn.execute("select count(*) from pgflow.runs where status <> 'started'").fetchone()
        return ended == len(self.job.runs)


class Member(threading.Thread):
    """One session; `turn` is repeated until the crew stops."""

    name_of_session = SESSION

    def __init__(self, crew: Crew) -> None:
        super().__init__(daemon=True)
        self.crew, self.job = crew, crew.job
        self.random = random.Random(crew.random.random())
        self.database: Database | None = None

    def run(self) -> None:
        try:
            while not self.crew.stop.is_set():
                try:
                    self.turn()
                except Lost:
                    continue
        except BaseException as error:
            self.crew.errors.append(error)
            self.crew.stop.set()
        finally:
            self._disconnect()

    def turn(self) -> None:
        raise NotImplementedError

    def _disconnect(self) -> None:
        if self.database is not None:
            self.database.conn.close()
            self.database = None

    def call(self, method: str, *args: object) -> object:
        """One call of Database; deadlocks are repeated, a dead connection raises Lost."""
        for _ in range(5):
            try:
                if self.database is None:
                    conn = psycopg.connect(self.crew.dsn, autocommit=True, application_name=self.name_of_session)
                    self.database = Database(conn)
                return getattr(self.database, method)(*args)
            except _CURED_BY_REPEATING as error:
                self.crew.deadlocks.append(f"{method}: {error}\n{error.diag.message_detail}\n{error.diag.context}")
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self._disconnect()
                self.crew.losses += 1
                raise Lost from error
        raise AssertionError("a deadlock that repeating did not cure")

    def insist(self, method: str, *args: object) -> object:
        """Repeat a call that may be repeated until its answer arrives."""
        while True:
            try:
                return self.call(method, *args)
            except Lost:
                continue


class Worker(Member):
    """Claims tasks and settles them."""

    ours = True

    def __init__(self, crew: Crew) -> None:
        super().__init__(crew)
        self.worker: uuid.UUID | None = None

    def turn(self) -> None:
        if self.worker is None:
            fresh = uuid.uuid4()
            self.insist("register", fresh, self.ours)
            self.worker = fresh
        try:
            claimed = self.claim()
        except Lost:
            self._give_up_claims()
            return
        if not claimed:
            time.sleep(self.random.random() / 100)
        self.settle(claimed)

    def claim(self) -> list:
        raise NotImplementedError

    def settle(self, claimed: list) -> None:
        raise NotImplementedError

    def _told(self, task) -> Settlement:
        outcome = self.job.outcome(task.run, task.key, task.attempt)
        return Settlement(task.run, task.key, task.attempt, self.worker, **outcome)

    def _give_up_claims(self) -> None:
        """The answer of a claim is lost: give back what it may have brought, or go and leave it to recovery."""
        if self.ours and self.random.random() < 0.5 and self.crew.replacements_left > 0:
            self.crew.replacements_left -= 1
            self.insist("set_worker", self.worker, True, False)
            self.worker = None
            return
        held = self.insist("held", self.worker)
        if held:
            self.insist("give_back", held, 0)


class OurWorker(Worker):
    """Many tasks a call."""

    def claim(self) -> list:
        flows = self.random.sample(list(self.job.flows), len(self.job.flows))
        quantity = self.random.choice([1, 2, 5, 20])
        return self.call("claim", flows, [self.worker] * len(flows), [quantity] * len(flows), None)

    def settle(self, claimed: list) -> None:
        self.random.shuffle(claimed)
        tickets = [self._told(task) for task in claimed]
        if self.random.random() < 0.2:
            self.insist("give_back", tickets[:1], 0)
            tickets = tickets[1:]
        while tickets:
            size = self.random.randint(1, 8)
            batch, tickets = tickets[:size], tickets[size:]
            for told, answer in zip(batch, self.insist("settle", batch), strict=True):
                applied, task_status, _, _ = answer
                assert applied or task_status in ("cancelled", "skipped"), (told, answer)


class ForeignWorker(Worker):
    """One task a call, in the contract's two steps; a repeat must not hit somebody else's attempt."""

    ours = False

    def claim(self) -> list:
        flow = self.random.choice(list(self.job.flows.values()))
        slug = self.random.choice(flow.steps).slug
        queue = flow.queue(slug)
        messages = self.call("read", queue, self.random.choice([1, 3]), 1)
        return self.call("start_tasks", flow, queue, slug, messages, self.worker) if messages else []

    def settle(self, claimed: list) -> None:
        for task in claimed:
            told = self._told(task)
            while True:
                try:
                    if told.error is None:
                        self.call("complete", told.run, told.key, told.output)
                    else:
                        self.call("fail", told.run, told.key, told.error)
                    break
                except Lost:
                    if (told.run, told.key) not in {(held.run, held.key) for held in self.insist("held", self.worker)}:
                        break


class Starter(Member):
    """Starts the runs, one after the other, under ids that make a repeat harmless."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(crew)
        self.waiting = list(self.job.runs)

    def turn(self) -> None:
        if not self.waiting:
            time.sleep(0.05)
            return
        ids = [run_id for run_id in self.waiting[:3] if self.job.runs[run_id][0] is self.job.runs[self.waiting[0]][0]]
        flow = self.job.runs[ids[0]][0]
        with contextlib.suppress(psycopg.errors.UniqueViolation):  # it was carried out, the answer was lost
            self.call("start_flows", flow.slug, [self.job.runs[run_id][1] for run_id in ids], ids)
        self.waiting = [run_id for run_id in self.waiting if run_id not in ids]


class Janitor(Member):
    """Recovers, and lets no delay take time."""

    def turn(self) -> None:
        self.call("skip_delays", list(self.job.runs))
        self.call(self.random.choice(["recover", "requeue_stalled"]))
        time.sleep(0.01)


class Canceller(Member):
    """Cancels the doomed runs, over and over, from some moment on."""

    def turn(self) -> None:
        time.sleep(self.random.random() / 5)
        if self.job.doomed:
            self.call("cancel", self.random.sample(self.job.doomed, self.random.randint(1, len(self.job.doomed))))


class Killer(Member):
    """Ends connections of the others, busy ones first."""

    name_of_session = "model killer"

    def turn(self) -> None:
        time.sleep(self.random.random() / 30)
        if self.crew.kills_left > 0 and self.call("kill_one", SESSION):
            self.crew.kills_left -= 1
