"""The pytest plugin: what a test of a flow costs.

Figures of real pytest sessions: from the start of a session to the body of its first test, a test with one
`flow_runner.run` and its database, handed on or cloned (against cloning and dropping a database in the same session,
D-30), many tests with two workers against none (from the first test to the last, so without the start), and loading the
plugin.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pgflow_mp.postgres import folders

FLOW = """
from pgflow_mp import Flow, step


class Three(Flow):
    @step
    def first(flow_input):
        return flow_input

    @step
    def second(first):
        return first

    @step
    def third(second):
        return second
"""

FIRST = "import time\n\ndef test_first(flow_runner):\n    print('BODY', time.time())\n"
BARE = "import time\n\ndef test_first():\n    print('BODY', time.time())\n"

MANY = (
    FLOW
    + """
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_a_run(flow_runner, number{fixtures}):
    assert flow_runner.run(Three, number).output == {{"third": number}}
"""
)


def clock(clones: int = 0) -> str:
    """Return a conftest that measures tests, with the setup and teardown of their fixtures, and so many clones."""
    return _CLOCK.replace("{clones}", str(clones))


_CLOCK = """
import json
import time

import pytest

ends, pairs = {}, []

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid):
    ends[nodeid] = [time.perf_counter(), None]

@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish(nodeid):
    ends[nodeid][1] = time.perf_counter()

@pytest.fixture(scope="module", autouse=True)
def clones(_pgflow_databases):
    for _ in range({clones}):
        began = time.perf_counter()
        _pgflow_databases.drop(_pgflow_databases.create())
        pairs.append(time.perf_counter() - began)

def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        print("CLOCK", json.dumps({"tests": list(ends.values()), "clones": pairs}))
"""


def main(rounds: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="pgflow-plugin-") as scratch:
        os.environ["XDG_DATA_HOME"] = scratch
        os.environ["PYTHONPYCACHEPREFIX"] = f"{scratch}/bytecode"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        Path(scratch).chmod(0o711)  # root's server runs as another user, who has to get through
        try:
            _measure(Path(scratch), max(rounds, 3))
        finally:
            for data in Path(scratch).glob("pgflow-mp/tests-*/data"):
                folders.erase(data.resolve().parent)


def _measure(scratch: Path, rounds: int) -> None:
    print(f"{'figure':<58} {'measured':>10}   aim")
    _row("load the plugin", _load(rounds), "at most 5 ms")
    bare = _first_body(scratch, BARE, rounds)
    _row("session start to first test body, without pgflow", bare)
    _row("the same with flow_runner, embedded server", _first_body(scratch, FIRST, rounds), "at most 1,500 ms")
    _row("the same with --pgflow-reuse", _first_body(scratch, FIRST, rounds, "--pgflow-reuse"))

    session = _session(scratch, 40, clones=40)
    clone = statistics.median(session["clones"])
    _row("clone and drop a database", clone)
    aim = f"at most {(clone + 0.025) * 1e3:.1f} ms"
    _row("a test with one run of 3 steps", _typical(session), aim)
    _row("the same, which also looks into its database", _typical(_session(scratch, 40, look=True)), aim)
    _row(
        "the same with --pgflow-isolation=delete", _typical(_session(scratch, 40, "--pgflow-isolation=delete")), "20 ms"
    )

    alone = min(_span(_session(scratch, 200)) for _ in range(2))
    shared = min(_span(_session(scratch, 200, "-n", "2")) for _ in range(2))
    _row("160 such tests", alone)
    _row("the same with -n 2", shared, f"at most 0.65 of that; is {shared / alone:.2f}")


def _row(what: str, seconds: float, aim: str = "") -> None:
    print(f"{what:<58} {seconds * 1e3:>7,.1f} ms   {aim}", flush=True)


def _load(rounds: int) -> float:
    """Return the seconds that importing the plugin adds to a pytest that is loaded."""
    code = "import pytest, time; t = time.perf_counter(); import pytest_pgflow; print(time.perf_counter() - t)"
    taken = [float(_run([sys.executable, "-c", code], Path.cwd())) for _ in range(rounds * 3)]
    return statistics.median(taken[1:])


def _first_body(scratch: Path, test: str, rounds: int, *options: str) -> float:
    folder = _folder(scratch, test)
    taken = []
    for _ in range(rounds + 1):
        began = time.time()
        told = _pytest(folder, "-s", "--pgflow-server=embedded", *options)
        taken.append(float(told.partition("BODY ")[2].split()[0]) - began)
    return statistics.median(taken[1:])


def _session(scratch: Path, tests: int, *options: str, clones: int = 0, look: bool = False) -> dict[str, Any]:
    """Run so many tests; those that `look` have a connection to their database, which so is a clone that is dropped."""
    many = MANY.format(count=tests, fixtures=", pgflow_conn" if look else "")
    folder = _folder(scratch, many, clock(clones))
    told = _pytest(folder, "-s", "--pgflow-server=embedded", *options)
    return dict(json.loads(told.partition("CLOCK ")[2].splitlines()[0]))


def _typical(session: dict[str, Any]) -> float:
    return statistics.median(end - start for start, end in session["tests"][1:])


def _span(session: dict[str, Any]) -> float:
    """Return the seconds of the tests after the 40th: by then each worker has its server, and a test behind it."""
    ends = sorted(end for _, end in session["tests"])
    return float(ends[-1] - ends[39])


def _folder(scratch: Path, test: str, conftest: str = "") -> Path:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    (folder / "test_it.py").write_text(test)
    (folder / "conftest.py").write_text(conftest)
    return folder


def _pytest(folder: Path, *options: str) -> str:
    return _run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options], folder)


def _run(command: list[str], folder: Path) -> str:
    # Tests have their data in memory where there is room; the package has the other benchmarks keep theirs on disk.
    environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{command} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
