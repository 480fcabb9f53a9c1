alter table pgflow_mp.paused_flows add constraint paused_flows_flow_slug_fkey
  foreign key (flow_slug) references pgflow.flows (flow_slug) on delete cascade;
alter table pgflow_mp.schedules add constraint schedules_flow_slug_fkey
  foreign key (flow_slug) references pgflow.flows (flow_slug) on delete cascade;
