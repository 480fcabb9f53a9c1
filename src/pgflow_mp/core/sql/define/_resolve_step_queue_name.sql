-- The queue of a step that has one of its own: flow__step in lower case, or flow__index where that is too long.
-- Never cut, never hashed: a name tells its step. Rules: generations QN-1 to QN-5.
create or replace function pgflow._resolve_step_queue_name(p_flow_slug text, p_step_slug text, p_step_index int)
returns text
language plpgsql
immutable
set search_path = ''
as $$
declare
  longest constant int := 47;
  readable constant text := lower(p_flow_slug || '__' || p_step_slug);
  shortest constant text := lower(p_flow_slug || '__0');
  by_index constant text := lower(p_flow_slug || '__' || p_step_index);
begin
  if length(readable) <= longest then
    return readable;
  end if;
  if length(shortest) > longest then
    raise exception 'Flow "%" cannot use per-step queues.', p_flow_slug
      using detail = format(
        'The shortest possible queue name, "%s", has %s characters; PGMQ allows at most %s.',
        shortest, length(shortest), longest
      );
  end if;
  if length(by_index) > longest then
    raise exception 'Cannot derive a queue for step "%" at index % in flow "%".', p_step_slug, p_step_index, p_flow_slug
      using detail = format(
        'The readable name is %s characters and the index fallback is %s; PGMQ allows at most %s.',
        length(readable), length(by_index), longest
      );
  end if;
  return by_index;
end;
$$;
