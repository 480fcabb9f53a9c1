alter table pgflow_mp.task_progress add constraint task_progress_run_id_fkey
  foreign key (run_id) references pgflow.runs (run_id) on delete cascade;
