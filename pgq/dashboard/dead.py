"""Dead letters: which there are, what they died of, and their replay or purge, counted before it is done."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgq import letters
from pgq.connect import connect
from pgq.dashboard import asked
from pgq.dashboard.actions import answer, permitted
from pgq.dashboard.asked import Filter
from pgq.dashboard.jobs import Job, Jobs
from pgq.dashboard.pages import store
from pgq.dashboard.rows import Letter
from pgq.dashboard.store import ROLE, fetch
from pgq.dashboard.views import page, to_login, visitor
from pgq.db import Call, arun

SHOWN = 30  # letters, as a sample
LOOK = 5_000  # letters whose errors are told apart
ERRORS = 12


def which_of(asked_for: Filter, ids: tuple[int, ...] = ()) -> letters.Which:
    """Return the dead letters that a filter means."""
    return letters.Which(
        queue=asked_for.queue,
        task=asked_for.task,
        error=asked_for.error,
        older=asked.seconds("older", asked_for.older),
        newer=asked.seconds("newer", asked_for.newer),
        ids=ids,
    )


async def dead(request: Request) -> Response:
    """Show the dead letters that are like what is asked for: how many, of what, and a sample."""
    given = Filter.of(request.query_params)
    values = which_of(given).values
    async with store(request).reading() as conn:
        names = [row[0] for row in await arun(conn, Call("queue_names", {}))]
        counts = [(row[0], row[1]) for row in await arun(conn, Call("count_dead", values))]
        errors = await arun(conn, Call("dash_errors", {**values, "most": LOOK, "limit": ERRORS}))
        rows = await fetch(conn, Letter, "dash_dead", {**values, "limit": SHOWN})
    return page(
        request, "dead.html", title="Dead letters", which=given, queues=names, counts=counts,
        total=sum(count for _, count in counts), errors=errors, rows=rows, look=LOOK,
    )  # fmt: skip


async def confirm(request: Request) -> Response:
    """Say what a replay or a purge would do, and ask."""
    if not visitor(request).steers:
        return to_login(request)
    action = action_of(request)
    given = Filter.of(request.query_params)
    async with store(request).reading() as conn:
        counts = [(row[0], row[1]) for row in await arun(conn, Call("count_dead", which_of(given).values))]
        rows = await fetch(conn, Letter, "dash_dead", {**which_of(given).values, "limit": 5})
    return page(
        request, "confirm.html", title=f"{action.capitalize()} dead letters", action=action, which=given, counts=counts,
        total=sum(count for _, count in counts), rows=rows,
    )  # fmt: skip


async def carry_out(request: Request) -> Response:
    """Begin a replay or a purge of what was counted; refuses where many more have come since."""
    action = action_of(request)
    given = await permitted(request)
    wanted = Filter.of(given)
    note, pace = asked.text(given, "note") or "", asked.rate(asked.text(given, "rate"))
    total = sum((await asyncio.to_thread(count, store(request).dsn, which_of(wanted))).values())
    if (seen := asked.text(given, "total")) is not None and seen != str(total):
        raise HTTPException(409, f"There were {seen} like that, now there are {total:,}: look again before you decide.")
    jobs: Jobs = request.app.state.jobs
    what = ", ".join(f"{name} {value}" for name, value in wanted.given.items()) or "all"
    job = Job(0, action, what, visitor(request).actor, total)
    if action == "replay":
        jobs.replay(which_of(wanted), job, pace, note)
    else:
        jobs.purge(which_of(wanted), job, note)
    return answer(request, f"The {action} of {total:,} dead letters has begun.", f"/dead?{wanted.query}")


def count(dsn: str, which: letters.Which) -> dict[str, int]:
    """Return how many dead letters are like that, by queue."""
    with connect(dsn, ROLE) as conn:
        return letters.count(conn, which)


def action_of(request: Request) -> str:
    """Return `replay` or `purge`. Raises HTTPException 404 for anything else."""
    action = str(request.path_params["action"])
    if action not in {"replay", "purge"}:
        raise HTTPException(404, "There is nothing here.")
    return action
