-- What ended in a run by the transaction `writer`; see settle_tasks_observed. NULL where nothing did.
create or replace function pgflow_mp._transitions(the_run uuid, writer xid)
returns jsonb
language sql
stable
set search_path = ''
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'steps', (
      select jsonb_agg(
        jsonb_build_object(
          'step', s.step_slug, 'status', s.status, 'error', s.error_message, 'reason', s.skip_reason)
        order by st.step_index)
      from pgflow.step_states as s
      join pgflow.steps as st on st.flow_slug = s.flow_slug and st.step_slug = s.step_slug
      where s.run_id = the_run
        and s.status in ('completed', 'failed', 'skipped')
        and s.xmin = writer
    ),
    'run', (
      select jsonb_build_object(
        'status', r.status, 'started_at', r.started_at,
        'ended_at', coalesce(r.completed_at, r.failed_at),
        'error', (
          select s.error_message
          from pgflow.step_states as s
          where s.run_id = the_run
            and s.status = 'failed'
          order by s.failed_at
          limit 1
        ))
      from pgflow.runs as r
      where r.run_id = the_run
        and r.status in ('completed', 'failed')
        and r.xmin = writer
    )
  ));
$$;
