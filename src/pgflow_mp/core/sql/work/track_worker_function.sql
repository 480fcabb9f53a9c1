-- Notes that a deployment unit exists and how it is started; the last caller decides the mode. Its switches and the
-- time it was last called stay. Rules: core WK-1; generations 1.2.
create or replace function pgflow.track_worker_function(function_name text, start_mode text default 'http')
returns void
language sql
set search_path = ''
as $$
  insert into pgflow.worker_functions (function_name, start_mode, updated_at)
  values (track_worker_function.function_name, track_worker_function.start_mode, clock_timestamp())
  on conflict on constraint worker_functions_pkey do update
  set start_mode = excluded.start_mode,
      updated_at = excluded.updated_at;
$$;
