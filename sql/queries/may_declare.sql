-- may_declare: whether this user may write what code declares.
-- rows:  true or false
select has_table_privilege('pgq.queues', 'insert') and has_table_privilege('pgq.queues', 'update') as may
