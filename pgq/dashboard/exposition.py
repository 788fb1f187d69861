"""`/metrics` for Prometheus: the metrics of the database, read anew for each scrape."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgq.dashboard.pages import store
from pgq.errors import ConfigError
from pgq.metrics.database import CONTENT_TYPE, aread, page


async def metrics(request: Request) -> Response:
    """Return the metrics of the database. Raises HTTPException 404 where they are not installed."""
    async with store(request).reading() as conn:
        reading = await aread(conn)
    try:
        return Response(page(reading), headers={"Content-Type": CONTENT_TYPE})
    except ConfigError as error:
        raise HTTPException(404, str(error)) from None
