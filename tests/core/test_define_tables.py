"""The tables as workers of other languages see them. Rules: core section 2, generations 9.3."""

import uuid

import pytest

from .ask import column, refusal, rows, value

# column type [not null] [= default]
COLUMNS = {
    "flows": """
flow_slug text not null
opt_max_attempts int not null = 3
opt_base_delay int not null = 1
opt_timeout int not null = 60
created_at timestamptz not null = now()
queue_mode text not null = 'flow'
flow_type text not null = 'flow'
""",
    "steps": """
flow_slug text not null
step_slug text not null
step_type text not null = 'single'
step_index int not null = 0
deps_count int not null = 0
opt_max_attempts int
opt_base_delay int
opt_timeout int
opt_start_delay int
required_input_pattern jsonb
forbidden_input_pattern jsonb
when_unmet text not null = 'skip'
when_exhausted text not null = 'fail'
created_at timestamptz not null = now()
queue_name text not null
""",
    "deps": """
flow_slug text not null
dep_slug text not null
step_slug text not null
created_at timestamptz not null = now()
""",
    "runs": """
run_id uuid not null = gen_random_uuid()
flow_slug text not null
status text not null = 'started'
input jsonb not null
output jsonb
remaining_steps int not null = 0
started_at timestamptz not null = now()
completed_at timestamptz
failed_at timestamptz
""",
    "step_states": """
flow_slug text not null
run_id uuid not null
step_slug text not null
status text not null = 'created'
remaining_tasks int
initial_tasks int
remaining_deps int not null = 0
output jsonb
error_message text
skip_reason text
created_at timestamptz not null = now()
started_at timestamptz
completed_at timestamptz
failed_at timestamptz
skipped_at timestamptz
""",
    "step_tasks": """
flow_slug text not null
run_id uuid not null
step_slug text not null
message_id bigint
task_index int not null = 0
status text not null = 'queued'
attempts_count int not null = 0
error_message text
output jsonb
queued_at timestamptz not null = now()
started_at timestamptz
completed_at timestamptz
failed_at timestamptz
last_worker_id uuid
requeued_count int not null = 0
last_requeued_at timestamptz
permanently_stalled_at timestamptz
queue_name text not null
""",
    "workers": """
worker_id uuid not null
queue_name text not null
function_name text not null
started_at timestamptz not null = now()
deprecated_at timestamptz
stopped_at timestamptz
last_heartbeat_at timestamptz not null = now()
pgflow_version text
""",
    "worker_functions": """
function_name text not null
enabled boolean not null = true
debounce interval not null = '00:00:06'
last_invoked_at timestamptz
created_at timestamptz not null = now()
updated_at timestamptz not null = now()
start_mode text not null = 'http'
""",
}

CONSTRAINTS = {
    "flows": "flows_pkey slug_is_valid opt_max_attempts_is_nonnegative opt_base_delay_is_nonnegative "
    "opt_timeout_is_positive queue_mode_is_valid flow_type_is_valid",
    "steps": "steps_pkey steps_flow_slug_fkey steps_flow_slug_step_index_key steps_step_slug_check "
    "steps_step_type_check steps_deps_count_check opt_max_attempts_is_nonnegative opt_base_delay_is_nonnegative "
    "opt_start_delay_is_nonnegative opt_timeout_is_positive required_input_pattern_is_object "
    "forbidden_input_pattern_is_object when_unmet_is_valid when_exhausted_is_valid queue_name_is_valid",
    "deps": "deps_pkey deps_flow_slug_fkey deps_flow_slug_dep_slug_fkey deps_flow_slug_step_slug_fkey deps_check",
    "runs": "runs_pkey runs_flow_slug_fkey runs_remaining_steps_check status_is_valid completed_at_or_failed_at "
    "completed_at_is_after_started_at failed_at_is_after_started_at",
    "step_states": "step_states_pkey step_states_flow_slug_fkey step_states_run_id_fkey "
    "step_states_flow_slug_step_slug_fkey step_states_remaining_deps_check step_states_initial_tasks_check "
    "status_is_valid status_and_remaining_tasks_match remaining_tasks_state_consistency "
    "initial_tasks_known_when_started output_only_for_completed_or_null skip_reason_matches_status "
    "completed_at_or_failed_at_or_skipped_at started_at_is_after_created_at skipped_at_is_after_created_at "
    "completed_at_is_after_started_at failed_at_is_after_started_at",
    "step_tasks": "step_tasks_pkey step_tasks_flow_slug_fkey step_tasks_run_id_fkey "
    "step_tasks_run_id_step_slug_fkey step_tasks_last_worker_id_fkey valid_status output_valid_only_for_completed "
    "attempts_count_nonnegative completed_at_or_failed_at completed_at_is_after_queued_at "
    "failed_at_is_after_queued_at started_at_is_after_queued_at completed_at_is_after_started_at "
    "failed_at_is_after_started_at queue_name_is_valid",
    "workers": "workers_pkey",
    "worker_functions": "worker_functions_pkey worker_functions_debounce_check worker_functions_start_mode_check",
}


