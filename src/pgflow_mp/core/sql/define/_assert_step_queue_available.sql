-- Must this flow create this queue? true: yes. false: it is the flow's own and there. Everything else raises.
-- Rules: generations PV-1 to PV-5 in this order.
create or replace function pgflow._assert_step_queue_available(p_flow_slug text, p_queue_name text)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
declare
  spellings constant text[] := array(
    select l.queue_name::text
    from pgmq.list_queues() as l
    where lower(l.queue_name) = lower(p_queue_name)
    order by l.queue_name::text collate "C"
  );
  other_owner constant text := (
    select min(o.flow_slug)
    from pgflow_mp._queue_owners(p_queue_name) as o
    where o.flow_slug <> p_flow_slug
  );
  is_own constant boolean := exists (
    select from pgflow_mp._queue_owners(p_queue_name) as o where o.flow_slug = p_flow_slug
  );
begin
  if other_owner is not null then
    raise exception 'cannot create flow "%": queue "%" is already used by another flow ("%")',
      p_flow_slug, p_queue_name, other_owner;
  end if;
  if cardinality(spellings) > 1 then
    raise exception 'queue "%" matches multiple listed PGMQ queues (%)', p_queue_name, spellings;
  end if;
  if is_own then
    if cardinality(spellings) = 0 then
      raise exception 'queue "%" owned by flow "%" is not listed in PGMQ', p_queue_name, p_flow_slug;
    end if;
    return false;
  end if;
  if cardinality(spellings) = 1 then
    raise exception 'cannot create flow "%": queue "%" is already listed in PGMQ and not owned by this flow',
      p_flow_slug, p_queue_name;
  end if;
  return true;
end;
$$;
