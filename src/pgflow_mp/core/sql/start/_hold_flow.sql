-- Keeps a flow from being deleted or made anew until the transaction ends, so that what is read of it next is of one
-- piece. Whoever is making it anew is waited for: then the row that was found is gone, and the new one is looked for.
-- An unknown flow is not held; the first run of it is refused by its foreign key.
create or replace function pgflow_mp._hold_flow(flow_slug text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  loop
    perform from pgflow.flows as f where f.flow_slug = _hold_flow.flow_slug for key share;
    exit when found or not exists (select from pgflow.flows as f where f.flow_slug = _hold_flow.flow_slug);
  end loop;
end;
$$;
