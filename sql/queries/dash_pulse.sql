-- dash_pulse: how many tasks ended in this minute and the two before; two looks apart tell how fast it goes.
-- index: those of minutes
-- rows:  Pulse
select queue, minute, completed + failed + dead + cancelled as ended
from pgq.minutes
where minute >= date_trunc('minute', statement_timestamp()) - interval '2 minutes'
order by queue, minute
