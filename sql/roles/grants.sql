-- grants: what each role may do, as data. `pgq migrate` grants what of it is missing; tests hold that there is no more.
--
-- Nobody but the owner of the schema may anything that is not here or in monitor.sql: PUBLIC may nothing at all.
-- On the line these are plain grants, of columns where a role has no business with the others: whoever enqueues writes
-- what a task is and reads nothing but ids, a worker moves tasks on but cannot change what they are.

create or replace function pgq.table_grants()
returns table (role text, relation text, privilege text, columns text[])
language sql immutable
set search_path = pg_catalog, pgq, pg_temp
begin atomic
  values
    ('pgq_enqueue', 'tasks', 'insert', 
      '{queue,task,payload,priority,created_at,scheduled_at,max_attempts,timeout,limit_keys,weight,trace}'::text[]),
    ('pgq_enqueue', 'tasks', 'select', '{id}'),
    ('pgq_enqueue', 'queues', 'select', null),
    ('pgq_enqueue', 'limits', 'select', null),
    ('pgq_enqueue', 'migrations', 'select', null),
    ('pgq_worker', 'tasks', 'select', null),
    ('pgq_worker', 'tasks', 'update', 
      '{status,scheduled_at,started_at,completed_at,worker_id,lease,attempts,crashes,bounces,suspect,throttled_by,last_error,
        traceback}'),
    ('pgq_worker', 'tasks', 'delete', null),
    ('pgq_worker', 'unique_keys', 'select, delete', null),
    ('pgq_worker', 'attempts', 'select, insert, delete', null),
    ('pgq_worker', 'counts', 'select, insert, delete', null),
    ('pgq_worker', 'depths', 'select, insert, delete', null),
    ('pgq_worker', 'timings', 'select, insert, delete', null),
    ('pgq_worker', 'totals', 'select, insert, update', null),
    ('pgq_worker', 'limit_usage', 'select, insert, update, delete', null),
    ('pgq_worker', 'workers', 'select, insert, update, delete', null),
    ('pgq_worker', 'upkeep', 'select', null),
    ('pgq_worker', 'upkeep', 'update', '{ran_at}'),
    ('pgq_worker', 'alert_rules', 'select', null),
    ('pgq_worker', 'alert_rules', 'update', '{ran_at,took,error}'),
    ('pgq_worker', 'alert_targets', 'select', null),
    ('pgq_worker', 'alerts', 'select, insert, update, delete', null),
    ('pgq_worker', 'alert_notes', 'select, insert, update, delete', null),
    ('pgq_admin', 'tasks', 'select', null),
    ('pgq_admin', 'tasks', 'update', 
      '{status,scheduled_at,started_at,completed_at,cancel_requested,worker_id,lease,attempts,crashes}'),
    ('pgq_admin', 'tasks', 'delete', null),
    ('pgq_admin', 'dead_tasks', 'select', null),
    ('pgq_admin', 'attempts', 'select', null),
    ('pgq_admin', 'unique_keys', 'select, insert, delete', null),
    ('pgq_admin', 'counts', 'insert', '{queue,minute,cancelled}'),
    ('pgq_admin', 'queues', 'insert, update', null),
    ('pgq_admin', 'limits', 'insert, update', null),
    ('pgq_admin', 'audit', 'insert', '{actor,action,queue,filter,count,note}'),
    ('pgq_admin', 'audit', 'update', '{count}'),
    ('pgq_admin', 'alert_rules', 'select, insert, update, delete', null),
    ('pgq_admin', 'alert_targets', 'select, insert, update, delete', null),
    ('pgq_admin', 'alerts', 'select, insert, update', null),
    ('pgq_admin', 'alert_notes', 'select, insert', null);
end;

-- By name, for every signature of it. What is not here only the owner may call, and what he calls in turn.
create or replace function pgq.function_grants() returns table (role text, name text)
language sql immutable
set search_path = pg_catalog, pgq, pg_temp
begin atomic
  select g.role, unnest(g.names)
  from (
    values
      ('pgq_enqueue', '{enqueue,enqueue_many,enqueue_keyed,ring,check_payload,check_numbers,due_time,check_option,
        check_limit_key,check_limit_keys}'::text[]),
      ('pgq_worker', '{make_partition,seal_partition,carry_forward,drop_partition,prune_audit,sample,retry_delay}'),
      ('pgq_admin', '{cancel,cancel_proof,retry,pause,resume,record,status_of}'),
      ('pgq_monitor', '{check_option,depth,walk,ids_given,newcomers,estimate,rates,times,bucket_seconds,appended_since,ended_since,
        moves,running_tasks,overdue_tasks,spoken,spoken_age,level,up_to,status_of,health_of_server,health_of_tables,
        health_of_work,explain,explain_ended,explain_running,explain_waiting,explain_later,explain_busy,
        explain_limited,explain_place,missing_grants,table_grants,function_grants}')
  ) as g (role, names);
end;
