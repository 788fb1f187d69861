-- list_alert_targets: every target, and how the last of its notes fared; a null name asks for all.
-- index: alert_targets primary key
-- rows:  TargetRow
select t.name, t.kind, t.settings, n.sent_at, n.waiting, n.last_error
from pgq.alert_targets as t
cross join lateral (
  select
    max(n.sent_at) as sent_at, count(*) filter (where n.sent_at is null and n.gave_up_at is null) as waiting,
    (array_agg(n.last_error order by n.created_at desc))[1] as last_error
  from pgq.alert_notes as n
  where n.target = t.name
) as n
where (%(name)s::text is null or t.name = %(name)s)
order by t.name
