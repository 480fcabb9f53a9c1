-- How long runs are kept after their end; NULL is for good. The row of housekeeping holds for all flows that have none
-- of their own. A flow's row survives that the flow is deleted and made anew.
create table pgflow_mp.housekeeping (
  only_row boolean not null default true,
  keep interval default '30 days',
  swept_at timestamptz,             -- when a sweep last found nothing more to do
  constraint housekeeping_pkey primary key (only_row),
  constraint housekeeping_is_one_row check (only_row),
  constraint keep_is_not_negative check (keep >= interval '0')
);

insert into pgflow_mp.housekeeping default values;

create table pgflow_mp.retention (
  flow_slug text not null,
  keep interval,
  constraint retention_pkey primary key (flow_slug),
  constraint keep_is_not_negative check (keep >= interval '0')
);
