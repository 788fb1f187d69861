-- register: add this process to the workers.
-- rows:  the id
insert into pgq.workers (name, host, pid, queues, concurrency, version, lease, tasks, supervisor, scale)
values (%(name)s, %(host)s, %(pid)s, %(queues)s, %(concurrency)s, %(version)s, %(lease)s, %(tasks)s, %(supervisor)s,
        %(scale)s)
returning id
