"""What `serve --http` answers: to probes, and to people who want to see what a worker does."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from pgflow_mp import Flow, step
from pgflow_mp.cli.endpoints import Answer, Endpoints
from pgflow_mp.cli.parser import make
from pgflow_mp.cli.probes import Probes
from pgflow_mp.engine.worker import Worker
from pgflow_mp.errors import PgflowError
from pgflow_mp.hooks.manager import Plugins
from tests.cli.command import begin

FLOWS = """
import time

from pgflow_mp import Flow, step


class Nap(Flow, max_attempts=1, timeout=60):
    @step
    def nap(flow_input, ctx):
        ctx.progress(0.4, "page 40 of 100")
        time.sleep(flow_input)
"""


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def until(met, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_worker_tells_what_it_does_and_that_it_is_stopping(tmp_path, pgflow_dsn, pgflow_conn):
    (tmp_path / "flows.py").write_text(FLOWS)
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        worker = begin(
            "serve",
            "flows",
            "--dsn",
            pgflow_dsn,
            "--processes",
            "1",
            "--http",
            "0",
            "--plugin",
            "pgflow_mp.plugins.prometheus:Prometheus",
            cwd=tmp_path,
            stderr=stderr,
        )
    try:
        url = until(lambda: re.search(r"listening on (http://127\.0\.0\.1:\d+)", log.read_text()))[1]
        until(lambda: get(f"{url}/readyz") == (200, "ok\n"))
        assert get(f"{url}/healthz") == (200, "ok\n")
        run_id = str(pgflow_conn.execute("select run_id from pgflow.start_flow('nap', '60')").fetchone()[0])
        pgflow_conn.execute("select pgflow.start_flow('nap', '60')")
        status = until(lambda: "page 40" in (seen := get(f"{url}/status")[1]) and json.loads(seen))
        process = status["executors"]["process"]
        assert (process["size"], process["running"]) == (1, 1)
        [child] = process["children"]
        [task] = child["tasks"]
        assert (child["state"], task["flow"], task["step"], task["attempt"]) == ("busy", "nap", "nap", 1)
        assert (task["run_id"], task["progress"]) == (run_id, {"fraction": 0.4, "message": "page 40 of 100"})
        assert 0 <= task["seconds"] < 60
        assert (status["pid"], status["ready"], status["workers"][0]["flow"]) == (worker.pid, True, "nap")
        [queue] = status["queues"]
        assert (queue["flow_slug"], queue["ready"], queue["invisible"]) == ("nap", 1, 1)
        assert get(f"{url}/nothing")[0] == 404
        assert "pgflow_claim_tasks_count 1.0" in until(
            lambda: "claim_tasks_count 1" in (page := get(f"{url}/metrics")[1]) and page
        )
        worker.send_signal(signal.SIGTERM)
        until(lambda: get(f"{url}/readyz") == (503, "not ready: the worker is stopping\n"))
        assert get(f"{url}/healthz") == (200, "ok\n")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0, log.read_text()
    finally:
        worker.kill()
        worker.communicate()


class Lonely(Flow):
    @step
    def lonely(): ...


def test_without_a_database_a_worker_is_alive_but_not_ready_and_still_tells_of_itself():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    dsn = f"postgresql://127.0.0.1:{port}/nothing"

    async def asked() -> dict[str, Answer]:
        probes = Probes(Worker(dsn, [Lonely.definition], plugins=Plugins()), dsn)
        try:
            return {path: await route() for path, route in probes.routes().items()}
        finally:
            await probes.close()

    told = asyncio.run(asked())
    assert told["/healthz"].status == HTTPStatus.OK
    unready = told["/readyz"]
    assert (unready.status, unready.body) == (503, "not ready: the database has not answered yet\n")
    status = told["/status"].body
    assert (status["ready"], status["workers"][0]["flow"], status["queues"]) == (False, "lonely", None)
    assert str(port) in status["queues_error"]
    assert told["/metrics"].status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("8080", ("127.0.0.1", 8080)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:0", ("::1", 0))],
)
def test_an_address_is_a_host_and_a_port_or_a_port_on_loopback(typed, meant):
    assert make().parse_args(["serve", "app", "--http", typed]).http == meant


@pytest.mark.parametrize("typed", ["here", "localhost:", "localhost:70000", "1:2:x"])
def test_what_is_no_address_is_refused_with_an_example(typed, capsys):
    with pytest.raises(SystemExit):
        make().parse_args(["serve", "app", "--http", typed])
    assert "write HOST:PORT or PORT, as in 127.0.0.1:8080" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told():
    async def listen() -> None:
        with Endpoints(("127.0.0.1", taken.getsockname()[1]), {}):
            pass

    refusal = r"cannot listen on 127\.0\.0\.1 port \d+ for HTTP: .*choose another"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PgflowError, match=refusal):
        asyncio.run(listen())


def test_a_loop_that_does_not_turn_and_a_route_that_fails_are_told(monkeypatch, caplog):
    monkeypatch.setattr("pgflow_mp.cli.endpoints.ANSWER_SECONDS", 0.2)

    async def fine() -> Answer:
        return Answer({"a": 1}, HTTPStatus.ACCEPTED)

    async def broken() -> Answer:
        raise RuntimeError("boom")

    async def listen() -> list[tuple[int, str]]:
        with Endpoints(("127.0.0.1", 0), {"/fine": fine, "/broken": broken}) as endpoints:
            seen = [await asyncio.to_thread(get, f"{endpoints.url}{path}") for path in ("/fine?x=1", "/broken")]
            with ThreadPoolExecutor(1) as aside:
                late = aside.submit(get, f"{endpoints.url}/fine").result(10)  # this holds the loop up, on purpose
            return [*seen, late, await asyncio.to_thread(head, endpoints.url)]

    def head(url: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("HEAD", "/fine")
        with connection.getresponse() as answer:
            found = answer.status, answer.read().decode()
        connection.close()
        return found

    assert asyncio.run(listen()) == [
        (202, '{\n  "a": 1\n}\n'),
        (500, "RuntimeError: boom\n"),
        (503, "no answer within 0.2 s\n"),
        (202, ""),
    ]
    assert "a request could not be answered" in caplog.text
