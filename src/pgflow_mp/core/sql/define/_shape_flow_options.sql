-- The flow's own options in a shape, absent values as their defaults. Rules: core 3.4.1, 6.3.1.
create or replace function pgflow_mp._shape_flow_options(
  shape jsonb,
  out max_attempts int,
  out base_delay int,
  out timeout int
)
language sql
immutable
set search_path = ''
as $$
  select
    coalesce((shape -> 'options' ->> 'maxAttempts')::int, 3),
    coalesce((shape -> 'options' ->> 'baseDelay')::int, 5),
    coalesce((shape -> 'options' ->> 'timeout')::int, 60);
$$;
