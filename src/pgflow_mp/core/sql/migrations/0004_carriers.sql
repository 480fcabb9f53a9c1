-- What plugins pass along with runs and tasks, such as the context of a trace (docs/hooks.md); text by name. step_slug ''
-- and task_index 0: what the caller that started the run gave; else what the task's completed attempt left. Rows exist only
-- where a plugin asks for that.
create table if not exists pgflow_mp.carriers (
  run_id uuid not null,
  step_slug text not null,
  task_index int not null,
  carrier jsonb not null,
  constraint carriers_pkey primary key (run_id, step_slug, task_index)
);
