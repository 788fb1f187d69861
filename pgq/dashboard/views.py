"""Answers made of templates: what every page needs, and errors as pages."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import psycopg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from pgq.dashboard import asked, spoken
from pgq.dashboard.access import Access, Visitor
from pgq.dashboard.store import sentence
from pgq.version import __version__

PAGES = (
    ("/", "Overview"),
    ("/tasks", "Tasks"),
    ("/dead", "Dead letters"),
    ("/workers", "Workers"),
    ("/limits", "Limits"),
    ("/health", "Health"),
    ("/audit", "Audit"),
)


@cache
def environment() -> jinja2.Environment:
    """Return the templates: everything is escaped, what is missing is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("number", "duration", "moment", "ago", "size"):
        made.filters[name] = getattr(spoken, name)
    made.filters["segment"] = lambda text: quote(text, safe="")
    made.globals.update(version=__version__, pages=PAGES, statuses=asked.STATUSES, rate_limit=spoken.rate_limit)
    return made


def visitor(request: Request) -> Visitor:
    """Return who sent a request."""
    access: Access = request.app.state.access
    return access.visitor(request)


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """Return a page."""
    who = visitor(request)
    said = list(who.session.said) if who.session else []
    if who.session:
        who.session.said.clear()
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    text = (
        environment()
        .get_template(template)
        .render(
            who=who,
            theme=theme if (theme := request.cookies.get("pgq_theme")) in {"light", "dark"} else "auto",
            said=said,
            here=here,
            path=request.url.path,
            form_token=who.session.form_token if who.session else "",
            **values,
        )
    )
    return HTMLResponse(text, status)


def to_login(request: Request) -> Response:
    """Return the way to the login, and from there back."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(here, safe='')}", 303)


def is_program(request: Request) -> bool:
    """Return whether JSON is wanted rather than a page."""
    return "text/html" not in request.headers.get("accept", "")


def problem(request: Request, status: int, said: str) -> Response:
    """Return an error as a page, or as JSON for programs."""
    if is_program(request):
        return JSONResponse({"error": said}, status)
    return page(request, "problem.html", status=status, title=f"Error {status}", problem=said, code=status)


async def on_http(request: Request, error: Exception) -> Response:
    """Answer what a route refused."""
    if not isinstance(error, HTTPException):
        raise error
    return problem(request, error.status_code, error.detail)


async def on_database(request: Request, error: Exception) -> Response:
    """Answer while the database is away, slow, or of another mind."""
    if isinstance(error, psycopg.DataError):
        return problem(request, 400, sentence(error))
    return problem(request, 503, sentence(error))
