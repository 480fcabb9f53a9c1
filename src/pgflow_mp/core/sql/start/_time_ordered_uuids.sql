-- Ascending UUIDs of version 7: 48 bits of milliseconds, then random bits. Ids that grow with time keep index
-- inserts in one place of the tree (D-9). Postgres has its own function only from version 18 on.
create or replace function pgflow_mp._time_ordered_uuids(quantity int)
returns setof uuid
language sql
volatile
set search_path = ''
as $$
  select encode(
      set_bit(
        set_bit(
          overlay(
            uuid_send(gen_random_uuid())
            placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
            from 1 for 6
          ),
          52, 1
        ),
        53, 1
      ),
      'hex'
    )::uuid as id
  from generate_series(1, quantity)
  order by id;
$$;
