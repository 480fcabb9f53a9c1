-- Seconds until the next attempt: base x 2^attempts, at most a day (D-7). pgflow.calculate_retry_delay has no cap
-- and overflows after some 30 attempts, which would leave the task of a failing step running for ever.
create or replace function pgflow_mp._retry_delay(base_delay int, attempts_count int)
returns double precision
language sql
immutable
parallel safe
set search_path = ''
as $$
  select least(base_delay * power(2::double precision, least(attempts_count, 62)), 86400);
$$;
