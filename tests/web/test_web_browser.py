"""The dashboard as people use it, in a real Chromium: live numbers, replay, keyboard, accessibility, nothing runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from factory import make_queue, make_task, make_tasks, make_worker
from visitor import TOKEN, Dashboard

pytestmark = pytest.mark.slow

Open = Callable[..., Any]
NASTY = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1440, "height": 900}
TABLE_ROLES = ("table", "rowgroup", "row", "columnheader", "rowheader", "cell")


def logged_in(dashboard: Dashboard, open_page: Open, **options: Any) -> Any:
    page = open_page(f"{dashboard.url}/login#token={TOKEN}", **options)
    page.get_by_role("button", name="Log out").wait_for()
    return page


def enqueue(conn: psycopg.Connection, queue: str, count: int) -> None:
    conn.execute("select pgq.enqueue(%s, 'work', '{}') from generate_series(1, %s)", (queue, count))


def test_a_burst_is_on_the_page_within_a_second_without_a_reload(
    dashboard: Dashboard, conn: psycopg.Connection, open_page: Open
) -> None:
    make_queue(conn, "mail")
    page = open_page(dashboard.url)
    page.locator("tr[data-key=mail] [data-f=pending]", has_text="0").wait_for()
    page.evaluate("window.untouched = true")
    # The page's own clock, from the commit to the moment at which the number stands there.
    page.evaluate(
        "void (window.seen = new Promise((done) => new MutationObserver(() => {"
        " const cell = document.querySelector('tr[data-key=mail] [data-f=pending]');"
        " if (cell.textContent === '700') done(Date.now()); })"
        ".observe(document.body, {subtree: true, childList: true, characterData: true})))"
    )
    enqueue(conn, "mail", 700)
    (committed,) = conn.execute("select extract(epoch from clock_timestamp()) * 1000").fetchone()
    assert page.evaluate("window.seen") - float(committed) < 1000
    assert page.evaluate("window.untouched")


def test_a_queue_that_is_new_or_paused_shows_without_a_reload(
    dashboard: Dashboard, conn: psycopg.Connection, open_page: Open
) -> None:
    page = open_page(dashboard.url)
    page.get_by_text("There are no queues yet").wait_for()
    make_queue(conn, "late")
    page.get_by_role("link", name="late").wait_for()
    conn.execute("select pgq.pause('late')")
    page.locator("tr[data-key=late] [data-paused]").wait_for(state="visible")


def test_filtered_dead_letters_are_previewed_replayed_and_recorded(
    dashboard: Dashboard, conn: psycopg.Connection, open_page: Open
) -> None:
    wanted = make_tasks(conn, 7, queue="hooks", status="dead", last_error="HTTP 503: away")
    others = make_tasks(conn, 3, queue="hooks", status="dead", last_error="HTTP 404: gone")
    page = logged_in(dashboard, open_page)
    page.get_by_role("link", name="Dead letters").click()
    page.get_by_label("Queue").select_option("hooks")
    page.get_by_label("Error has").fill("http 503")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("heading", name="7 dead letters like that").wait_for()
    page.get_by_role("link", name="Replay these").click()
    page.get_by_role("heading", name="7 dead letters would be replayed").wait_for()
    page.get_by_label("Why").fill("their server is back")
    page.get_by_role("button", name="Replay 7").click()
    page.get_by_text("Replayed 7 of 7").wait_for()
    states = dict(conn.execute("select id, status::text from pgq.tasks").fetchall())
    assert {states[one] for one in wanted} == {"pending"}
    assert {states[one] for one in others} == {"dead"}
    recorded = conn.execute("select actor, action, count, note, filter ->> 'error' from pgq.audit").fetchall()
    assert recorded == [("dashboard", "replay", 7, "their server is back", "http 503")]


def test_a_replay_of_more_than_was_counted_is_refused(
    dashboard: Dashboard, conn: psycopg.Connection, open_page: Open
) -> None:
    make_tasks(conn, 2, status="dead")
    page = logged_in(dashboard, open_page)
    page.goto(f"{dashboard.url}/dead/purge")
    make_task(conn, status="dead")
    page.get_by_role("button", name="Delete 2").click()
    page.get_by_text("There were 2 like that, now there are 3").wait_for()
    assert conn.execute("select count(*) from pgq.dead_tasks").fetchone() == (3,)


def test_nothing_that_a_task_brings_runs(dashboard: Dashboard, conn: psycopg.Connection, open_page: Open) -> None:
    said = {"task": NASTY, "last_error": NASTY, "traceback": NASTY, "unique_key": NASTY, "throttled_by": NASTY}
    number = make_task(conn, status="dead", payload=json.dumps({NASTY: NASTY}), limit_keys=[NASTY], **said)
    make_worker(conn, name=NASTY, host=NASTY, version=NASTY, queues=[NASTY])
    page = logged_in(dashboard, open_page)
    for path in ("/", "/tasks", f"/tasks/{number}", "/dead", "/dead/replay", "/workers", "/health", "/audit"):
        page.goto(dashboard.url + path)
        page.locator("#live[data-state=live]").wait_for()
        assert page.title() != "run"
        assert page.locator("main img").count() == 0
    page.goto(f"{dashboard.url}/workers")
    assert page.locator("#workers [data-f=name]").inner_text() == NASTY


def test_the_keyboard_is_enough(dashboard: Dashboard, conn: psycopg.Connection, open_page: Open) -> None:
    make_queue(conn, "mail")
    page = logged_in(dashboard, open_page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="mail").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Pause").wait_for()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Pause":
            break
    page.keyboard.press("Space")
    page.get_by_text("Queue mail is paused").wait_for()
    page.get_by_role("button", name="Resume").press("Enter")
    page.get_by_text("Queue mail goes on").wait_for()


def test_the_colours_are_switched_and_kept(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.url, color_scheme="light")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    button = page.get_by_role("button", name="Colours")
    button.click()
    button.click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light


def test_a_page_says_when_the_dashboard_is_gone(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.url)
    page.locator("#live[data-state=live]").wait_for()
    dashboard.stop()
    page.get_by_text("This dashboard does not answer").wait_for()


def one_of_each(conn: psycopg.Connection) -> int:
    """Make something for every table of every page; returns the id of a dead letter."""
    make_queue(conn, "hooks", rate_max=100, rate_per=60, concurrency=4)
    make_queue(conn, "mail", paused_at="2026-01-01T00:00:00Z")
    dead = make_task(
        conn, queue="hooks", status="dead", last_error="HTTP 503: " + "x" * 200, traceback="Traceback\n  line"
    )
    conn.execute(
        "insert into pgq.attempts (task_id, queue, attempt, worker, error, traceback)"
        " values (%s, 'hooks', 1, 'w', 'HTTP 503', 'Traceback')",
        (dead,),
    )
    for status in ("pending", "processing", "completed", "failed", "cancelled"):
        make_task(conn, queue="hooks", status=status)
    make_worker(conn, queues=["hooks", "mail"], running=1)
    make_worker(conn, silent_for=100.0)
    return dead


def parts_of_tables(page: Any) -> Counter[str]:
    """Return how many tables, rows and cells those who cannot see the page are told of."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    found = Counter(node["role"]["value"] for node in nodes if not node["ignored"])
    return Counter({role: found[role] for role in TABLE_ROLES})


