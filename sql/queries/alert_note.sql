-- alert_note: a note that is to be delivered, and where; kind and settings are null when its target is gone.
-- index: alert_notes primary key
-- rows:  Note
select n.id::text as id, n.rule, n.target, n.body, n.sent_at, t.kind, t.settings
from pgq.alert_notes as n
left join pgq.alert_targets as t on t.name = n.target
where n.id = %(note)s::uuid
