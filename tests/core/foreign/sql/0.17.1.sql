-- The version column, three indexes, and reports to the makers that are on unless somebody turns them off
-- (generations 6).
alter table pgflow.workers add column pgflow_version text;
create index idx_runs_started_at on pgflow.runs (started_at);
create index idx_workers_started_at on pgflow.workers (started_at);
create index idx_workers_stopped_at on pgflow.workers (stopped_at);

create schema pgflow_telemetry;
create table pgflow_telemetry.sent_reports (
  day date primary key, payload jsonb not null, request_id bigint, sent_at timestamptz not null default now()
);
create table pgflow_telemetry.job_registry (
  jobname text primary key, jobid bigint not null, created_at timestamptz not null default now()
);
create function pgflow_telemetry.report()
returns text
language sql
as $$ select 'skipped: inactive day'::text; $$;
create function pgflow_telemetry.enable()
returns void
language sql
as $$
  insert into pgflow_telemetry.job_registry (jobname, jobid)
  select 'pgflow_telemetry_report',
         cron.schedule('pgflow_telemetry_report', '17 3 * * *', 'select pgflow_telemetry.report()');
$$;
create function pgflow_telemetry.disable()
returns void
language sql
as $$
  select cron.unschedule('pgflow_telemetry_report');
  delete from pgflow_telemetry.job_registry;
$$;
create function pgflow_telemetry.job_is_scheduled()
returns boolean
language sql
stable
security definer
as $$ select exists (select from cron.job as j where j.jobname = 'pgflow_telemetry_report'); $$;
select pgflow_telemetry.enable();
