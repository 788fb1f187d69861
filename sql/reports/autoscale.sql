-- autoscale: how many slots and workers each queue needs now. Depth alone says little: what counts is what is due and
-- allowed to start, how long it takes, and how long the oldest of it has waited.
--
-- Needed so that what is due has drained a minute after the oldest of it became due (but in no less than ten seconds),
-- and what arrives meanwhile does not wait: slots = (backlog / time left + arrivals a second) x mean run time.
create or replace view pgq.autoscale as
select
  n.queue,
  n.slots,
  n.busy,
  n.backlog,
  n.wait,
  n.needed_slots,
  case when n.needed_slots = 0 then 0 else ceil(n.needed_slots / n.per_worker)::bigint end as needed_workers
from (
  select
    s.queue,
    w.slots,
    s.processing as busy,
    load.backlog,
    case when load.backlog > 0 then s.oldest_due_age else 0 end as wait,
    w.per_worker,
    case
      when s.paused then 0
      when load.backlog + s.processing = 0 then 0
      else least(
        greatest(ceil((load.backlog / greatest(60 - s.oldest_due_age, 10) + coalesce(s.arrived_1m, 0)) * load.run)::bigint, 1),
        load.backlog + s.processing,
        q.concurrency,
        case when q.rate_max is not null then greatest(ceil(q.rate_max / q.rate_per * load.run)::bigint, 1) end
      )
    end as needed_slots
  from pgq.queue_stats as s
  inner join pgq.queues as q on q.name = s.queue
  left join pgq.times(statement_timestamp() - interval '5 minutes', 'infinity') as t on t.queue = s.queue
  cross join lateral (
    select
      case when s.paused or s.throttled_until is not null then 0 else s.due end as backlog,
      coalesce(t.run_mean, 1) as run
  ) as load
  cross join lateral (
    select coalesce(sum(v.concurrency), 0)::bigint as slots, coalesce(avg(v.concurrency), 20) as per_worker
    from pgq.worker_stats as v
    where v.alive and not v.stopping and s.queue = any(v.queues)
  ) as w
) as n;

comment on view pgq.autoscale is 'How many slots and workers each queue needs so that what is due drains within a minute.';
comment on column pgq.autoscale.queue is 'The queue.';
comment on column pgq.autoscale.slots is 'Slots of the live workers that serve it, other queues of theirs included.';
comment on column pgq.autoscale.busy is 'Its tasks that run.';
comment on column pgq.autoscale.backlog is 'Its tasks that are due and that no limit of its own holds back; 0 while it is paused.';
comment on column pgq.autoscale.wait is 'Seconds the oldest of them has waited.';
comment on column pgq.autoscale.needed_slots is 'Slots that drain it within a minute at the pace of the last 5 minutes (1 s a task where none is known), no more than its limits can use.';
comment on column pgq.autoscale.needed_workers is 'Workers that have so many slots, each with as many as those that serve it have on average, or 20.';
