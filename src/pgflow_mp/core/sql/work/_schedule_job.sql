-- Schedules a job of pg_cron, in place of one of the same name; returns its id. Rule: core CJ-1.
create or replace function pgflow_mp._schedule_job(name text, schedule text, command text, needed_by text)
returns bigint
language plpgsql
set search_path = ''
as $$
begin
  perform pgflow_mp._assert_platform_part(
    'pg_cron (schema cron)', needed_by, to_regnamespace('cron') is not null
  );
  begin
    perform cron.unschedule(job_name => _schedule_job.name);
  exception
    when others then
      null;  -- there was none
  end;
  return cron.schedule(
    job_name => _schedule_job.name, schedule => _schedule_job.schedule, command => _schedule_job.command
  );
end;
$$;
