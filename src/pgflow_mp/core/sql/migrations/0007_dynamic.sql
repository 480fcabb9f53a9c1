-- Flows that were made at run time from plain data (upsert_flow), and what their steps are done by: a JSON object,
-- step -> {handler, executor, processes, concurrency}, with what was given only. The revision is another one after
-- every change; their number and sum tell a worker whether anything has changed.
create sequence pgflow_mp.dynamic_revision;

create table pgflow_mp.dynamic_flows (
  flow_slug text not null,
  revision bigint not null default nextval('pgflow_mp.dynamic_revision'),
  steps jsonb not null,
  constraint dynamic_flows_pkey primary key (flow_slug),
  constraint steps_is_object check (jsonb_typeof(steps) = 'object')
);
