-- prune_audit: forget the audit's entries older than so many days, a batch at a time; workers may not delete from it.
-- index: audit_at
-- rows:  how many it forgot
select pgq.prune_audit(%(days)s, %(batch)s)