@pytest.fixture
def run(db):
    """A run of flow f with one step a, as rows."""
    db.execute("select pgflow.create_flow('f')")
    db.execute("select pgflow.add_step('f', 'a')")
    return value(db, "insert into pgflow.runs (flow_slug, input) values ('f', '{}') returning run_id")


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_stand_in_the_order_of_the_contract(db, table):
    """core 2.1-2.8 and 2.10, with type and default; generations 9.3 (newer columns behind), 7.3 (status is the sixth of
    step_tasks)."""
    found = column(
        db,
        "select concat_ws(' ', a.attname, "
        "  case t when 'timestamp with time zone' then 'timestamptz' when 'integer' then 'int' else t end, "
        "  case when a.attnotnull then 'not null' end, "
        "  '= ' || split_part(pg_get_expr(d.adbin, d.adrelid), '::', 1)) "
        "from pg_attribute as a "
        "left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum "
        "cross join lateral format_type(a.atttypid, a.atttypmod) as t "
        "where a.attrelid = %s::regclass and a.attnum > 0 order by a.attnum",
        f"pgflow.{table}",
    )
    assert found == COLUMNS[table].strip().splitlines()


def test_the_sixth_column_of_a_task_is_its_status():
    """generations 7.3: it is read by position."""
    assert COLUMNS["step_tasks"].strip().splitlines()[5].startswith("status ")


@pytest.mark.parametrize("table", CONSTRAINTS)
def test_constraints_have_their_names(db, table):
    """core 2.1 to 2.8 [T], 2.3; generations 9.3."""
    found = column(
        db,
        "select conname from pg_constraint where conrelid = %s::regclass and contype <> 'n'",
        f"pgflow.{table}",
    )
    assert set(found) == set(CONSTRAINTS[table].split())


def test_the_claim_s_row_has_eight_attributes_in_order(db):
    """core 2.9 [T]; generations 7.2.3 (the eighth)."""
    found = rows(
        db,
        "select attname, format_type(atttypid, null) from pg_attribute "
        "where attrelid = 'pgflow.step_task_record'::regclass order by attnum",
    )
    assert found == [
        ("flow_slug", "text"),
        ("run_id", "uuid"),
        ("step_slug", "text"),
        ("input", "jsonb"),
        ("msg_id", "bigint"),
        ("task_index", "integer"),
        ("flow_input", "jsonb"),
        ("attempts_count", "integer"),
    ]


@pytest.mark.parametrize(("view", "ending"), [("pgflow_version", "version=2"), ("extensions_version", "version=5")])
def test_the_stamps_end_in_their_version(db, view, ending):
    """generations 7.1, 7.2.4, 7.2.5; D-1."""
    comment = value(db, "select obj_description(%s::regclass)", f"pgflow.{view}")
    assert comment.endswith(f" {ending}")


def test_table_defaults_are_those_of_the_contract(db):
    """core 2.1: the table's base delay is 1, create_flow gives 5; E-5: run ids come by themselves."""
    found = db.execute(
        "insert into pgflow.flows (flow_slug) values ('f') "
        "returning opt_max_attempts, opt_base_delay, opt_timeout, queue_mode, flow_type"
    ).fetchone()
    assert found == (3, 1, 60, "flow", "flow")
    run = "insert into pgflow.runs (flow_slug, input) values ('f', '{}') returning run_id, status, remaining_steps"
    run_id, status, remaining = db.execute(run).fetchone()
    assert (isinstance(run_id, uuid.UUID), status, remaining) == (True, "started", 0)


def test_tasks_know_six_statuses(db, run):
    """generations TS-1, TS-2, 7.2.5."""
    definition = value(db, "select pg_get_constraintdef(oid) from pg_constraint where conname = 'valid_status'")
    for status in ("queued", "started", "completed", "failed", "skipped", "cancelled"):
        assert f"'{status}'" in definition


def test_an_output_needs_a_completed_step(db, run):
    """core 2.5 [T]: 23514 output_only_for_completed_or_null."""
    state, message = refusal(
        db,
        "insert into pgflow.step_states (flow_slug, run_id, step_slug, output) values ('f', %s, 'a', '1')",
        run,
    )
    assert (state, "output_only_for_completed_or_null" in message) == ("23514", True)


