-- bring_back_heartbeats: after the clock was set back, count a silence from now: else the dead look alive until it is
-- again as late as it was. A living worker's next heartbeat says the same.
-- rows:  id
update pgq.workers as w
set heartbeat_at = clock_timestamp()
where w.heartbeat_at > clock_timestamp() + interval '2 seconds'
returning w.id
