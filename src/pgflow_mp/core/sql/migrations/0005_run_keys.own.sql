alter table pgflow_mp.run_keys add constraint run_keys_run_id_fkey
  foreign key (run_id) references pgflow.runs (run_id) on delete cascade deferrable initially deferred;
