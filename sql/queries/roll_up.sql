-- roll_up: merge the appended counts of each past minute into one row, and forget those older than eight days.
-- index: none; the table is small because this runs
-- rows:  queue, minute of each merged row
with old as (
  delete from pgq.counts
  where minute < date_trunc('minute', statement_timestamp()) - interval '1 minute'
    and (minute < statement_timestamp() - interval '8 days'
         or (queue, minute) in (select queue, minute from pgq.counts group by queue, minute having count(*) > 1))
  returning queue, minute, completed, failed, dead, cancelled, retried
)
insert into pgq.counts (queue, minute, completed, failed, dead, cancelled, retried)
select queue, minute, sum(completed), sum(failed), sum(dead), sum(cancelled), sum(retried)
from old
where minute >= statement_timestamp() - interval '8 days'
group by queue, minute
returning queue, minute
