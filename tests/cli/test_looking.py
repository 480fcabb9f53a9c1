"""Commands that look: flows, show, watch, graph, workers; on one database with runs in every state."""

from __future__ import annotations

import json
import re
import uuid
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import psycopg
import pytest

from pgflow_mp import Flow, map_step, step
from pgflow_mp.client import PgFlow
from pytest_pgflow import factories
from tests.cli.command import is_one_sentence

looking_dsn = factories.dsn(scope="module")
runner = factories.flow_runner("looking_dsn", scope="module", executor="inline")

UNKNOWN = "00000000-0000-7000-8000-000000000000"


class Shop(Flow, max_attempts=2, base_delay=0):
    @step
    def articles(flow_input):
        return flow_input["articles"]

    @map_step(over=articles, timeout=20)
    def price(item):
        if item == "none":
            raise ValueError("no price\x1b[31m for it")
        return len(item)

    @step(when={"vip": True})
    def gift(flow_input):
        return "a gift"

    @step
    def total(price, gift=None):
        return sum(price)


@pytest.fixture(scope="module")
def shop(looking_dsn, runner):
    """A completed run, a failed one, one that waits, and a worker of each state."""
    completed = runner.run(Shop, {"articles": ["tea", "coffee"]})
    failed = runner.run(Shop, {"articles": ["tea", "none", "salt"]}, check=False)
    assert failed.failed
    with PgFlow(looking_dsn) as app, psycopg.connect(looking_dsn, autocommit=True) as conn:
        waiting = app.start_flow("shop", {"articles": []})
        conn.execute("delete from pgflow.workers")
        for queue, silence, stopped in (("shop", 0, False), ("Shop", 90, False), ("shop", 3, True)):
            conn.execute(
                "insert into pgflow.workers (worker_id, queue_name, function_name, last_heartbeat_at, stopped_at) "
                "values (gen_random_uuid(), %s, 'shop worker', now() - make_interval(secs => %s), "
                "case when %s then now() end)",
                [queue, silence, stopped],
            )
    return SimpleNamespace(completed=completed.run_id, failed=failed.run_id, waiting=waiting)


@pytest.fixture
def look(call, looking_dsn, shop):
    def look(*arguments: str, code: int = 0):
        done = call(*map(str, arguments), "--dsn", looking_dsn)
        assert done.returncode == code, done.stderr
        return done

    return look


