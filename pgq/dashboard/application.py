"""The application: its routes, what they share, and its life."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from os import PathLike, stat_result
from pathlib import Path

import psycopg
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from pgq.dashboard import actions, dead, exposition, feed, lists, pages
from pgq.dashboard.access import Access
from pgq.dashboard.guard import Guard
from pgq.dashboard.hub import Hub
from pgq.dashboard.jobs import Busy, Jobs
from pgq.dashboard.poller import Poller
from pgq.dashboard.settings import Settings
from pgq.dashboard.store import Store
from pgq.dashboard.views import is_program, on_database, on_http, problem, to_login, visitor
from pgq.errors import PgqError, UnknownQueue, UnknownTask

Endpoint = Callable[[Request], Awaitable[Response]]


class Assets(StaticFiles):
    """Static files that a browser may keep, and asks about (ETag) before it uses them."""

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file, or that it has not changed."""
        found = super().file_response(full_path, stat_result, scope, status_code)
        found.headers["cache-control"] = "no-cache"
        return found


def build(settings: Settings) -> Starlette:
    """Return the application of one database."""
    hub = Hub()
    store = Store(settings.dsn)
    poller = Poller(store.dsn, hub)
    jobs = Jobs(store.dsn, hub)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(poller.run())
        yield
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        await jobs.stop()
        await store.close()

    app = Starlette(
        routes=routes(),
        middleware=[Middleware(Guard, hosts=settings.hosts)],
        exception_handlers={
            HTTPException: on_http,
            psycopg.Error: on_database,
            OSError: on_database,
            PgqError: refused,
        },
        lifespan=life,
    )
    for name, part in {
        "settings": settings, "hub": hub, "store": store, "poller": poller, "jobs": jobs,
        "access": Access(settings), "minutes": feed.Minutes(store),
    }.items():  # fmt: skip
        setattr(app.state, name, part)
    return app


def routes() -> list[Route | Mount]:
    """Return every address. Those that read ask for the login where reading needs it."""
    read = {
        "/": pages.overview,
        "/queues/{name}": pages.queue,
        "/tasks": lists.tasks,
        "/tasks/{id}": pages.task,
        "/dead": dead.dead,
        "/dead/{action}": dead.confirm,
        "/workers": pages.workers,
        "/limits": pages.limits,
        "/health": pages.health,
        "/audit": pages.audit,
        "/events": feed.events,
        "/minutes": feed.minutes,
        "/metrics": exposition.metrics,
    }
    steer = {
        "/queues/{name}/{action}": actions.steer_queue,
        "/tasks/{id}/{action}": actions.steer_task,
        "/dead/{action}": dead.carry_out,
        "/logout": actions.logout,
    }
    return [
        *(Route(path, reading(endpoint), methods=["GET"]) for path, endpoint in read.items()),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in steer.items()),
        Route("/login", actions.login, methods=["GET", "POST"]),
        Mount("/static", Assets(directory=Path(__file__).parent / "static")),
    ]


def reading(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that sends strangers to the login where reading needs it."""

    async def guarded(request: Request) -> Response:
        if visitor(request).reads:
            return await endpoint(request)
        return problem(request, 401, "Log in first.") if is_program(request) else to_login(request)

    return guarded


async def refused(request: Request, error: Exception) -> Response:
    """Answer what the database, or a job, refused."""
    status = 404 if isinstance(error, UnknownTask | UnknownQueue) else 409 if isinstance(error, Busy) else 400
    return problem(request, status, str(error))
