-- Has pg_cron call the functions that work by HTTP, and clear the log of these calls. Rule: core CJ-2.
create or replace function pgflow.setup_ensure_workers_cron(cron_interval text default '1 second')
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  caller constant text := 'pgflow.setup_ensure_workers_cron';
begin
  return format(
    'Scheduled pgflow_ensure_workers (every %s, job_id=%s) and pgflow_cleanup_logs (hourly, job_id=%s)',
    cron_interval,
    pgflow_mp._schedule_job('pgflow_ensure_workers', cron_interval, 'select pgflow.ensure_workers()', caller),
    pgflow_mp._schedule_job(
      'pgflow_cleanup_logs', '0 * * * *', 'select pgflow.cleanup_ensure_workers_logs()', caller
    )
  );
end;
$$;