def table(text: str) -> list[list[str]]:
    """The rows below the headings, split where two spaces stand."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()[1:]]


def test_flows_are_listed_with_their_live_workers_and_latest_run(look, shop):
    ((slug, kind, steps, workers, run_id, status, _),) = table(look("flows").stdout)
    assert (slug, kind, steps, workers) == ("shop", "flow", "4", "1")
    assert (run_id, status) == (str(shop.waiting), "started")
    (listed,) = json.loads(look("flows", "--json").stdout)
    assert (listed["slug"], listed["live_workers"], listed["latest_run_id"]) == ("shop", 1, str(shop.waiting))
    assert [step["slug"] for step in listed["steps"]] == ["articles", "price", "gift", "total"]


def test_slugs_alone_are_for_scripts(look):
    assert look("flows", "--slugs").stdout == "shop\n"


def test_a_flow_is_described_with_what_its_steps_wait_for_and_inherit(look):
    text = look("flows", "shop").stdout
    assert text.startswith("shop: a flow of 4 steps, queue shop, made ")
    rows = {row[0]: row for row in table(text.partition("\n\n")[2])}
    assert rows["price"][1:6] == ["map", "articles", "2", "0 s", "20 s"]
    assert rows["gift"][-1] == 'when {"vip": true}; else skip'
    assert json.loads(look("flows", "shop", "--json").stdout)["steps"][1]["timeout"] == 20


@pytest.mark.parametrize("arguments", [["flows", "shap"], ["workers", "shap"], ["graph", "shap"]])
def test_an_unknown_flow_is_told_with_the_near_one(look, arguments):
    done = look(*arguments, code=1)
    assert is_one_sentence(done.stderr)
    assert "flow 'shap' is not in this database (did you mean `shop`?)" in done.stderr


@pytest.mark.parametrize("command", [["show"], ["watch"], ["graph", "--run"]])
def test_an_unknown_run_and_what_is_no_id_are_told(look, command):
    unknown = look(*command, UNKNOWN, code=1)
    assert f"there is no run {UNKNOWN} in this database" in unknown.stderr
    assert "'12' is no run id" in look(*command, "12", code=2).stderr


def test_show_tells_how_a_completed_run_went(look, shop):
    head, _, below = look("show", shop.completed).stdout.partition("\n\n")
    assert head.startswith("✔ shop completed in ")
    assert f"run      {shop.completed}" in head
    assert 'output   {"total": 9}' in head
    rows = {row[0]: row for row in table(below)}
    assert rows["articles"][1] == "completed"
    assert rows["price"][1:3] == ["completed", "2/2"]
    assert rows["gift"][-1] == "its condition was not met"


def test_show_lists_the_tasks_that_failed_and_all_on_request(look, shop):
    text = look("show", shop.failed).stdout
    lines = [line for line in text.splitlines() if line.startswith("  [")]
    assert len(lines) == 1
    assert re.match(r"  \[1\] +failed +\S+ s +2  ValueError: no price\\x1b\[31m for it$", lines[0])
    assert "  2 more" in text
    assert f"run {shop.failed} failed in step price[1] after 2 attempts: ValueError" in text
    everything = look("show", shop.failed, "--tasks").stdout
    assert [line[2:5] for line in everything.splitlines() if line.startswith("  [")] == ["[0]", "[1]", "[2]"]


def test_nothing_that_a_handler_wrote_steers_the_terminal(look, shop):
    for command in ("show", "watch"):
        done = look(command, shop.failed, code=0 if command == "show" else 1)
        assert "\x1b" not in done.stdout + done.stderr


def test_show_as_json_has_everything_by_its_name_in_python(look, shop):
    run = json.loads(look("show", shop.failed, "--json").stdout)
    assert (run["run_id"], run["flow_slug"], run["status"]) == (str(shop.failed), "shop", "failed")
    failed = run["steps"]["price"]["tasks"][1]
    assert (failed["task_index"], failed["attempts"], failed["status"]) == (1, 2, "failed")
    assert failed["seconds"] >= 0
    assert run["steps"]["articles"]["output"] == ["tea", "none", "salt"]
    assert run["started_at"].endswith("+00:00")


def test_on_a_terminal_there_are_colours_and_bars_and_lines_fit(look, shop, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "110")
    text = look("show", shop.failed).stdout
    assert "\x1b[1;31mfailed" in text
    assert "━" in text
    assert "├─" in text
    drawn, _, explained = re.sub(r"\x1b\[[\d;]*m", "", text).rpartition("\n\n")
    assert max(map(len, drawn.splitlines())) <= 110
    assert "Traceback" in explained
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in look("show", shop.failed).stdout.replace("\\x1b[31m", "")


def test_watch_ends_with_the_run_and_says_how(look, shop):
    assert look("watch", shop.completed).stdout.endswith(" 3 tasks done\n") is False
    completed = look("watch", shop.completed)
    assert "price: completed 2 tasks in" in completed.stdout
    failed = look("watch", shop.failed, code=1)
    assert "price: failed after 2 attempts" in failed.stdout
    assert "failed in step price[1]" in failed.stderr


def test_watch_as_json_lines_and_with_a_time_limit(look, shop):
    done = look("watch", shop.waiting, "--json", "--timeout", "0.3", code=124)
    (seen,) = map(json.loads, done.stdout.splitlines())
    assert (seen["run_id"], seen["flow_slug"], seen["status"]) == (str(shop.waiting), "shop", "started")
    assert [step["slug"] for step in seen["steps"]] == ["articles", "price", "gift", "total"]
    assert "goes on" in done.stderr


def test_ctrl_c_leaves_the_run_as_it_is_and_says_so(look, shop, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("pgflow_mp.cli.waiting.time.sleep", interrupt)
    done = look("watch", shop.waiting, code=130)
    assert done.stderr == f"pgflow-mp: interrupted by SIGINT: run {shop.waiting} goes on\n"


def test_watch_without_a_run_follows_all_that_are_under_way(look, shop):
    done = look("watch", "--timeout", "0.1", code=124)
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"shop {shop.waiting}: under way for ")
    (event,) = map(
        json.loads, look("watch", "--flow", "shop", "--json", "--timeout", "0.1", code=124).stdout.splitlines()
    )
    assert (event["event"], event["run_id"], event["steps"]) == ("started", str(shop.waiting), 4)


def test_on_a_terminal_watch_draws_a_table(look, shop, monkeypatch):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)
    crowd = re.sub(r"\x1b\[[\d;?]*\w", "", look("watch", "--timeout", "0.1", code=124).stdout)
    assert "RETRYING" in crowd
    assert str(shop.waiting) in crowd
    assert crowd.rstrip().endswith("1 run under way")
    one = look("watch", shop.completed).stdout
    assert "\x1b[32m✔" in one
    assert "completed in" in one


def test_watch_tells_when_a_run_moves_and_ends(look, looking_dsn, runner):
    from pgflow_mp.cli.crowd import _News
    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.queries.progress import active_runs

    with psycopg.connect(looking_dsn, autocommit=True) as conn, PgFlow(looking_dsn) as app:
        db, run_id = Session(looking_dsn, conn), app.start_flow("shop", {"articles": []})
        news = _News(db)

        def events():
            return [event for event, run in news.of(db.ask(active_runs("shop"))) if run.run_id == run_id]

        assert events() == ["started"]
        assert events() == []
        worker = conn.execute(
            "insert into pgflow.workers (worker_id, queue_name, function_name) "
            "values (gen_random_uuid(), 'shop', 't') returning worker_id"
        ).fetchone()[0]
        (message,) = conn.execute("select message_id from pgflow.step_tasks where run_id = %s", [run_id]).fetchone()
        conn.execute("select pgflow.start_tasks('shop', array[%s::bigint], %s)", [message, worker])
        assert events() == ["moved"]
        conn.execute("select pgflow.fail_task(%s, 'articles', 0, 'no')", [run_id])
        conn.execute("select * from pgflow_mp.skip_delays(array[%s::uuid])", [run_id])
        conn.execute("select pgflow.start_tasks('shop', array[%s::bigint], %s)", [message, worker])
        conn.execute("select pgflow.fail_task(%s, 'articles', 0, 'no')", [run_id])
        assert events() == ["failed"]
        conn.execute("delete from pgflow.workers where worker_id = %s", [worker])


def test_the_progress_that_a_handler_told_is_seen(look, looking_dsn, shop):
    with psycopg.connect(looking_dsn, autocommit=True) as conn:
        conn.execute("begin")
        conn.execute(
            "update pgflow.step_tasks set status = 'started', attempts_count = 1, started_at = now() where run_id = %s",
            [shop.waiting],
        )
        conn.execute(
            "insert into pgflow_mp.task_progress values (%s, 'articles', 0, 1, 0.4, 'page 40', now())", [shop.waiting]
        )
        conn.execute("commit")
        assert re.search(r"articles +started .*  40% page 40$", look("show", shop.waiting).stdout, re.MULTILINE)
        seen = json.loads(look("watch", shop.waiting, "--json", "--timeout", "0.1", code=124).stdout.splitlines()[0])
        assert (seen["steps"][0]["fraction"], seen["steps"][0]["message"]) == (0.4, "page 40")
        conn.execute("update pgflow.step_tasks set attempts_count = 2 where run_id = %s", [shop.waiting])
        assert "page 40" not in look("show", shop.waiting).stdout  # that was the attempt before
        conn.execute(
            "update pgflow.step_tasks set status = 'queued', attempts_count = 0 where run_id = %s", [shop.waiting]
        )
        conn.execute("delete from pgflow_mp.task_progress")


def test_the_flow_filter_is_for_watching_all(look, shop):
    assert "--flow is for watching all" in look("watch", shop.waiting, "--flow", "shop", code=2).stderr


def test_workers_are_listed_with_their_state(look):
    assert sorted(row[:3] for row in table(look("workers").stdout)) == [["shop", "dead", "0"], ["shop", "live", "0"]]
    everyone = json.loads(look("workers", "shop", "--all", "--json").stdout)
    assert sorted(worker["state"] for worker in everyone) == ["dead", "live", "stopped"]
    assert everyone[0]["function_name"] == "shop worker"


def test_mermaid_has_a_line_for_each_step_and_dependency(look):
    lines = [line.strip() for line in look("graph", "shop").stdout.splitlines()]
    assert lines[0] == "flowchart LR"
    assert {'n0["articles"]', 'n1[["price<br/>map"]]', "n0 --> n1", "n2 --> n3", "class n2 conditional"} <= set(lines)


def test_the_svg_of_a_run_has_each_step_in_its_state_and_no_unescaped_text(look, shop, tmp_path):
    file = tmp_path / "run.svg"
    assert look("graph", "--run", shop.failed, "-o", file).stdout == ""
    root = ET.parse(file).getroot()
    space = {"s": "http://www.w3.org/2000/svg"}
    assert root.find("s:title", space).text == f"run {shop.failed} of flow shop, failed"
    words = [text.text for text in root.findall("s:text", space)]
    assert {"articles", "price", "gift", "total"} <= set(words)
    kinds = [box.get("class") for box in root.findall("s:rect", space)]
    assert kinds.count("box failed") == 2  # a map step is two cards
    assert "box skipped conditional" in kinds
    assert len(root.findall("s:path", space)) == 3


def test_a_flow_in_code_is_drawn_without_a_database(call, tmp_path):
    (tmp_path / "here.py").write_text(
        "from pgflow_mp import Flow, step\n\nclass Here(Flow):\n    @step\n    def end(flow_input):\n        return 1\n"
    )
    done = call("graph", "here.py", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    picture = json.loads(done.stdout)
    assert [node["slug"] for node in picture["nodes"]] == ["end"]
    assert picture["edges"] == []
    assert call("graph", "here.py", "--format", "svg").stdout.startswith("<svg")


def test_a_graph_needs_one_thing_to_draw_and_a_place_to_write(look, tmp_path):
    assert "name a flow to draw" in look("graph", code=2).stderr
    assert "name a flow to draw" in look("graph", "shop", "--run", str(uuid.uuid4()), code=2).stderr
    assert "cannot write" in look("graph", "shop", "-o", tmp_path / "no" / "x.svg", code=2).stderr
