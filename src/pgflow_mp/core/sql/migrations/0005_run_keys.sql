-- Idempotency keys: which run a key of a flow has started. A key goes with its run, whoever deletes that. The run is
-- inserted after its key, in one transaction: the reference is checked at the end of that.
create table pgflow_mp.run_keys (
  flow_slug text not null,
  key text not null,
  run_id uuid not null,
  constraint run_keys_pkey primary key (flow_slug, key),
  constraint key_is_not_too_long check (length(key) <= 512)
);

create index idx_run_keys_run on pgflow_mp.run_keys (run_id);
