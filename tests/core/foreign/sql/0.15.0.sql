-- Start modes (generations 1).
alter table pgflow.worker_functions
  add column start_mode text not null default 'http',
  add constraint worker_functions_start_mode_check check (start_mode in ('http', 'process'));

drop function pgflow.track_worker_function(text);
create function pgflow.track_worker_function(function_name text, start_mode text default 'http')
returns void
language sql
as $$
  insert into pgflow.worker_functions (function_name, start_mode)
  values (track_worker_function.function_name, track_worker_function.start_mode)
  on conflict on constraint worker_functions_pkey do update
  set start_mode = excluded.start_mode, updated_at = clock_timestamp();
$$;
