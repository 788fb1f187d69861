"""Prometheus metrics: of the queues, rendered from the views, and of a worker's own process.

    page(read(conn))                          # of the queues, for any web application's /metrics
    page(await aread(aconn))
    bind(port, host, dsn, worker).start()     # `pgq worker --metrics-port 9100`

Every name stands in `pgq.metrics.names`, and in docs/metrics.md. Needs `pip install 'pgq-tasks[metrics]'`.
"""

from __future__ import annotations

from pgq.metrics.database import aread, page, read
from pgq.metrics.endpoint import bind, check

__all__ = ["aread", "bind", "check", "page", "read"]
