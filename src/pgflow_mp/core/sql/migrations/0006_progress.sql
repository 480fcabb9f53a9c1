-- How far tasks are, as their handlers last said; most tasks have no row here. It goes with the run.
create table pgflow_mp.task_progress (
  run_id uuid not null,
  step_slug text not null,
  task_index int not null,
  attempt int not null,
  fraction float8,                  -- from 0 to 1, or not said
  message text,
  reported_at timestamptz not null,
  constraint task_progress_pkey primary key (run_id, step_slug, task_index)
) with (fillfactor = 50);
