-- What ensure_flow_compiled answers. Rules: core 6.4; generations 5.6.6 (mismatchKind is null unless mismatch), SU-5.
create or replace function pgflow_mp._compile_answer(
  status text,
  differences text[] default '{}',
  mismatch_kind text default null
)
returns jsonb
language sql
immutable
set search_path = ''
as $$
  select jsonb_build_object('status', status, 'differences', to_jsonb(differences), 'mismatchKind', mismatch_kind);
$$;
