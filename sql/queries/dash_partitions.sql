-- dash_partitions: the days of the table of tasks, the latest first.
-- index: none, statistics
-- rows:  Partition
select name, live_rows, dead_rows, bytes, sealed_at, drops_at, last_autovacuum
from pgq.partition_stats
order by starts_at desc nulls first
limit %(limit)s
