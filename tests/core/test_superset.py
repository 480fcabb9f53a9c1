"""What one schema for workers of all generations needs beyond its tables and signatures. Rules: generations 9.2, 9.3,
9.4; other tests hold the rest (python ci/rules.py --verbose names them)."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from .ask import column, rows, value
from .test_define_shapes import shape, step

ONE = shape(step("a"))

DEFINITION_WRITERS = {
    "create_flow": "select pgflow.create_flow('MyFlow')",
    "add_step": "select pgflow.add_step('MyFlow', 'a')",
    "compile with two": "select pgflow.ensure_flow_compiled('MyFlow', %(shape)s)",
    "compile with three": "select pgflow.ensure_flow_compiled('MyFlow', %(shape)s, false)",
    "compile with four": "select pgflow.ensure_flow_compiled('MyFlow', %(shape)s, 'flow', null)",
    "compile with step queues": "select pgflow.ensure_flow_compiled('MyFlow', %(shape)s, 'step')",
    "create from shape": "select pgflow._create_flow_from_shape('MyFlow', %(shape)s)",
    "create from shape with step queues": "select pgflow._create_flow_from_shape('MyFlow', %(shape)s, 'step')",
    "delete": "select pgflow.delete_flow_and_data('MyFlow')",
    "our compile": "select pgflow_mp.compile_flow('MyFlow', %(shape)s)",
}


@pytest.fixture
def holder(_silent_dsn):
    """A session that holds the lock of flow MyFlow, as Elixir's own upsert takes it."""
    with psycopg.connect(_silent_dsn, autocommit=True) as conn:
        conn.execute("select pg_advisory_lock(1, hashtext(lower('MyFlow')))")
        yield conn


@pytest.mark.parametrize("writer", DEFINITION_WRITERS.values(), ids=DEFINITION_WRITERS)
def test_every_writer_of_definitions_waits_for_the_lock_of_the_slug(db, holder, writer):
    """generations QI-7, SU-8."""
    db.execute("set local lock_timeout = '20ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable), db.transaction():
        db.execute(writer, {"shape": Jsonb(ONE)})


def test_another_flow_is_not_held_up(db, holder):
    db.execute("set local lock_timeout = '20ms'")
    db.execute("select pgflow.create_flow('Other')")


def test_the_unique_indexes_have_their_names(db):
    """generations 9.3."""
    found = rows(
        db,
        "select c.relname, pg_get_indexdef(i.indexrelid, 1, true), pg_get_indexdef(i.indexrelid, 2, true) "
        "from pg_index as i join pg_class as c on c.oid = i.indexrelid "
        "where i.indisunique and c.relnamespace = 'pgflow'::regnamespace and c.relname like 'idx%%' order by 1",
    )
    assert found == [
        ("idx_flows_normalized_slug", "lower(flow_slug)", ""),
        ("idx_step_tasks_queue_message", "queue_name", "message_id"),
        ("idx_steps_normalized_slug", "flow_slug", "lower(step_slug)"),
    ]


def test_no_call_has_a_default_where_a_shorter_form_stands(db):
    """generations 9.2 rows 1, 3, 4: with upstream's defaults, calls of two and of four arguments were ambiguous."""
    found = rows(
        db,
        "select proname, pronargs, pronargdefaults from pg_proc where pronamespace = 'pgflow'::regnamespace "
        "and proname in ('start_tasks', 'ensure_flow_compiled') order by 1, 2",
    )
    assert found == [
        ("ensure_flow_compiled", 2, 0),
        ("ensure_flow_compiled", 3, 0),
        ("ensure_flow_compiled", 4, 1),
        ("start_tasks", 4, 1),
        ("start_tasks", 5, 0),
    ]


def test_a_migration_of_elixir_finds_its_versions_there(db):
    """generations 7.1, 9.2 row 8: the label is free, the number ends the comment of a view."""
    comments = column(
        db,
        "select obj_description(c.oid) from pg_class as c where c.relnamespace = 'pgflow'::regnamespace "
        "and c.relkind = 'v' and c.relname in ('pgflow_version', 'extensions_version') order by c.relname desc",
    )
    assert [comment.split(" ")[-1] for comment in comments] == ["version=2", "version=5"]


def test_liveness_of_a_queue_is_asked_without_regard_to_case(db):
    """generations SU-2: workers up to 0.16 write the slug as it is, later ones in lower case."""
    for queue in ("InCase", "incase"):
        db.execute(
            "insert into pgflow.workers (worker_id, queue_name, function_name) values (gen_random_uuid(), %s, 'w')",
            [queue],
        )
    db.execute("select pgflow.ensure_flow_compiled('InCase', %s)", [Jsonb(ONE)])
    assert value(db, "select live_workers from pgflow_mp.flow_activity() where flow_slug = 'InCase'") == 2
