-- health: every check of the view.
-- index: see pgq.health
-- rows:  name, status, message, value
select h.name, h.status, h.message, h.value
from pgq.health as h
