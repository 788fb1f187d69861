-- health: one row a check, with the sentence to read.
create or replace view pgq.health as
select name, status, message, value from pgq.health_of_server()
union all
select name, status, message, value from pgq.health_of_tables()
union all
select name, status, message, value from pgq.health_of_work();

comment on view pgq.health is 'Whether all is well: one row a check. `pgq check` and `pgq doctor` read it.';
comment on column pgq.health.name is 'What was checked.';
comment on column pgq.health.status is 'ok, warn or critical.';
comment on column pgq.health.message is 'What was found, and what to do about it.';
comment on column pgq.health.value is 'The number behind it: seconds, a share, a count.';
