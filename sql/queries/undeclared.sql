-- undeclared: which declarations of queues and limits are not in the database as they are in the code.
-- index: primary keys
-- rows:  kind (queue, limit), name
select case w.kind when 'declare' then 'queue' else 'limit' end as kind, w.name
from unnest(%(kinds)s::text[], %(names)s::text[], %(declared)s::text[]) as w (kind, name, declared)
left join pgq.queues as q on q.name = w.name and w.kind = 'declare'
left join pgq.limits as l on l.name = w.name and w.kind = 'declare_limit'
where coalesce(q.declared, l.declared) is distinct from w.declared::jsonb
order by kind, w.name
