"""What changes something: only who has the token may, only from a page of ours; the database records who it was."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from pgq.dashboard import asked
from pgq.dashboard.access import Access, from_our_page, proves_its_form
from pgq.dashboard.pages import path_text, store
from pgq.dashboard.views import page, visitor
from pgq.db import Call, arun

CANCELLED = {"cancelled": "was cancelled", "requested": "runs: its worker was asked to stop it"}
RETRIED = {"pending": "will run again", "processing": "was left alone: it runs"}


async def permitted(request: Request) -> Mapping[str, str]:
    """Return the form of a request that may change something. Raises HTTPException 401 or 403 for any other."""
    who = visitor(request)
    if not who.steers:
        raise HTTPException(401, "Log in first: only who has the token may change anything.")
    if who.session is None and not request.headers.get("content-length", "0").strip("0"):
        return {}  # a program may leave the form out
    given = await asked.form(request)
    if who.session and not (from_our_page(request) and proves_its_form(who.session, given.get("form_token", ""))):
        raise HTTPException(403, "This did not come from a page of this dashboard: go back, reload it, try again.")
    return given


def answer(request: Request, said: str, next_page: str) -> Response:
    """Return what was done: on the next page for a browser, as JSON for a program."""
    session = visitor(request).session
    if session is None:
        return JSONResponse({"said": said})
    session.said.append(said)
    return RedirectResponse(next_page, 303)


async def steer_task(request: Request) -> Response:
    """Cancel or retry one task."""
    action = request.path_params["action"]
    if action not in {"cancel", "retry"}:
        raise HTTPException(404, "There is nothing here.")
    await permitted(request)
    number = asked.task_id(request.path_params["id"])
    words = CANCELLED if action == "cancel" else RETRIED
    async with store(request).writing() as conn:
        call = Call(f"{action}_task", {"id": number, "actor": visitor(request).actor})
        ((status,),) = await arun(conn, call)
    said = words.get(status, f"was left alone: it is {status} already")
    return answer(request, f"Task {number} {said}.", f"/tasks/{number}")


async def steer_queue(request: Request) -> Response:
    """Pause or resume one queue."""
    action = request.path_params["action"]
    if action not in {"pause", "resume"}:
        raise HTTPException(404, "There is nothing here.")
    await permitted(request)
    name = path_text(request, "name")
    async with store(request).writing() as conn:
        await arun(conn, Call(f"{action}_queue", {"queue": name, "actor": visitor(request).actor}))
    said = "is paused: nothing of it starts, enqueueing goes on" if action == "pause" else "goes on"
    return answer(request, f"Queue {name} {said}.", request.url.path.rpartition("/")[0])


async def login(request: Request) -> Response:
    """Show the login, or open a session."""
    access: Access = request.app.state.access
    if request.method != "POST":
        next_page = asked.local(request.query_params.get("next"))
        return page(request, "login.html", title="Log in", next=next_page, wrong=False)
    given = await asked.form(request)
    if not from_our_page(request):
        raise HTTPException(403, "This did not come from a page of this dashboard.")
    next_page = asked.local(given.get("next"))
    opened = RedirectResponse(next_page, 303)
    secure = request.headers.get("origin", "").startswith("https:")
    if access.enter(given.get("token", "").strip(), given.get("name", ""), opened, secure=secure):
        return opened
    return page(request, "login.html", status=403, title="Log in", next=next_page, wrong=True)


async def logout(request: Request) -> Response:
    """End the session."""
    access: Access = request.app.state.access
    await permitted(request)
    left = RedirectResponse("/", 303)
    access.leave(request, left)
    return left
