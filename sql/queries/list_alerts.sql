-- list_alerts: alerts, the newest first, with the notes that told of them; a null rule asks for all.
-- index: alerts primary key
-- rows:  AlertRow
select
  a.id, a.rule, a.key, a.message, a.fired_at, a.recovered_at,
  extract(epoch from a.recovered_at - a.fired_at)::double precision as lasted, a.told_at,
  n.notes, n.sent, n.attempts, n.last_error
from pgq.alerts as a
cross join lateral (
  select count(*) as notes, count(n.sent_at) as sent, coalesce(sum(n.attempts), 0)::bigint as attempts,
         max(n.last_error) as last_error
  from pgq.alert_notes as n
  where n.rule = a.rule
    and n.created_at between a.fired_at - interval '1 minute' and a.told_at
    and n.body -> 'alerts' @> to_jsonb(a.id)
) as n
where (%(rule)s::text is null or a.rule = %(rule)s)
order by a.fired_at desc, a.id desc
limit %(limit)s
