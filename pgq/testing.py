"""For users' own tests: run what was enqueued, here and now."""

from __future__ import annotations

import asyncio
from typing import Any

from pgq.app import App
from pgq.config import Config
from pgq.worker import Worker


def work_off(app: App, dsn: str, **settings: Any) -> None:
    """Run every due task of the app's queues to its end and return; what is due later stays.

    `settings` are those of Config. Raises SchemaError when `pgq migrate` has not run on this database.
    """
    asyncio.run(awork_off(app, dsn, **settings))


async def awork_off(app: App, dsn: str, **settings: Any) -> None:
    """Do the same inside a running event loop."""
    await Worker(app, Config(dsn=dsn, **settings)).run(burst=True)