@pytest.mark.parametrize("path", ["/", "/tasks", "/dead", "/workers", "/limits", "/health", "/audit"])
def test_on_a_phone_a_table_is_still_one_to_who_cannot_see_it(
    dashboard: Dashboard, conn: psycopg.Connection, open_page: Open, path: str
) -> None:
    one_of_each(conn)
    conn.execute("select pgq.pause('hooks', 'ada')")
    page = logged_in(dashboard, open_page, viewport=DESK)
    page.goto(dashboard.url + path)
    page.locator("table.rows tbody tr").first.wait_for()
    wide = parts_of_tables(page)
    page.set_viewport_size(PHONE)
    narrow = parts_of_tables(page)
    assert wide["table"] > 0
    assert wide["columnheader"] > 0
    assert wide["cell"] > 0
    assert narrow == wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_page_is_accessible_and_fits(
    dashboard: Dashboard, conn: psycopg.Connection, open_page: Open, scheme: str, size: dict[str, int]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    dead = one_of_each(conn)
    page = logged_in(dashboard, open_page, color_scheme=scheme, viewport=size)
    found = {}
    pages = ["/", "/queues/hooks", "/tasks", "/tasks?task=none", f"/tasks/{dead}", "/dead", "/dead/replay"]
    pages += ["/dead/purge", "/workers", "/limits", "/health", "/audit", "/login", "/nothing"]
    for path in pages:
        page.goto(dashboard.url + path)
        page.locator("#live[data-state=live]").wait_for()
        result = axe.run(page)
        serious = [one["id"] for one in result.response["violations"] if one["impact"] in {"serious", "critical"}]
        wide = page.evaluate("document.documentElement.scrollWidth") > size["width"]
        if serious or wide:
            found[path] = [*serious, *(["wider than the screen"] if wide else [])]
    assert found == {}
