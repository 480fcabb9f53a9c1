-- Everything about a run: {run, steps, tasks}; NULL for an unknown run. Steps come in definition order and carry
-- step_index and step_type besides their state, tasks by step and task_index, with the last progress of their attempt.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.run_details(run_id uuid)
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select jsonb_build_object(
    'run', pgflow_mp._run_as_json(r),
    'steps', coalesce(
      (
        select jsonb_agg(
          to_jsonb(st) || jsonb_build_object('step_index', s.step_index, 'step_type', s.step_type)
          order by s.step_index
        )
        from pgflow.step_states as st
        join pgflow.steps as s using (flow_slug, step_slug)
        where st.run_id = r.run_id
      ),
      '[]'
    ),
    'tasks', coalesce(
      (
        select jsonb_agg(
          to_jsonb(t)
            || case when p.run_id is null then '{}' else jsonb_build_object('progress', to_jsonb(p)) end
          order by s.step_index, t.task_index
        )
        from pgflow.step_tasks as t
        join pgflow.steps as s using (flow_slug, step_slug)
        left join pgflow_mp.task_progress as p
          on p.run_id = t.run_id
          and p.step_slug = t.step_slug
          and p.task_index = t.task_index
          and p.attempt = t.attempts_count
        where t.run_id = r.run_id
      ),
      '[]'
    )
  )
  from pgflow.runs as r
  where r.run_id = run_details.run_id;
$$;
