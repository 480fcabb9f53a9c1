"""SIGHUP: new code in fresh children, no task lost; code that is not accepted changes nothing."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import begin

if TYPE_CHECKING:
    from pathlib import Path

FLOWS = """
import time

from pgflow_mp import Flow, step
from helper import ANSWER


class Answer(Flow, max_attempts=1):
    @step
    def answer(flow_input):
        time.sleep(flow_input["seconds"])
        return ANSWER
"""


class Served:
    def __init__(self, folder: Path, dsn: str, conn) -> None:
        self.folder, self.conn = folder, conn
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = begin("serve", "flows", "--dsn", dsn, "--processes", "2", cwd=folder, stderr=log)
        self.wait(lambda: "worker is ready" in self.log.read_text())

    def wait(self, met, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)

    def start(self, count: int, seconds: float) -> None:
        self.conn.execute(
            "select pgflow.start_flow('answer', jsonb_build_object('seconds', %s::float8)) from generate_series(1, %s)",
            (seconds, count),
        )

    def answers(self) -> list[object]:
        completed = self.conn.execute("select output ->> 'answer' from pgflow.runs where status = 'completed'")
        return [answer for (answer,) in completed]

    def reload(self, said: str) -> None:
        before = self.log.read_text().count(said)
        self.process.send_signal(signal.SIGHUP)
        self.wait(lambda: self.log.read_text().count(said) > before)


@pytest.fixture
def served(tmp_path, pgflow_dsn, pgflow_conn):
    (tmp_path / "flows.py").write_text(FLOWS)
    (tmp_path / "helper.py").write_text("ANSWER = 'old'\n")
    served = Served(tmp_path, pgflow_dsn, pgflow_conn)
    yield served
    served.process.kill()
    served.process.communicate()


def test_new_code_of_a_flow_and_of_its_helpers_answers_after_sighup_and_no_task_is_lost(served, pgflow_conn):
    served.start(60, 0.1)
    served.wait(lambda: len(served.answers()) > 5)
    (served.folder / "helper.py").write_text("ANSWER = 'brand new'\n")
    served.reload("loaded again")
    served.wait(lambda: len(served.answers()) == 60)
    assert set(served.answers()) == {"old", "brand new"}
    assert served.answers().count("brand new") > 20
    assert pgflow_conn.execute("select distinct status, attempts_count from pgflow.step_tasks").fetchall() == [
        ("completed", 1)
    ]
    served.start(2, 0)
    served.wait(lambda: len(served.answers()) == 62)
    assert served.answers().count("old") < 40


def test_a_flow_that_is_new_in_the_code_is_worked_on_after_sighup(served, pgflow_conn):
    with (served.folder / "flows.py").open("a") as file:
        file.write("\n\nclass Another(Flow):\n    @step\n    def only():\n        return 1\n")
    served.reload("loaded again")
    pgflow_conn.execute("select pgflow.start_flow('another', '{}')")
    served.wait(lambda: len(served.answers()) == 1)
    assert pgflow_conn.execute("select count(*) from pgflow.workers where stopped_at is null").fetchone() == (2,)


def test_the_first_async_steps_may_come_with_a_reload(served, pgflow_conn):
    """Their children, which the worker had no use for before, are started then."""
    with (served.folder / "flows.py").open("a") as file:
        file.write("\n\nclass Wait(Flow):\n    @step\n    async def answer():\n        return 'awaited'\n")
    served.reload("loaded again")
    pgflow_conn.execute("select pgflow.start_flow('wait', '{}')")
    served.start(1, 0)
    served.wait(lambda: sorted(served.answers()) == ["awaited", "old"])


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("def oops(:\n", "SyntaxError"),
        (FLOWS.replace("def answer(", "def reply("), "reply"),
    ],
    ids=["a syntax error", "another shape"],
)
def test_code_that_is_not_accepted_changes_nothing_and_is_told(served, broken, said):
    (served.folder / "flows.py").write_text(broken)
    served.reload("not reloaded, the code of before works on")
    assert said in served.log.read_text()
    served.start(4, 0)
    served.wait(lambda: served.answers() == ["old"] * 4)
    (served.folder / "flows.py").write_text(FLOWS + "# as before\n")
    (served.folder / "helper.py").write_text("ANSWER = 'mended'\n")
    served.reload("loaded again")
    served.start(1, 0)
    served.wait(lambda: "mended" in served.answers())
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(30) == 0
