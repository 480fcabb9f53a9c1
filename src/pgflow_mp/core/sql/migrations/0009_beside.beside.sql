-- What flows.flow_type would tell, where a core has no such column: flows of another type than 'flow'.
create table pgflow_mp.flow_types (
  flow_slug text not null,
  flow_type text not null,
  constraint flow_types_pkey primary key (flow_slug)
);

-- When rows of ours were last looked for whose run, flow or worker somebody else has deleted.
alter table pgflow_mp.housekeeping add column forgot_at timestamptz;

-- How often a task was taken from a worker that was lost, where a core has no columns for that (before 0.13.2); most tasks
-- have no row here.
create table pgflow_mp.task_requeues (
  run_id uuid not null,
  step_slug text not null,
  task_index int not null,
  requeued_count int not null,
  last_requeued_at timestamptz,
  constraint task_requeues_pkey primary key (run_id, step_slug, task_index)
);
