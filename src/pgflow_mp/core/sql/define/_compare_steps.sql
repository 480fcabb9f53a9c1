-- What differs between two steps at the same place of two shapes; NULL is a step that is not there.
-- Rules: core 6.2.2 and 6.2.3. An expression that is NULL says nothing: that is how a missing key counts as equal.
create or replace function pgflow_mp._compare_steps(step_index int, first jsonb, second jsonb)
returns text[]
language sql
immutable
set search_path = ''
as $$
  with sides as (
    select
      pgflow_mp._sorted_dependencies(first) as first_deps,
      pgflow_mp._sorted_dependencies(second) as second_deps
  ),
  findings (position, differs, finding) as (
    select
      0,
      first is null,
      format('missing in first shape (second has ''%s'')', second ->> 'slug')
    union all
    select
      1,
      second is null,
      format('missing in second shape (first has ''%s'')', first ->> 'slug')
    union all
    select
      compared.position,
      first ->> compared.key <> second ->> compared.key,
      format('%s differs ''%s'' vs ''%s''', compared.word, first ->> compared.key, second ->> compared.key)
    from (
      values
        (2, 'slug', 'slug'), (3, 'stepType', 'type'),
        (5, 'whenUnmet', 'whenUnmet'), (6, 'whenExhausted', 'whenExhausted')
    ) as compared (position, key, word)
    union all
    select
      4,
      first is not null and second is not null and first_deps <> second_deps,
      format('dependencies differ [%s] vs [%s]',
        array_to_string(first_deps, ', '), array_to_string(second_deps, ', '))
    from sides
    union all
    select
      pattern.position,
      first is not null and second is not null
        and first -> pattern.key is distinct from second -> pattern.key,
      format('%s differs ''%s'' vs ''%s''', pattern.key, first -> pattern.key, second -> pattern.key)
    from (values (7, 'requiredInputPattern'), (8, 'forbiddenInputPattern')) as pattern (position, key)
  )
  select coalesce(
    array_agg(format('Step at index %s: %s', step_index, finding) order by position) filter (where differs),
    '{}'
  )
  from findings;
$$;
