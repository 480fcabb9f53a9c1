-- The tables of schema pgflow_mp. Version 1 of the schema: later changes are files of migrations/. They refer to those of
-- schema pgflow only where these are ours as well (tables.own.sql): a foreign key would put triggers on foreign tables.

-- What is installed here: one row.
create table pgflow_mp.installed (
  only_row boolean not null default true,
  version int not null,             -- of the tables: 1 is this file, then the number of the last migration
  content_hash text not null,       -- of all function files: differs means re-create
  functions text[] not null,        -- the functions we made; one that is ours no longer is dropped
  package_version text not null,
  pgmq text not null,               -- how pgmq came here
  installed_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint installed_pkey primary key (only_row),
  constraint installed_is_one_row check (only_row)
);

-- What we know of our own workers beyond pgflow.workers; a row here marks a worker that beats while it is busy (D-3).
create table pgflow_mp.workers (
  worker_id uuid not null,
  host text not null,
  boot_id text,                     -- of the host: a pid means nothing after a restart
  pid int not null,
  pid_namespace text,               -- a container has its own pids
  process_started text,             -- tells a process from a later one with its pid
  version text not null,            -- of pgflow-mp
  constraint workers_pkey primary key (worker_id),
  constraint pid_is_positive check (pid > 0)
);
