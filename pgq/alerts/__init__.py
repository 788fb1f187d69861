"""Alerts: rules that are SQL over the views, watched by workers, told by webhook, command or mail.

`pgq.alert_rules` and `pgq.alert_targets` are the truth, changed live. A look at a rule, what it changes and the task
that tells of it are one transaction; telling is that task's matter, so it is repeated until it is done, by whichever
worker is there. A thing is told once until it has recovered, and rules that come with the library leave the queue of
these tasks out, so an alert that cannot be delivered raises none.
"""
