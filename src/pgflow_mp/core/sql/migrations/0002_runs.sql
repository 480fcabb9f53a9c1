-- What we know of a run beyond pgflow.runs; most runs have no row here. It goes with the run, whoever deletes that.
create table pgflow_mp.runs (
  run_id uuid not null,
  cancelled_at timestamptz,         -- by cancel_run; the status is failed then (D-20)
  retry_of uuid,                    -- the run that this one repeats, which may be gone since
  constraint runs_pkey primary key (run_id)
);
