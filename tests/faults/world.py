"""What a storm goes over: a server of its own behind a proxy, two workers that are restarted, and a stream of runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.proxy import Proxy, proxy
from pgflow_mp import postgres
from pgflow_mp.core.install import install
from pgflow_mp.core.queries.definitions import compile_flow
from pgflow_mp.core.queries.runs import start_flows
from pgflow_mp.core.statement import execute
from tests.core import foreign
from tests.faults.flows import DSN_VARIABLE, Storm
from tests.faults.processes import MARK_VARIABLE

if TYPE_CHECKING:
    from contextlib import ExitStack

WORKERS = 2
ROOT = Path(__file__).parents[2]
LEDGER = """
create table ledger (
  id bigint generated always as identity, run_id uuid, step_slug text, task_index int, attempt int, pid int,
  at timestamptz default clock_timestamp()
)
"""


class World:
    """Everything there is.

    Args:
        stack: Ends it all.
        scratch: An empty folder for the data, the logs, and the workers' temporary files.
        core: A generation of tests/core/foreign beside whose core everything is; None for our own.

    Attributes:
        mark: In the environment of every process of the workers.
        through: The proxy that everybody goes through.
        workers: The processes that serve; a place may hold a dead one until `tend` replaces it.
        runs: Started runs and what each adds to its numbers.
    """

    def __init__(self, stack: ExitStack, scratch: Path, core: str | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.scratch = scratch
        self.temporary = scratch / "tmp"
        self.temporary.mkdir()
        self.data = scratch / "data"
        scratch.chmod(0o711)  # the server's account finds its data folder
        self.server = self._start_server()
        stack.callback(lambda: self.server.stop())
        self.through: Proxy = stack.enter_context(proxy(self.server.dsn))
        self.log = stack.enter_context((scratch / "workers.log").open("ab"))
        self.workers: list[subprocess.Popen[bytes]] = []
        self.runs: dict[uuid.UUID, int] = {}
        self.exit_codes: dict[int, int] = {}
        stack.callback(self._kill_all)
        with self.connect() as conn:
            if core is not None:
                foreign.build(conn, core)
            install(conn)
            conn.execute(LEDGER)
            execute(conn, compile_flow(Storm.definition.slug, Storm.definition.shape()))

    def connect(self) -> psycopg.Connection[Any]:
        """Connect to the server, past the proxy."""
        return psycopg.connect(self.server.dsn, autocommit=True, connect_timeout=10)

    # The server ------------------------------------------------------------------------------------------

    def _start_server(self) -> postgres.Server:
        return postgres.start(
            data_dir=self.data,
            # Of what was committed nothing may be lost in a crash of the server: the ledger must be true.
            settings={"max_connections": "200", "synchronous_commit": "on"},
        )

    def crash_server(self, pause: float) -> None:
        """Stop the server as `pg_ctl stop -m immediate` does, and start it again after a pause."""
        pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, signal.SIGQUIT)
        until = time.monotonic() + 30
        while (self.data / "postmaster.pid").exists() and time.monotonic() < until:
            time.sleep(0.02)
        self.server.stop()
        time.sleep(pause)
        self.server = self._start_server()
        self.through.retarget(self.server.dsn)

    # The workers -----------------------------------------------------------------------------------------

    def tend(self) -> None:
        """Start what is missing, as a service manager would."""
        for place, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.exit_codes[worker.returncode] = self.exit_codes.get(worker.returncode, 0) + 1
                self.workers[place] = self._start_worker()
        while len(self.workers) < WORKERS:
            self.workers.append(self._start_worker())

    def _start_worker(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "pgflow_mp", "serve", "tests.faults.flows", "--processes", "2", "--grace", "3"],
            cwd=ROOT,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
                "PGFLOW_DSN": self.through.dsn,
                DSN_VARIABLE: self.through.dsn,
                MARK_VARIABLE: self.mark,
                "TMPDIR": str(self.temporary),
            },
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def stop_workers(self) -> list[int]:
        """Ask all to finish; return their exit codes."""
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        codes = [worker.wait(60) for worker in self.workers]
        self.workers.clear()
        return codes

    def _kill_all(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait(30)

    # The runs --------------------------------------------------------------------------------------------

    def start_run(self) -> None:
        """Start one more run; a start that broke off is repeated under the same id until it is there."""
        run_id, base = uuid.uuid4(), len(self.runs) * 1000
        while True:
            try:
                with self.connect() as conn:
                    execute(conn, start_flows(Storm.definition.slug, [json.dumps({"base": base})], [run_id]))
            except psycopg.errors.UniqueViolation:
                break
            except psycopg.OperationalError:
                time.sleep(0.2)
            else:
                break
        self.runs[run_id] = base

    def open_runs(self) -> int:
        """Count the runs that have not ended."""
        with self.connect() as conn:
            found = conn.execute("select count(*) from pgflow.runs where status = 'started'").fetchone()
        return int(found[0]) if found else 0
