-- What the hosted platform brings and the TypeScript core asks for (core 1.2, 1.4), as far as its functions look at it:
-- events are kept, jobs are listed and never run, requests over HTTP are never made.
create schema realtime;
create table realtime.messages (
  place bigint generated always as identity, payload jsonb, event text, topic text, private boolean
);
create function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void
language sql
as $$
  insert into realtime.messages (payload, event, topic, private) values (payload, event, topic, private);
$$;

create schema vault;
create view vault.decrypted_secrets as select null::text as name, null::text as decrypted_secret where false;

create schema net;
create function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{}',
  timeout_milliseconds int default 5000
)
returns bigint
language sql
as $$ select 1::bigint; $$;

create schema cron;
create table cron.job (
  jobid bigint generated always as identity, schedule text, command text, active boolean default true, jobname text
);
create table cron.job_run_details (end_time timestamptz);
create function cron.schedule(job_name text, schedule text, command text)
returns bigint
language sql
as $$
  insert into cron.job (schedule, command, jobname) values (schedule, command, job_name) returning jobid;
$$;
create function cron.unschedule(job_name text)
returns boolean
language plpgsql
as $$
begin
  delete from cron.job as j where j.jobname = job_name;
  if not found then
    raise exception 'could not find valid entry for job ''%''', job_name;
  end if;
  return true;
end;
$$;
