-- Event and notification for runs that were just completed; nothing for NULL.
create or replace function pgflow_mp._announce_completed_runs(run_ids uuid[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  if run_ids is null then
    return;
  end if;
  if pgflow_mp._events_wanted() then
    perform pgflow_mp._send_run_events('run:completed', run_ids);
  end if;
  perform pgflow_mp._notify('pgflow_mp_runs', run_ids::text[]);
end;
$$;
