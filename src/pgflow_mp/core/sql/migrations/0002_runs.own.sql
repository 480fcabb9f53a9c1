alter table pgflow_mp.runs add constraint runs_run_id_fkey
  foreign key (run_id) references pgflow.runs (run_id) on delete cascade;
