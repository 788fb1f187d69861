-- alert_sent: one attempt to deliver a note; without an error it is sent.
-- index: alert_notes primary key
-- rows:  the id
update pgq.alert_notes
set
  attempts = attempts + 1,
  last_error = %(error)s,
  sent_at = case when %(error)s::text is null then clock_timestamp() end,
  gave_up_at = case when %(last)s then clock_timestamp() end
where id = %(note)s::uuid
returning id
