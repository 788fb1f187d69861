-- partitions: the days of the table, their size, and when they go.
select name, live_rows, dead_rows, pg_size_pretty(bytes) as size, sealed_at, drops_at
from pgq.partition_stats
order by name
