-- What is installed here, and on which server. Runs with its owner's rights: clients may ask (D-11).
create or replace function pgflow_mp.installation()
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select jsonb_build_object(
    'database', current_database(),
    'server_version', current_setting('server_version'),
    'schema_version', i.version,
    'package_version', i.package_version,
    'pgmq', i.pgmq,
    'mode', i.mode,
    'core', i.core,
    'core_fingerprint', i.core_fingerprint
  )
  from pgflow_mp.installed as i;
$$;
