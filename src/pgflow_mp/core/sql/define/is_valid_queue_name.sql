-- Is this text the canonical name of a queue? Never NULL.
-- Rules: generations 4.1 (not empty, at most 47 characters, equal to its own lower case).
create or replace function pgflow.is_valid_queue_name(queue_name text)
returns boolean
language sql
immutable
parallel safe
set search_path = ''
as $$
  select coalesce(length(queue_name) between 1 and 47 and queue_name = lower(queue_name), false);
$$;
