-- Seconds until a task that failed is tried again: base x 2 ^ attempts, whole seconds.
-- attempts_count counts the attempt that failed, so the first retry waits 2 x base. Rules: core 3.2. There is no cap
-- here (out of range raises 22003); our own settling caps the delay (D-7).
create or replace function pgflow.calculate_retry_delay(base_delay numeric, attempts_count int)
returns int
language sql
immutable
parallel safe
set search_path = ''
as $$
  select floor(base_delay * power(2::numeric, attempts_count))::int;
$$;
