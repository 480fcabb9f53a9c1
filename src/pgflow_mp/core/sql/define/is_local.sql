-- Is this the local database of the hosted platform's tools? Never NULL; false everywhere else. Rule: core 3.3.1.
create or replace function pgflow.is_local()
returns boolean
language sql
stable
parallel safe
set search_path = ''
as $$
  select coalesce(
    current_setting('app.settings.jwt_secret', true) = 'super-secret-jwt-token-with-at-least-32-characters-long',
    false
  );
$$;