# table: what breaks each of its constraints, alone.
BREACHES = {
    "flows": [
        ("flow_slug = 'not-valid'", "slug_is_valid"),
        ("opt_max_attempts = -1", "opt_max_attempts_is_nonnegative"),
        ("opt_base_delay = -1", "opt_base_delay_is_nonnegative"),
        ("opt_timeout = 0", "opt_timeout_is_positive"),
        ("queue_mode = 'x'", "queue_mode_is_valid"),
        ("flow_type = 'x'", "flow_type_is_valid"),
    ],
    "steps": [
        ("step_slug = 'not-valid'", "steps_step_slug_check"),
        ("step_type = 'x'", "steps_step_type_check"),
        ("deps_count = -1", "steps_deps_count_check"),
        ("opt_max_attempts = -1", "opt_max_attempts_is_nonnegative"),
        ("opt_base_delay = -1", "opt_base_delay_is_nonnegative"),
        ("opt_start_delay = -1", "opt_start_delay_is_nonnegative"),
        ("opt_timeout = 0", "opt_timeout_is_positive"),
        ("required_input_pattern = '[]'", "required_input_pattern_is_object"),
        ("forbidden_input_pattern = 'null'", "forbidden_input_pattern_is_object"),
        ("when_unmet = 'x'", "when_unmet_is_valid"),
        ("when_exhausted = 'x'", "when_exhausted_is_valid"),
        ("queue_name = 'F'", "queue_name_is_valid"),
    ],
    "runs": [
        ("remaining_steps = -1", "runs_remaining_steps_check"),
        ("status = 'created'", "status_is_valid"),
        ("completed_at = now(), failed_at = now()", "completed_at_or_failed_at"),
        ("completed_at = started_at - interval '1 us'", "completed_at_is_after_started_at"),
        ("failed_at = started_at - interval '1 us'", "failed_at_is_after_started_at"),
    ],
    "step_states": [
        ("remaining_deps = -1", "step_states_remaining_deps_check"),
        ("initial_tasks = -1", "step_states_initial_tasks_check"),
        ("status = 'cancelled'", "status_is_valid"),
        ("status = 'completed', remaining_tasks = 1", "status_and_remaining_tasks_match"),
        ("remaining_tasks = 1", "remaining_tasks_state_consistency"),
        ("status = 'skipped', skip_reason = 'x', remaining_tasks = 1", "remaining_tasks_state_consistency"),
        ("status = 'started'", "initial_tasks_known_when_started"),
        ("output = '1'", "output_only_for_completed_or_null"),
        ("status = 'failed', output = '1'", "output_only_for_completed_or_null"),
        ("status = 'skipped'", "skip_reason_matches_status"),
        ("skip_reason = 'condition_unmet'", "skip_reason_matches_status"),
        ("completed_at = now(), failed_at = now()", "completed_at_or_failed_at_or_skipped_at"),
        ("skipped_at = now(), failed_at = now()", "completed_at_or_failed_at_or_skipped_at"),
        ("started_at = created_at - interval '1 us'", "started_at_is_after_created_at"),
        ("skipped_at = created_at - interval '1 us'", "skipped_at_is_after_created_at"),
        ("started_at = now(), completed_at = now() - interval '1 us'", "completed_at_is_after_started_at"),
        ("started_at = now(), failed_at = now() - interval '1 us'", "failed_at_is_after_started_at"),
    ],
    "step_tasks": [
        ("status = 'created'", "valid_status"),
        ("output = '1'", "output_valid_only_for_completed"),
        ("status = 'skipped', output = '1'", "output_valid_only_for_completed"),
        ("attempts_count = -1", "attempts_count_nonnegative"),
        ("completed_at = now(), failed_at = now()", "completed_at_or_failed_at"),
        ("completed_at = queued_at - interval '1 us'", "completed_at_is_after_queued_at"),
        ("failed_at = queued_at - interval '1 us'", "failed_at_is_after_queued_at"),
        ("started_at = queued_at - interval '1 us'", "started_at_is_after_queued_at"),
        ("started_at = now() + interval '1 us', completed_at = now()", "completed_at_is_after_started_at"),
        ("started_at = now() + interval '1 us', failed_at = now()", "failed_at_is_after_started_at"),
        ("queue_name = 'F'", "queue_name_is_valid"),
        ("queue_name = ''", "queue_name_is_valid"),
    ],
    "worker_functions": [
        ("debounce = interval '999 ms'", "worker_functions_debounce_check"),
        ("start_mode = 'x'", "worker_functions_start_mode_check"),
    ],
}


@pytest.mark.parametrize("table", BREACHES)
def test_every_check_refuses_what_it_is_for(db, run, table):
    """core 2.1 to 2.8 [T], 2.2, 2.5; generations 9.3: 23514, in the name of the constraint; equal times pass."""
    db.execute("insert into pgflow.step_states (flow_slug, run_id, step_slug) values ('f', %s, 'a')", [run])
    db.execute("insert into pgflow.step_tasks (flow_slug, run_id, step_slug) values ('f', %s, 'a')", [run])
    db.execute("select pgflow.track_worker_function('fn')")
    for change, constraint in BREACHES[table]:
        assert refusal(db, f"update pgflow.{table} set {change}") == (
            "23514",
            f'new row for relation "{table}" violates check constraint "{constraint}"',
        ), change
    checks = "select conname from pg_constraint where conrelid = %s::regclass and contype = 'c'"
    assert {name for _, name in BREACHES[table]} == set(column(db, checks, f"pgflow.{table}"))


