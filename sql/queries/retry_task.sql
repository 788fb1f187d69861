-- retry_task: start one ended task over, or make a waiting one due now.
-- index: primary key, one probe per day
-- rows:  one: pending, or processing when it runs right now and was left alone
select pgq.retry(%(id)s, %(actor)s::text) as status
