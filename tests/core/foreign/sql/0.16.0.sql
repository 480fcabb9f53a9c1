-- No data loss at compile time (generations 3).
drop function pgflow.ensure_flow_compiled(text, jsonb, boolean);
create function pgflow.ensure_flow_compiled(flow_slug text, shape jsonb)
returns jsonb
language sql
set search_path = ''
as $$ select pgflow._ensure_compiled(flow_slug, shape, pgflow.is_local()); $$;