def test_what_is_just_right_passes_every_check(db, run):
    """core 2.4 to 2.6: within one transaction all times are equal (X-2); a failed task may have an output."""
    db.execute(
        "insert into pgflow.step_states (flow_slug, run_id, step_slug, status, initial_tasks, remaining_tasks, output, "
        "started_at, completed_at) values ('f', %s, 'a', 'completed', 1, 0, '1', now(), now())",
        [run],
    )
    db.execute(
        "insert into pgflow.step_tasks (flow_slug, run_id, step_slug, status, output, started_at, failed_at) "
        "values ('f', %s, 'a', 'failed', '1', now(), now())",
        [run],
    )
    db.execute("update pgflow.runs set status = 'completed', completed_at = started_at, output = null")
    for reference in ("flows", "steps", "runs", "step_states"):
        assert refusal(db, f"delete from pgflow.{reference}")[0] == "23503", reference


def test_a_completed_step_without_a_task_count_passes(db, run):
    """core 2.5: a NULL remaining_tasks makes status_and_remaining_tasks_match pass."""
    db.execute(
        "insert into pgflow.step_states (flow_slug, run_id, step_slug, status) values ('f', %s, 'a', 'completed')",
        [run],
    )


def test_rows_inserted_without_a_queue_get_one(db):
    """generations 9.3: steps lower(flow_slug), tasks their step's route."""
    conn = db
    conn.execute("insert into pgflow.flows (flow_slug) values ('MyFlow')")
    conn.execute("insert into pgflow.steps (flow_slug, step_slug) values ('MyFlow', 'a')")
    conn.execute(
        "insert into pgflow.steps (flow_slug, step_slug, step_index, queue_name) values ('MyFlow', 'b', 1, 'myflow__b')"
    )
    run_id = value(conn, "insert into pgflow.runs (flow_slug, input) values ('MyFlow', '{}') returning run_id")
    for step in ("a", "b"):
        conn.execute(
            "insert into pgflow.step_states (flow_slug, run_id, step_slug) values ('MyFlow', %s, %s)", [run_id, step]
        )
        conn.execute(
            "insert into pgflow.step_tasks (flow_slug, run_id, step_slug) values ('MyFlow', %s, %s)", [run_id, step]
        )
    assert rows(conn, "select step_slug, queue_name from pgflow.step_tasks order by 1") == [
        ("a", "myflow"),
        ("b", "myflow__b"),
    ]


def test_a_message_belongs_to_one_task(db, run):
    """core Q-4, generations QI-1: identity is (queue_name, message_id)."""
    conn = db
    conn.execute("insert into pgflow.step_states (flow_slug, run_id, step_slug) values ('f', %s, 'a')", [run])
    insert = (
        "insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, queue_name) "
        "values ('f', %s, 'a', %s, 7, %s)"
    )
    conn.execute(insert, [run, 0, "f"])
    conn.execute(insert, [run, 1, "other"])
    state, message = refusal(conn, insert, run, 2, "f")
    assert (state, "idx_step_tasks_queue_message" in message) == ("23505", True)


def test_no_index_mentions_what_changes_in_a_run_s_life(db):
    """Updates of runs, states and tasks are heap-only: see tables.sql."""
    found = column(
        db,
        "select indexname from pg_indexes where schemaname = 'pgflow' "
        "and tablename in ('runs', 'step_states', 'step_tasks') "
        "and indexdef ~ '(status|remaining|attempts|completed_at|failed_at|last_worker_id)'",
    )
    assert found == []


def test_deleting_a_worker_keeps_its_tasks(db, run):
    """core WK-6: the reference becomes NULL; ours goes with it."""
    conn = db
    worker = uuid.uuid4()
    conn.execute("select pgflow.register_worker(%s, 'f', 'fn')", [worker])
    conn.execute("insert into pgflow_mp.workers (worker_id, host, pid, version) values (%s, 'h', 1, '0')", [worker])
    conn.execute("insert into pgflow.step_states (flow_slug, run_id, step_slug) values ('f', %s, 'a')", [run])
    conn.execute(
        "insert into pgflow.step_tasks (flow_slug, run_id, step_slug, last_worker_id) values ('f', %s, 'a', %s)",
        [run, worker],
    )
    conn.execute("delete from pgflow.workers")
    assert rows(conn, "select last_worker_id from pgflow.step_tasks") == [(None,)]
    assert rows(conn, "select worker_id from pgflow_mp.workers") == []
