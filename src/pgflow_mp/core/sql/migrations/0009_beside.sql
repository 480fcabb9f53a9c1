-- Whose schema pgflow it is: ours ('own'), or somebody else's, beside which our functions stand. Of a foreign one: what it
-- was when they were made, and the fingerprint of what they depend on; another one means that they are to be made anew.
alter table pgflow_mp.installed
  add column mode text not null default 'own',
  add column core text,
  add column core_fingerprint text,
  add constraint mode_is_valid check (mode in ('own', 'beside')),
  add constraint foreign_core_is_known check ((mode = 'beside') = (num_nonnulls(core, core_fingerprint) = 2));
