-- The steps of an ended run whose results a retry keeps: see retry_run. A step's parents come before it (step_index).
create or replace function pgflow_mp._kept_steps(origin pgflow.runs)
returns text[]
language plpgsql
stable
set search_path = ''
as $$
declare
  kept text[] := '{}';
  state record;
begin
  for state in
    select
      s.step_slug,
      array(
        select d.dep_slug from pgflow.deps as d where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
      ) as parents
    from pgflow.step_states as s
    join pgflow.steps as st on st.flow_slug = s.flow_slug and st.step_slug = s.step_slug
    where s.run_id = origin.run_id
      and (s.status = 'completed' or (s.status = 'skipped' and s.skip_reason <> 'handler_failed'))
    order by st.step_index
  loop
    if state.parents <@ kept then
      kept := kept || state.step_slug;
    end if;
  end loop;
  return kept;
end;
$$;
