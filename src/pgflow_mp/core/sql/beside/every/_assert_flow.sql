-- Refuses an unknown flow as a foreign key of that name would, and keeps the flow until the transaction ends. There are no
-- foreign keys to tables of somebody else: they would put triggers on them.
create or replace function pgflow_mp._assert_flow(flow_slug text, instead_of name)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform from pgflow.flows as f where f.flow_slug = _assert_flow.flow_slug for key share;
  if not found then
    raise foreign_key_violation using
      message = format('flow "%s" does not exist', _assert_flow.flow_slug),
      detail = format('Key (flow_slug)=(%s) is not present in table "flows".', _assert_flow.flow_slug),
      constraint = _assert_flow.instead_of;
  end if;
end;
$$;
