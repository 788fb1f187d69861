-- explain_task: why one task is not running, or what became of it.
-- index: primary key, one probe per day; then tasks_claim, as far as a thousand tasks
-- rows:  one: a sentence
select pgq.explain(%(id)s) as explanation
