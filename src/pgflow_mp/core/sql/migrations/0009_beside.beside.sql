-- What flows.flow_type would tell, where a core has no such column: flows of another type than 'flow'.
create table pgflow_mp.flow_types (
  flow_slug text not null,
  flow_type text not null,
  constraint flow_types_pkey primary key (flow_slug)
);

-- When rows of ours were last looked for whose run, flow or worker somebody else has deleted.
alter table pgflow_mp.housekeeping add column forgot_at timestamptz;
