-- The jobs that a TypeScript core leaves to pg_cron (core 5.3, 5.4), and their schedules (CJ-3).
create function pgflow.ensure_workers()
returns table (function_name text, invoked boolean, request_id bigint)
language sql
as $$
  update pgflow.worker_functions as f
  set last_invoked_at = clock_timestamp()
  where f.enabled and exists (select from vault.decrypted_secrets)
  returning f.function_name, true, net.http_post(url => f.function_name);
$$;

create function pgflow.cleanup_ensure_workers_logs(retention_hours int default 24)
returns table (cron_deleted bigint)
language sql
security definer
set search_path = pgflow, cron, pg_temp
as $$
  with deleted as (
    delete from cron.job_run_details where end_time < now() - make_interval(hours => retention_hours) returning 1
  )
  select count(*) from deleted;
$$;

create function pgflow.setup_ensure_workers_cron(cron_interval text default '1 second')
returns text
language sql
security definer
set search_path = pgflow, cron, pg_temp
as $$
  select format(
    'Scheduled pgflow_ensure_workers (every %s, job_id=%s) and pgflow_cleanup_logs (hourly, job_id=%s)',
    cron_interval,
    cron.schedule('pgflow_ensure_workers', cron_interval, 'select pgflow.ensure_workers()'),
    cron.schedule('pgflow_cleanup_logs', '0 * * * *', 'select pgflow.cleanup_ensure_workers_logs()')
  );
$$;

create function pgflow.setup_requeue_stalled_tasks_cron(cron_interval text default '15 seconds')
returns text
language sql
security definer
set search_path = pgflow, cron, pg_temp
as $$
  select format(
    'Scheduled pgflow_requeue_stalled_tasks (every %s, job_id=%s)',
    cron_interval,
    cron.schedule('pgflow_requeue_stalled_tasks', cron_interval, 'select pgflow.requeue_stalled_tasks()')
  );
$$;

select pgflow.setup_ensure_workers_cron();
select pgflow.setup_requeue_stalled_tasks_cron();
