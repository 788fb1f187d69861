-- failure-rate: share of attempts that failed in the last hour, by queue.
select queue, sum(completed) as completed, sum(failed + dead + retried) as failures,
       round(100.0 * sum(failed + dead + retried) / nullif(sum(completed + failed + dead + retried), 0), 1) as percent
from pgq.minutes
where minute > now() - interval '1 hour'
group by queue
order by percent desc nulls last
