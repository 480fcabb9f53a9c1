-- Is this text a slug, for flows and steps alike? Never NULL.
-- Rules: generations SL-1 (a letter first, then letters, digits and single underscores, a letter or digit
-- last, at most 128 characters, not "run"); core 3.1.2 (NULL is false, "run" is compared with its case).
create or replace function pgflow.is_valid_slug(slug text)
returns boolean
language sql
immutable
parallel safe
set search_path = ''
as $$
  select coalesce(
    length(slug) <= 128
    and slug <> 'run'
    and slug ~ '^[A-Za-z](_?[A-Za-z0-9])*$',
    false
  );
$$;
