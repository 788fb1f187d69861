-- health: every check that is not ok.
select status, name, message, value
from pgq.health
where status <> 'ok'
order by status, name
