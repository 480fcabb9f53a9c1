-- Where the hosted platform runs functions, and the key that opens them; NULL where that is not known.
-- Rules: core EW-1, EW-2.
create or replace function pgflow_mp._platform_endpoint(out url text, out key text)
language plpgsql
stable
set search_path = ''
as $$
begin
  if pgflow.is_local() then
    url := 'http://kong:8000/functions/v1';
    return;
  end if;
  perform pgflow_mp._assert_platform_part(
    'supabase_vault (view vault.decrypted_secrets)', 'pgflow.ensure_workers',
    to_regclass('vault.decrypted_secrets') is not null
  );
  select
    'https://' || nullif(max(s.decrypted_secret) filter (where s.name = 'supabase_project_id'), '')
      || '.supabase.co/functions/v1',
    coalesce(
      nullif(max(s.decrypted_secret) filter (where s.name = 'pgflow_auth_secret'), ''),
      nullif(max(s.decrypted_secret) filter (where s.name = 'supabase_service_role_key'), '')
    )
  into url, key
  from vault.decrypted_secrets as s;
end;
$$;
