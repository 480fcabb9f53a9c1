"""Workers and clients of other languages, replayed: the statements that each generation sends, in order and form.

No sibling's own program runs here (docs/compatibility.md says what that means): what is replayed is what is known of
them. Rules: generations 7.2, 7.3, 8.1, 8.2, 8.3, 9.1; D-1.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

import pytest
from psycopg.types.json import Jsonb

from pgflow_mp import Flow, PgFlow, map_step, step

from .ask import column, rows, value


class Greet(Flow, slug="Greet"):
    """A map and a join; its slug has an upper-case letter, the queue has none (generations QI-1)."""

    @map_step
    def upper(item):
        return item.upper()

    @step
    def join(upper):
        return "".join(upper)


SHAPE = json.dumps(Greet.definition.shape())
ROUTES = json.dumps([{"stepSlug": slug, "queueName": "greet"} for slug in ("upper", "join")])

# Text without a type is what the drivers of TypeScript send; psycopg does the same.
TRACK_ONE = "select pgflow.track_worker_function(%s)"
TRACK_TWO = "select pgflow.track_worker_function(%s, 'process')"
COMPILE_THREE = "select pgflow.ensure_flow_compiled(%s, %s::jsonb, false)"
COMPILE_TWO = "select pgflow.ensure_flow_compiled(%s, %s::jsonb)"
COMPILE_FOUR = "select pgflow.ensure_flow_compiled(%s, %s::jsonb, 'flow'::text, %s::jsonb)"
REGISTER_THREE = "insert into pgflow.workers (queue_name, worker_id, function_name) values (%s, %s, %s)"
REGISTER_FOUR = (
    "insert into pgflow.workers (queue_name, worker_id, function_name, pgflow_version) values (%s, %s, %s, '0.17.1')"
)
REGISTER_CALL = "select * from pgflow.register_worker(%s, %s, %s)"
CLAIM_THREE = "select * from pgflow.start_tasks(flow_slug => %s, msg_ids => %s::bigint[], worker_id => %s::uuid)"
CLAIM_FOUR = (
    "select * from pgflow.start_tasks("
    "flow_slug => %s, msg_ids => %s::bigint[], worker_id => %s::uuid, queue_name => 'greet'::text)"
)
CLAIM_FIVE = (
    "select * from pgflow.start_tasks(flow_slug => %s, msg_ids => %s::bigint[], worker_id => %s::uuid, "
    "queue_name => 'greet'::text, step_slug => null::text)"
)
CLAIM_ELIXIR = "select * from pgflow.start_tasks(%s::text, %s::bigint[], %s::uuid, 'greet'::text)"
READ = (
    "select * from pgmq.read_with_poll("
    "queue_name => 'greet', vt => 2, qty => 10, max_poll_seconds => 1, poll_interval_ms => 50)"
)
READ_ELIXIR = (
    "select msg_id, read_ct, enqueued_at, vt, message from pgmq.read(queue_name => 'greet', vt => 30, qty => 10)"
)


@dataclass(frozen=True)
class Sibling:
    """What the worker of one generation sends (generations 8.2)."""

    name: str
    start_up: tuple[str, ...]
    claim: str
    read: str = READ
    queue_name: str = "greet"


SIBLINGS = [
    Sibling("TypeScript 0.14", (TRACK_ONE, COMPILE_THREE, REGISTER_THREE), CLAIM_THREE, queue_name="Greet"),
    Sibling("TypeScript 0.15 process", (TRACK_TWO, COMPILE_THREE, REGISTER_THREE), CLAIM_THREE, queue_name="Greet"),
    Sibling("TypeScript 0.16", (COMPILE_TWO, TRACK_TWO, REGISTER_THREE), CLAIM_THREE, queue_name="Greet"),
    Sibling("TypeScript 94490709", (COMPILE_TWO, TRACK_TWO, REGISTER_THREE), CLAIM_FOUR),
    Sibling("TypeScript 0.17.0", (COMPILE_FOUR, TRACK_TWO, REGISTER_THREE), CLAIM_FIVE),
    Sibling("TypeScript 0.17.1", (COMPILE_FOUR, TRACK_TWO, REGISTER_FOUR), CLAIM_FIVE),
    Sibling("Elixir", (COMPILE_TWO, TRACK_TWO, REGISTER_CALL), CLAIM_ELIXIR, READ_ELIXIR),
]
each = pytest.mark.parametrize("sibling", SIBLINGS, ids=lambda sibling: sibling.name)


def start_up(conn, sibling):
    """Send what the worker sends before its first poll; return its id."""
    worker_id = uuid.uuid4()
    given = {
        TRACK_ONE: ["sibling"],
        TRACK_TWO: ["sibling"],
        COMPILE_TWO: ["Greet", SHAPE],
        COMPILE_THREE: ["Greet", SHAPE],
        COMPILE_FOUR: ["Greet", SHAPE, ROUTES],
        REGISTER_THREE: [sibling.queue_name, worker_id, "sibling"],
        REGISTER_FOUR: [sibling.queue_name, worker_id, "sibling"],
        REGISTER_CALL: [worker_id, sibling.queue_name, "elixir:Greet"],
    }
    for statement in sibling.start_up:
        conn.execute(statement, given[statement])
    return worker_id


def work(conn, sibling, worker_id):
    """One poll: read, claim, complete each task; return how many there were."""
    read = [str(row[0]) for row in rows(conn, sibling.read)]  # as decimal texts (8.2 note 1)
    cursor = conn.execute(sibling.claim, ["Greet", read, worker_id])
    names = [column.name for column in cursor.description]
    tasks = [dict(zip(names, row, strict=True)) for row in cursor]
    for task in tasks:
        output = task["input"].upper() if task["step_slug"] == "upper" else "".join(task["input"]["upper"])
        conn.execute(
            "select * from pgflow.complete_task("
            "run_id => %s::uuid, step_slug => %s::text, task_index => %s::int, output => %s::jsonb)",
            (task["run_id"], task["step_slug"], task["task_index"], Jsonb(output)),
        )
    return len(tasks)


@each
def test_a_worker_of_each_generation_takes_a_run_to_its_end(db, sibling):
    """generations 8.1, 8.2, 8.3 (last row)."""
    worker_id = start_up(db, sibling)
    run_id = value(db, "select run_id from pgflow.start_flow(flow_slug => %s, input => %s)", "Greet", '["a", "b"]')
    assert work(db, sibling, worker_id) == 2
    beat = "update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = %s returning "
    assert column(db, beat + "deprecated_at is not null", worker_id) == [False]
    assert work(db, sibling, worker_id) == 1
    assert rows(db, "select status, output from pgflow.runs where run_id = %s", run_id) == [
        ("completed", {"join": "AB"})
    ]
    db.execute("select pgflow.mark_worker_stopped(%s::uuid)", (worker_id,))
    assert column(db, "select stopped_at is not null from pgflow.workers where worker_id = %s", worker_id) == [True]


@each
def test_a_failure_told_by_each_generation_is_retried_by_any_worker(db, sibling):
    """generations 8.1."""
    worker_id = start_up(db, sibling)
    run_id = value(db, "select run_id from pgflow.start_flow('Greet', '[\"a\"]'::jsonb)")
    read = [str(row[0]) for row in rows(db, sibling.read)]
    db.execute(sibling.claim, ["Greet", read, worker_id])
    db.execute(
        "select * from pgflow.fail_task("
        "run_id => %s::uuid, step_slug => %s::text, task_index => %s::int, error_message => %s::text)",
        (run_id, "upper", 0, "no"),
    )
    assert rows(db, "select status, attempts_count, error_message from pgflow.step_tasks") == [("queued", 1, "no")]


def test_what_one_language_compiled_the_others_accept(db):
    """generations 8.2, SU-3: the shape is the same whoever sends it."""
    for sibling in SIBLINGS:
        start_up(db, sibling)
    assert value(db, "select count(*) from pgflow.flows") == 1


def test_the_elixir_worker_finds_all_that_it_demands_at_its_start(db):
    """generations 7.2."""
    found = value(
        db,
        "select array[to_regprocedure('pgflow.ensure_flow_compiled(text,jsonb)') is not null, "
        "to_regprocedure('pgflow.track_worker_function(text,text)') is not null, "
        "to_regprocedure('pgflow.start_tasks(text,bigint[],uuid,text)') is not null, "
        "to_regprocedure('pgflow.start_tasks(text,bigint[],uuid)') is null]",
    )
    assert found == [True] * 4
    attributes = column(
        db,
        "select a.attname || ' ' || format_type(a.atttypid, null) from pg_attribute as a "
        "where a.attrelid = 'pgflow.step_task_record'::regclass order by a.attnum",
    )
    assert attributes == [
        "flow_slug text",
        "run_id uuid",
        "step_slug text",
        "input jsonb",
        "msg_id bigint",
        "task_index integer",
        "flow_input jsonb",
        "attempts_count integer",
    ]
    comments = column(
        db,
        "select obj_description(view::regclass) from unnest("
        "array['pgflow.pgflow_version', 'pgflow.extensions_version']) as view",
    )
    assert [int(comment.rpartition("version=")[2]) for comment in comments] == [2, 5]


def test_clients_of_other_languages_start_and_read_runs(db):
    """generations 8.1: named arguments, as PostgREST sends them."""
    start_up(db, SIBLINGS[0])
    own_id = uuid.uuid4()
    started = value(
        db,
        "select pgflow.start_flow_with_states(flow_slug => %s, input => %s, run_id => %s)",
        "Greet",
        Jsonb(["a"]),
        own_id,
    )
    assert started["run"]["run_id"] == str(own_id)
    found = value(db, "select pgflow.get_run_with_states(run_id => %s)", own_id)
    assert {state["step_slug"]: state["status"] for state in found["steps"]} == {"upper": "started", "join": "created"}


def test_a_run_is_begun_by_one_language_and_ended_by_another(pgflow_dsn, pgflow_conn):
    """generations 8.3: our client starts, two siblings take one task each, our client reads."""
    first, second = SIBLINGS[0], SIBLINGS[-1]
    ids = [start_up(pgflow_conn, sibling) for sibling in (first, second)]
    with PgFlow(pgflow_dsn) as app:
        run_id = app.start_flow(Greet, ["x"], idempotency_key="once")
        assert work(pgflow_conn, first, ids[0]) == 1
        assert work(pgflow_conn, second, ids[1]) == 1
        assert app.get_run(run_id).output == {"join": "X"}
