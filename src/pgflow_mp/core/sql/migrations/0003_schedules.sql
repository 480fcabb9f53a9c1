-- Pauses and schedules: both bind our workers only (D-20).

create table pgflow_mp.paused_flows (
  flow_slug text not null,
  paused_at timestamptz not null default now(),
  constraint paused_flows_pkey primary key (flow_slug)
);

create table pgflow_mp.schedules (
  schedule_name text not null,
  flow_slug text not null,
  cron text,                              -- an expression, in time_zone; else
  every interval,                         -- an interval from starts_at on
  time_zone text not null default 'UTC',
  input jsonb not null default '{}',
  catch_up text not null default 'once',
  declared boolean not null,              -- in the flow's code: compiling the flow writes and removes it
  starts_at timestamptz not null,
  considered_at timestamptz not null,     -- ticks up to this time were started or passed over
  next_at timestamptz,                    -- the first one after it; NULL until a worker has worked it out
  paused_at timestamptz,
  last_tick_at timestamptz,
  last_run_id uuid,
  last_error text,                        -- why the last tick started nothing
  created_at timestamptz not null default now(),
  constraint schedules_pkey primary key (schedule_name),
  constraint schedule_name_is_valid check (length(schedule_name) between 1 and 128),
  constraint cron_or_every check (num_nonnulls(cron, every) = 1),
  constraint every_is_positive check (every >= interval '1 second'),
  constraint catch_up_is_valid check (catch_up in ('skip', 'once', 'all'))
);

-- Looked at every few seconds by every worker: what is due, and whether the clock was put back.
create index idx_schedules_next_at on pgflow_mp.schedules (next_at);
create index idx_schedules_considered_at on pgflow_mp.schedules (considered_at);
create index idx_schedules_flow on pgflow_mp.schedules (flow_slug);

-- What each tick has started; its key is what makes a second start impossible, whatever the clock does.
create table pgflow_mp.ticks (
  schedule_name text not null,
  tick_at timestamptz not null,
  run_id uuid not null,
  worker_id uuid,                         -- who started it; no reference: the worker's row may go
  started_at timestamptz not null default clock_timestamp(),
  constraint ticks_pkey primary key (schedule_name, tick_at),
  constraint ticks_schedule_name_fkey
    foreign key (schedule_name) references pgflow_mp.schedules (schedule_name) on delete cascade on update cascade
);
