-- A run as our clients read it: the columns of its row, `cancelled` and `retry_of`, and, where it failed, `error`: why
-- (D-20). The lookups are by primary key, the one for the error is done for failed runs only.
create or replace function pgflow_mp._run_as_json(run pgflow.runs)
returns jsonb
language sql
stable
set search_path = ''
as $$
  select to_jsonb(run) || jsonb_build_object(
    'cancelled', ours.cancelled_at is not null,
    'retry_of', ours.retry_of,
    'error', case
      when ours.cancelled_at is not null then 'Run cancelled'
      when run.status = 'failed' then (
        select coalesce(
          s.error_message,
          (
            select t.error_message
            from pgflow.step_tasks as t
            where t.run_id = s.run_id
              and t.step_slug = s.step_slug
              and t.status = 'failed'
            order by t.task_index
            limit 1
          )
        )
        from pgflow.step_states as s
        where s.run_id = run.run_id
          and s.status = 'failed'
        order by s.failed_at, s.step_slug
        limit 1
      )
    end
  )
  from (select) as one
  left join pgflow_mp.runs as ours on ours.run_id = run.run_id;
$$;
