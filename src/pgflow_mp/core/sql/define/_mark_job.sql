-- Marks a flow as a job, for those who list jobs.
create or replace function pgflow_mp._mark_job(flow_slug text)
returns void
language sql
set search_path = ''
as $$
  update pgflow.flows as f
  set flow_type = 'job'
  where f.flow_slug = _mark_job.flow_slug
    and f.flow_type <> 'job';
$$;
