-- dead-by-error: what the dead letters died of, the most frequent first.
select queue, task, left(last_error, 80) as error, count(*) as dead, max(died_at) as latest
from pgq.dead_tasks
group by 1, 2, 3
order by dead desc
