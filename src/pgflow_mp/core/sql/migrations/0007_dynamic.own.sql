alter table pgflow_mp.dynamic_flows add constraint dynamic_flows_flow_slug_fkey
  foreign key (flow_slug) references pgflow.flows (flow_slug) on delete cascade;
