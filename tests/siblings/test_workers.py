"""Workers and clients of other languages, replayed: the statements that each generation sends, in order and form.

No sibling's own program runs here (docs/compatibility.md says what that means): what is replayed is what is known of
them. Rules: generations 7.2, 7.3, 8.1, 8.2, 8.3, 9.1; D-1.
"""

from __future__ import annotations

import json
import uuid

import pytest
from psycopg.types.json import Jsonb

from pgflow_mp import PgFlow
from tests.core.ask import column, refusal, rows, value

from .forms import FORMS
from .generations import ELIXIR, GENERATIONS
from .replay import FORM, Refused, Replayed
from .world import Greet, Solo

each = pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation.name)


def greet(task):
    return task["input"].upper() if task["step_slug"] == "upper" else "".join(task["input"]["upper"])


def fail(task):
    raise ValueError("no")


def worker_of(conn, generation, handle=greet, flow=Greet):
    """A worker that is up."""
    worker = Replayed(conn, generation, flow.definition, handle)
    worker.start_up()
    return worker


@each
def test_a_worker_of_each_generation_takes_a_run_to_its_end(db, generation):
    """generations 8.1, 8.2, 8.3 (last row)."""
    worker = worker_of(db, generation)
    run_id = value(db, "select run_id from pgflow.start_flow(flow_slug => %s, input => %s)", "Greet", '["a", "b"]')
    assert worker.poll() == 2
    worker.beat()
    assert not worker.told_to_stop
    assert worker.poll() == 1
    assert rows(db, "select status, output from pgflow.runs where run_id = %s", run_id) == [
        ("completed", {"join": "AB"})
    ]
    worker.stop()
    stopped = "select stopped_at is not null from pgflow.workers where worker_id = %s"
    assert column(db, stopped, worker.worker_id) == [True]


@each
def test_a_failure_told_by_each_generation_is_retried_by_any_worker(db, generation):
    """generations 8.1."""
    worker = worker_of(db, generation, fail)
    db.execute("select pgflow.start_flow('Greet', '[\"a\"]'::jsonb)")
    assert worker.poll() == 1
    assert rows(db, "select status, attempts_count, error_message from pgflow.step_tasks") == [("queued", 1, "no")]


@each
def test_a_worker_that_is_deprecated_or_has_lost_its_row_stops_as_its_generation_does(db, generation):
    """generations 3.4, 8.2 (last column), SU-7."""
    worker = worker_of(db, generation)
    db.execute("update pgflow.workers set deprecated_at = now()")
    worker.beat()
    assert worker.told_to_stop
    db.execute("delete from pgflow.workers")
    worker.beat()
    assert worker.told_to_stop is generation.stops_without_row


@each
def test_a_flow_with_a_queue_for_each_step_is_refused_to_workers_that_know_one(db, generation):
    """generations SU-3, SU-4: the answer to compiling is mismatch, and the claim an error of the poll."""
    shape = json.dumps(Solo.definition.shape())
    db.execute("select pgflow.ensure_flow_compiled('Solo', %s::jsonb, 'step')", [shape])
    with pytest.raises(Refused, match=r"mismatch.*Queue mode differs"), db.transaction():
        worker_of(db, generation, flow=Solo)
    if generation.claim != "TS 0.17 claim":
        worker = Replayed(db, generation, Solo.definition, greet)
        with pytest.raises(Refused, match="an exact step_slug is required"), db.transaction():
            worker.claim(["1"])


def test_the_elixir_worker_frees_what_a_dead_worker_holds(db):
    """generations 7.1, 8.2 note 4."""
    dead, alive = worker_of(db, GENERATIONS[0]), worker_of(db, ELIXIR)
    db.execute("select pgflow.start_flow('Greet', '[\"a\"]'::jsonb)")
    (message,) = column(db, "select msg_id::text from pgmq.q_greet")
    assert len(dead.claim([message])) == 1
    alive.recover()
    assert alive.poll() == 0
    db.execute(
        "update pgflow.step_tasks set queued_at = now() - interval '1 hour', started_at = now() - interval '1 hour'"
    )
    alive.recover()
    assert alive.poll() == 1


def test_the_elixir_worker_archives_messages_whose_step_has_ended(db):
    """generations 8.2 note 4."""
    worker = worker_of(db, ELIXIR)
    db.execute("select pgflow.start_flow('Greet', '[\"a\"]'::jsonb)")
    worker.recover()
    assert value(db, "select count(*) from pgmq.q_greet") == 1
    db.execute("update pgflow.step_states set status = 'failed', failed_at = now() where step_slug = 'upper'")
    worker.recover()
    assert value(db, "select count(*) from pgmq.q_greet") == 0


