-- Deletes what pg_cron logged longer ago than this many hours; returns how many rows. Rule: core CJ-4.
create or replace function pgflow.cleanup_ensure_workers_logs(retention_hours int default 24)
returns table (cron_deleted bigint)
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform pgflow_mp._assert_platform_part(
    'pg_cron (table cron.job_run_details)', 'pgflow.cleanup_ensure_workers_logs',
    to_regclass('cron.job_run_details') is not null
  );
  delete from cron.job_run_details as d
  where d.end_time < now() - make_interval(hours => retention_hours);
  get diagnostics cron_deleted = row_count;
  return next;
end;
$$;
