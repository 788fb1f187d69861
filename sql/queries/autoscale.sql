-- autoscale: what the queues of one supervisor need, and how many slots its own live workers have. More than the view
-- says is never needed for a queue under a rate, nor more slots than a queue may use at once.
-- rows:  its own slots, then Need
select
  own.slots as own, a.slots, a.busy, a.backlog, a.wait, a.needed_slots,
  case when q.rate_max is not null then a.needed_slots else coalesce(q.concurrency, 'infinity'::double precision) end as most
from pgq.autoscale as a
join pgq.queues as q on q.name = a.queue
cross join (
  select coalesce(sum(w.concurrency), 0)::double precision as slots
  from pgq.worker_stats as w
  where w.supervisor = %(supervisor)s
    and w.alive
    and not w.stopping
) as own
where a.queue = any(%(queues)s)
