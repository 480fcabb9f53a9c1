-- Has pg_cron drive the recovery of stalled tasks. Rule: core CJ-1.
create or replace function pgflow.setup_requeue_stalled_tasks_cron(cron_interval text default '15 seconds')
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  return format(
    'Scheduled pgflow_requeue_stalled_tasks (every %s, job_id=%s)',
    cron_interval,
    pgflow_mp._schedule_job(
      'pgflow_requeue_stalled_tasks', cron_interval, 'select pgflow.requeue_stalled_tasks()',
      'pgflow.setup_requeue_stalled_tasks_cron'
    )
  );
end;
$$;
