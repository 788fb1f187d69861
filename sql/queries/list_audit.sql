-- list_audit: who steered what, the latest first; a null condition asks nothing.
-- index: the primary key backwards
-- rows:  AuditRow
select a.id, a.at, a.actor, a.action, a.queue, a.filter, a.count, a.note
from pgq.audit as a
where (%(queue)s::text is null or a.queue = %(queue)s)
  and (%(action)s::text is null or a.action = %(action)s)
  and (%(actor)s::text is null or position(lower(%(actor)s) in lower(a.actor)) > 0)
  and (%(newer)s::double precision is null or a.at > statement_timestamp() - %(newer)s * interval '1 second')
  and (%(before)s::bigint is null or a.id < %(before)s)
order by a.id desc
limit %(limit)s
