-- set_alert_target: write a target, new or in place of the one of its name.
-- index: alert_targets primary key
-- rows:  the name
insert into pgq.alert_targets (name, kind, settings)
values (%(name)s, %(kind)s, %(settings)s::jsonb)
on conflict (name) do update
set
  kind = excluded.kind,
  settings = excluded.settings
returning name
