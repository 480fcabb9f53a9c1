-- The steps of the given live runs that are ready but for a condition which their input does not meet. The input
-- looked at: of a root step the run's, of others the outputs of their completed parents by slug; a skipped parent
-- has no key (core 3.9.2-4, 3.9.10-11). Met is: contains the required pattern, and not the forbidden one.
create or replace function pgflow_mp._unmet_conditions(run_ids uuid[])
returns table (run_id uuid, step_slug text, step_index int, when_unmet text)
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  return query
    select s.run_id, s.step_slug, st.step_index, st.when_unmet
    from pgflow.step_states as s
    cross join lateral (
      select own.input from pgflow.runs as own where own.run_id = s.run_id and own.status = 'started' offset 0
    ) as r
    join pgflow.steps as st on st.flow_slug = s.flow_slug and st.step_slug = s.step_slug
    cross join lateral (
      select
        case
          when st.deps_count = 0 then r.input
          else pgflow_mp._parent_outputs(s.run_id, s.flow_slug, s.step_slug)
        end as tested
    ) as input
    where s.run_id = any(_unmet_conditions.run_ids)
      and s.status = 'created'
      and s.remaining_deps = 0
      and (st.required_input_pattern is not null or st.forbidden_input_pattern is not null)
      and not (
        (st.required_input_pattern is null or input.tested @> st.required_input_pattern)
        and (st.forbidden_input_pattern is null or not input.tested @> st.forbidden_input_pattern)
      );
end;
$$;
