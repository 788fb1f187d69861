"""Other task queues, measured beside pgq: same server, same work, taking turns."""
