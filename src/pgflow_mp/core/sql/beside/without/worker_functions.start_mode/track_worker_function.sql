-- Notes nothing: without a start mode, which a core before 0.15 has not, the worker would be taken for a function that the
-- platform shall call by HTTP (generations 1.2.4).
create or replace function pgflow.track_worker_function(function_name text, start_mode text default 'http')
returns void
language sql
set search_path = ''
as $$
  select;
$$;