def test_what_one_language_compiled_the_others_accept(db):
    """generations 8.2, SU-3: the shape is the same whoever sends it."""
    for generation in GENERATIONS:
        worker_of(db, generation)
    assert value(db, "select count(*) from pgflow.flows") == 1


def test_every_call_that_a_worker_sends_is_one_of_the_forms(db):
    """What a worker sends is what the test of the forms sends in every way."""
    sent = {name for generation in GENERATIONS for name in (*generation.start_up, generation.claim)}
    assert sent <= {form.name for form in FORMS}
    assert len(FORM) == len(FORMS), "two forms have one name"


def test_the_elixir_worker_finds_all_that_it_demands_at_its_start(db):
    """generations 7.2."""
    assert set(Replayed(db, ELIXIR, Greet.definition, greet).send("Elixir's demands")[0].values()) == {"t"}
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


def test_elixir_s_check_of_the_schema_finds_nothing(db):
    """generations 7.2.5: what `mix pgflow.check_schema` looks at beyond the start of a worker."""
    (valid,) = column(
        db,
        "select pg_get_constraintdef(oid) from pg_constraint "
        "where conname = 'valid_status' and conrelid = 'pgflow.step_tasks'::regclass",
    )
    statuses = ("queued", "started", "completed", "failed", "skipped", "cancelled")
    assert all(f"'{status}'" in valid for status in statuses)
    checked = (
        "select count(*) from pg_attribute as a join pg_constraint as c on c.conrelid = a.attrelid "
        "where a.attrelid in ('pgflow.steps'::regclass, 'pgflow.step_tasks'::regclass) and a.attname = 'queue_name' "
        "and a.attnotnull and c.conname = 'queue_name_is_valid'"
    )
    assert value(db, checked) == 2
    assert value(db, "select to_regclass('pgmq.meta') is not null")


def test_clients_of_other_languages_start_and_read_runs(db):
    """generations 8.1: named arguments, as PostgREST sends them."""
    worker_of(db, GENERATIONS[0])
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


def test_no_function_that_clients_call_by_names_has_a_second_form(db):
    """generations 9.1: PostgREST picks a function by the names of its arguments; old ones are never overloaded."""
    names = [
        *("start_flow", "start_flow_with_states", "get_run_with_states", "complete_task", "fail_task"),
        *("create_flow", "add_step", "track_worker_function"),
    ]
    counted = "select count(*) from pg_proc where pronamespace = 'pgflow'::regnamespace and proname = any (%s)"
    assert value(db, counted, names) == len(names)


def test_an_old_snippet_for_pruning_stays_usable_beside_ours(db):
    """generations 9.2 row 6: users have `prune_data_older_than(interval)`; our two arguments have no default."""
    db.execute(
        "create function pgflow.prune_data_older_than(retention_interval interval) returns void language sql as ''"
    )
    db.execute("select pgflow.prune_data_older_than(interval '30 days')")
    assert rows(db, "select * from pgflow.prune_data_older_than(interval '30 days', null)") == [(0, 0, 0, 0)]


def test_telemetry_is_left_out(db):
    """generations 6.5, 9.3."""
    assert value(db, "select to_regnamespace('pgflow_telemetry') is null")


def test_a_third_form_of_tracking_would_be_ambiguous_and_is_not_there(db):
    """generations 9.2 row 5: why the function of one argument is not kept beside that of two."""
    db.execute("select pgflow.track_worker_function('mine')")
    db.execute("create function pgflow.track_worker_function(text) returns void language sql as ''")
    assert refusal(db, "select pgflow.track_worker_function('mine')")[0] == "42725"


def test_a_run_is_begun_by_one_language_and_ended_by_another(pgflow_dsn, pgflow_conn):
    """generations 8.3: our client starts, two siblings take one task each, our client reads."""
    first, second = (worker_of(pgflow_conn, generation) for generation in (GENERATIONS[0], ELIXIR))
    with PgFlow(pgflow_dsn) as app:
        run_id = app.start_flow(Greet, ["x"], idempotency_key="once")
        assert first.poll() == 1
        assert second.poll() == 1
        assert app.get_run(run_id).output == {"join": "X"}
