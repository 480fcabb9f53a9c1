"""The functions of schema pgflow as the catalog has them: names, parameters, results. Rules: core 3.0; generations 5.3,
7.1, 9.1; D-1."""

import re

from .ask import column, rows

# name(parameters) -> result | volatility, definer when it runs with its owner's rights.
CONTRACT = """
_archive_task_message(p_run_id uuid, p_step_slug text, p_task_index integer) -> void | volatile
_assert_step_queue_available(p_flow_slug text, p_queue_name text) -> boolean | stable
_cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text) -> integer | volatile
_compare_flow_shapes(p_local jsonb, p_db jsonb) -> text[] | stable
_create_flow_from_shape(p_flow_slug text, p_shape jsonb, p_queue_mode text = 'flow') -> void | volatile
_derive_queue_routes(p_flow_slug text, p_shape jsonb, p_queue_mode text) -> jsonb | stable
_get_flow_shape(p_flow_slug text) -> jsonb | stable
_resolve_step_queue_name(p_flow_slug text, p_step_slug text, p_step_index integer) -> text | immutable
add_step(flow_slug text, step_slug text, deps_slugs text[] = '{}', max_attempts integer = NULL, \
base_delay integer = NULL, timeout integer = NULL, start_delay integer = NULL, step_type text = 'single', \
required_input_pattern jsonb = NULL, forbidden_input_pattern jsonb = NULL, when_unmet text = 'skip', \
when_exhausted text = 'fail') -> pgflow.steps | volatile
calculate_retry_delay(base_delay numeric, attempts_count integer) -> integer | immutable
cascade_complete_taskless_steps(run_id uuid) -> integer | volatile
cascade_resolve_conditions(run_id uuid) -> boolean | volatile
cleanup_ensure_workers_logs(retention_hours integer = 24) -> TABLE(cron_deleted bigint) | volatile, definer
complete_task(run_id uuid, step_slug text, task_index integer, output jsonb) -> SETOF pgflow.step_tasks | volatile
create_flow(flow_slug text, max_attempts integer = NULL, base_delay integer = NULL, timeout integer = NULL) \
-> pgflow.flows | volatile
delete_flow_and_data(p_flow_slug text) -> void | volatile
ensure_flow_compiled(flow_slug text, shape jsonb) -> jsonb | volatile
ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss boolean) -> jsonb | volatile
ensure_flow_compiled(flow_slug text, shape jsonb, queue_mode text, route_map jsonb = NULL) -> jsonb | volatile
ensure_workers() -> TABLE(function_name text, invoked boolean, request_id bigint) | volatile
fail_task(run_id uuid, step_slug text, task_index integer, error_message text) -> SETOF pgflow.step_tasks | volatile
flow_exists(p_flow_slug text) -> boolean | stable, definer
get_flow_input(p_run_id uuid) -> jsonb | stable
get_run_with_states(run_id uuid) -> jsonb | volatile, definer
get_step_output(p_run_id uuid, p_step_slug text) -> jsonb | stable
is_local() -> boolean | stable
is_valid_slug(slug text) -> boolean | immutable
mark_worker_stopped(worker_id uuid) -> void | volatile
maybe_complete_run(run_id uuid) -> void | volatile
poll_for_tasks(queue_name text, vt integer, qty integer, max_poll_seconds integer = 5, poll_interval_ms integer = 100) \
-> SETOF pgflow.step_task_record | volatile
prune_data_older_than(p_retention_interval interval, p_flow_slugs text[], OUT workers_deleted bigint, \
OUT tasks_deleted bigint, OUT states_deleted bigint, OUT runs_deleted bigint) -> record | volatile
recover_stalled_tasks(p_stale_threshold double precision) -> TABLE(recovered_count bigint, vt_batches bigint) \
| volatile, definer
register_worker(p_worker_id uuid, p_queue_name text, p_function_name text) -> void | volatile
requeue_stalled_tasks() -> integer | volatile, definer
set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets integer[]) -> TABLE(msg_id bigint, read_ct integer, \
enqueued_at timestamp with time zone, vt timestamp with time zone, message jsonb, headers jsonb) | volatile
setup_ensure_workers_cron(cron_interval text = '1 second') -> text | volatile, definer
setup_requeue_stalled_tasks_cron(cron_interval text = '15 seconds') -> text | volatile, definer
start_flow(flow_slug text, input jsonb, run_id uuid = NULL) -> SETOF pgflow.runs | volatile
start_flow_with_states(flow_slug text, input jsonb, run_id uuid = NULL) -> jsonb | volatile, definer
start_ready_steps(run_id uuid) -> void | volatile
start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid, queue_name text = NULL) \
-> SETOF pgflow.step_task_record | volatile
start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid, queue_name text, step_slug text) \
-> SETOF pgflow.step_task_record | volatile
track_worker_function(function_name text, start_mode text = 'http') -> void | volatile
"""

# Helpers that the contract does not name; no call of another worker depends on them.
OURS = {"_listed_queue_name", "is_valid_queue_name"}

SIGNATURES = """
select format('%%s(%%s) -> %%s | %%s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
  case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end)
  || case when p.prosecdef then ', definer' else '' end,
  p.proname
from pg_proc as p
where p.pronamespace = 'pgflow'::regnamespace
"""


def test_every_function_has_the_signature_of_the_contract(db):
    """core 3.0; generations 5.3, 9.1; D-1: parameters by name (X-4), defaults, result columns; no other overload."""
    db.execute("set local search_path = ''")
    found = {
        re.sub(r" DEFAULT ('[^']*'|\w+)(?:::[\w ]+(?:\[\])?)?", r" = \1", signature)
        for signature, name in rows(db, SIGNATURES)
        if name not in OURS
    }
    assert found == set(CONTRACT.replace("\\\n", "").strip().splitlines())


def test_none_is_strict(db):
    """core 3.0: NULL arguments reach the function, which says what they mean."""
    strict = "select proname from pg_proc where proisstrict and pronamespace = 'pgflow'::regnamespace"
    assert column(db, strict) == []
