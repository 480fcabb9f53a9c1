-- Calls every enabled function that works by HTTP and has no live worker, at most once in its debounce time; on the
-- platform's local database every one of them, always. Returns one row for each call made.
-- Rules: core EW-1 to EW-6, WK-5; generations 1.2.3 (only start mode http). Needs pg_net, and vault when not local.
create or replace function pgflow.ensure_workers()
returns table (function_name text, invoked boolean, request_id bigint)
language plpgsql
set search_path = ''
as $$
declare
  local constant boolean := pgflow.is_local();
  endpoint record;
  due text;
begin
  perform pgflow_mp._assert_platform_part(
    'pg_net (function net.http_post)', 'pgflow.ensure_workers', to_regproc('net.http_post') is not null
  );
  endpoint := pgflow_mp._platform_endpoint();
  if endpoint.url is null or (endpoint.key is null and not local) then
    return;
  end if;

  for due in
    update pgflow.worker_functions as f
    set last_invoked_at = clock_timestamp()
    where f.enabled
      and f.start_mode = 'http'
      and (
        local
        or (
          (f.last_invoked_at is null or f.last_invoked_at < now() - f.debounce)
          and not exists (
            select
            from pgflow.workers as w
            where w.function_name = f.function_name
              and w.stopped_at is null
              and w.deprecated_at is null
              and w.last_heartbeat_at > now() - f.debounce
          )
        )
      )
    returning f.function_name
  loop
    function_name := due;
    invoked := true;
    request_id := net.http_post(
      url => endpoint.url || '/' || due,
      headers => case
        when local then '{}'::jsonb
        else jsonb_build_object('Content-Type', 'application/json', 'Authorization', 'Bearer ' || endpoint.key)
      end,
      body => '{}'::jsonb
    );
    return next;
  end loop;
end;
$$;
