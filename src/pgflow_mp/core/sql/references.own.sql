-- Where schema pgflow is ours too, our rows go with what they belong to, whoever deletes that: version 1; the later tables
-- have theirs in migrations/NNNN_name.own.sql. Beside a foreign schema there are none: each would put triggers on tables
-- of it; there our functions delete with the run, and a sweep finds what others have deleted (_forget_the_gone).

alter table pgflow_mp.workers add constraint workers_worker_id_fkey
  foreign key (worker_id) references pgflow.workers (worker_id) on delete cascade;
