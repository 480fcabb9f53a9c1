-- Raises when a new flow of this slug cannot have its queue. Says nothing about a slug that the table refuses anyway:
-- a bad one (slug_is_valid) or one that another flow has in another case (idx_flows_normalized_slug).
-- Rules: generations QI-3; core Q-2 and A-7 (47 characters, said before pgmq does).
create or replace function pgflow_mp._assert_flow_queue_available(flow_slug text)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
  flow_queue constant text := lower(_assert_flow_queue_available.flow_slug);
begin
  if not pgflow.is_valid_slug(_assert_flow_queue_available.flow_slug)
    or exists (select from pgflow.flows as f where lower(f.flow_slug) = flow_queue)
  then
    return;
  end if;
  if length(flow_queue) > 47 then
    raise exception 'queue name is too long, maximum length is 47 characters';
  end if;
  if pgflow_mp._queue_is_listed(flow_queue) then
    raise exception 'cannot create flow "%": queue "%" is already in use by another owner',
      _assert_flow_queue_available.flow_slug, flow_queue
      using errcode = 'unique_violation';
  end if;
end;
$$;
