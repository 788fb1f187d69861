-- dash_health: the health checks, what is wrong first.
-- index: those of health
-- rows:  Check
select name, status, message, value
from pgq.health
order by case status when 'critical' then 0 when 'warn' then 1 else 2 end, name
