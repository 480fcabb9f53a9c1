-- The table may have been there before version 4.
alter table pgflow_mp.carriers
  drop constraint if exists carriers_run_id_fkey,
  add constraint carriers_run_id_fkey foreign key (run_id) references pgflow.runs (run_id) on delete cascade;
