"""The benchmarks work: a quick run measures what it says, and one that lost or doubled a task is not valid."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from suite import MANIFEST, command, outcome_of

from benchmarks import harness, pictures, report
from benchmarks.harness import Bench
from benchmarks.limits import app, exhausted, tight, urgent
from benchmarks.measure import Gauge, Reading, costs, postmaster
from benchmarks.results import Outcome, as_json
from benchmarks.scenarios import drain, limits, wakeup
from pgq.quota import Quota


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drain", "wakeup", "enqueue"])
def test_a_quick_run_is_valid_and_prints_one_json_object_per_scenario(name: str, server: str, tmp_path: Path) -> None:
    done = command("run", name, "--quick", "--json", "--dsn", server, "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    said: dict[str, Any] = json.loads(line)
    assert (said["scenario"], said["valid"], said["problems"]) == (name, True, [])
    for headline in harness.scenario(name).HEADLINE:
        found = [metrics[headline]["median"] for metrics in said["cases"].values() if headline in metrics]
        assert found, headline
        assert min(found) > 0, headline


@pytest.mark.slow
def test_a_quick_run_of_limits_is_valid_and_has_every_headline(
    server: str, redis_admin_url: str, tmp_path: Path
) -> None:
    places = ("--dsn", server, "--redis-url", redis_admin_url, "--out", str(tmp_path))
    done = command("run", "limits", "--quick", "--json", *places)

    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert (said["valid"], said["problems"]) == (True, [])
    for headline in limits.HEADLINE:
        found = [metrics[headline]["median"] for metrics in said["cases"].values() if headline in metrics]
        assert found, headline
        assert min(found) > 0, headline
    assert redis_admin_url not in (tmp_path / "manifest.json").read_text()
    assert "Redis: version = " in (tmp_path / "SUMMARY.md").read_text()


def test_limits_are_not_measured_without_a_redis(server: str, tmp_path: Path) -> None:
    done = command("run", "limits", "--quick", "--dsn", server, "--out", str(tmp_path))

    assert done.returncode == 2
    assert "--redis-url" in done.stderr


@pytest.mark.slow
def test_a_result_says_where_it_comes_from_and_keeps_every_sample(server: str, tmp_path: Path) -> None:
    done = command("run", "wakeup", "--quick", "--dsn", server, "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["server_settings"]["fsync"] in {"on", "off"}
    assert manifest["machine"]["cpus"] >= 1
    assert manifest["versions"]["pgq"]
    assert server not in manifest["command"]
    assert "wakeup,idle worker,0,p50_ms," in (tmp_path / "raw.csv").read_text()
    assert "## wakeup" in (tmp_path / "SUMMARY.md").read_text()
    assert done.stdout.rstrip() == (tmp_path / "SUMMARY.md").read_text().rstrip()


def test_the_list_names_every_scenario_with_a_sentence() -> None:
    lines = command("list").stdout.splitlines()

    assert [line.split()[0] for line in lines] == harness.names()
    assert all(len(line.split()) > 3 for line in lines)


def test_every_scenario_says_what_is_timed_on_what_and_how_durably() -> None:
    for name in harness.names():
        text = harness.scenario(name).__doc__ or ""
        for word in ("Timed", "On:", "Durability:", "Checked:"):
            assert word in text, (name, word)


@pytest.mark.parametrize(
    ("executed", "settled", "problem"),
    [
        ([0, 1, 2], 3, None),
        ([0, 2], 3, "1 tasks never ran"),
        ([0, 1, 2, 2], 3, "1 tasks ran twice"),
        ([0, 1, 2], 2, "2 of 3 tasks were settled"),
    ],
)
def test_a_drain_is_invalid_when_a_task_was_lost_or_doubled(
    conn: psycopg.Connection, executed: list[int], settled: int, problem: str | None
) -> None:
    conn.execute(
        "insert into pgq.tasks (queue, task, timeout, max_attempts, status, attempts)"
        " select 'bench', 'noop', 60, 5, 'completed', 1 from generate_series(1, 3)"
    )
    report = {"executed": executed, "started_at": [0] * len(executed)}
    drained = drain.Drained(0, drain.Seen(settled, 1, 1), Reading(1, 1, 1, 1, 1), 1, 1, [report])
    outcome = Outcome("drain")

    drain.check(outcome, conn, drained, 3, "here")

    assert outcome.problems == ([f"here: {problem}"] if problem else [])


def test_a_drain_is_invalid_when_a_row_is_not_completed_at_its_first_attempt(conn: psycopg.Connection) -> None:
    conn.execute(
        "insert into pgq.tasks (queue, task, timeout, max_attempts, status, attempts)"
        " values ('bench', 'noop', 60, 5, 'completed', 2)"
    )
    drained = drain.Drained(
        0, drain.Seen(1, 1, 1), Reading(1, 1, 1, 1, 1), 1, 1, [{"executed": [0], "started_at": [0]}]
    )
    outcome = Outcome("drain")

    drain.check(outcome, conn, drained, 1, "here")

    assert outcome.problems == ["here: 0 of 1 rows are completed at their first attempt"]


SECOND = 10**9


def test_a_rate_is_fully_used_when_each_window_follows_the_one_before_at_once() -> None:
    bursts = [window * SECOND for window in range(3) for _ in range(tight.MOST)]

    assert tight.figures(bursts, 2) == {
        "starts_per_s": tight.MOST,
        "utilisation": 1.0,
        "fullest_window": 2 * tight.MOST,
    }


def test_a_late_window_is_missing_from_the_utilisation() -> None:
    bursts = [round(window * 1.25 * SECOND) for window in range(3) for _ in range(tight.MOST)]

    found = tight.figures(bursts, 2)

    assert (found["utilisation"], found["fullest_window"]) == (0.8, tight.MOST)


def test_too_few_starts_are_no_utilisation() -> None:
    assert tight.figures([0, SECOND], 2)["utilisation"] == 0.0


def test_the_fullest_window_may_begin_anywhere_and_holds_both_ends() -> None:
    assert tight.fullest([0, 5, 6, 10, 15, 16], 10) == 4
    assert tight.fullest([], 10) == 0


@pytest.mark.parametrize(
    ("executed", "problem"),
    [
        ([-1, 0, 1], None),
        ([-1, 0, 1, -2], "the exhausted key was overrun"),
        ([-1, -1, 0, 1], "the exhausted key was overrun"),
        ([-1, 0], "not every free task was executed exactly once"),
        ([-1, 0, 1, 1], "not every free task was executed exactly once"),
    ],
)
def test_a_run_is_invalid_when_an_exhausted_key_ran_or_a_free_one_did_not(
    executed: list[int], problem: str | None
) -> None:
    outcome = Outcome("limits")

    exhausted.check(outcome, "here", [{"executed": executed, "started_at": [0] * len(executed)}], {0, 1})

    assert outcome.problems == ([f"here: {problem}"] if problem else [])


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def at(milliseconds: int) -> datetime:
    return MOMENT + timedelta(milliseconds=milliseconds)


def test_who_was_claimed_before_the_commit_and_started_after_it_did_not_overtake() -> None:
    sent = [urgent.Sent(9, returned=10_000_000, committed=at(10))]

    found = urgent.figures(sent, {1: 11_000_000, 9: 15_000_000}, {1: at(9), 9: at(12)})

    assert (found["others_started_max"], found["overtaking_max"], found["delay_max_ms"]) == (1, 0, 5)


def test_who_was_claimed_after_the_commit_and_before_the_urgent_task_overtook_it() -> None:
    sent = [urgent.Sent(9, returned=10_000_000, committed=at(10))]

    found = urgent.figures(sent, {1: 13_000_000, 2: 20_000_000, 9: 15_000_000}, {1: at(11), 2: at(13), 9: at(12)})

    assert (found["others_started_max"], found["overtaking_max"], found["overtaken_share"]) == (1, 1, 1)


def test_a_run_of_urgent_tasks_is_invalid_above_the_limit_or_without_a_backlog() -> None:
    crowded, lost, idle, fine = (Outcome("limits") for _ in range(4))

    urgent.check(crowded, "here", dict.fromkeys(range(urgent.SLOTS + 1), 0), [0], 100)
    urgent.check(lost, "here", {0: 0}, [5], 5)
    urgent.check(idle, "here", {0: 0, 1: 0, 2: 0}, [2], 2)
    urgent.check(fine, "here", {0: 0, 2: 0}, [2], 2)

    assert crowded.problems == [f"here: {urgent.SLOTS + 1} ran at once"]
    assert lost.problems == ["here: 1 urgent tasks did not start"]
    assert idle.problems == ["here: nothing waited any more at the end"]
    assert fine.problems == []


def test_limits_are_imposed_live_and_a_worker_that_starts_leaves_them(conn: psycopg.Connection) -> None:
    app.impose(conn, Quota(5, 2.0, 3), Quota(slots=7))
    app.app.declare(conn)

    assert conn.execute("select rate_max, rate_per, concurrency from pgq.queues").fetchall() == [(5, 2.0, 3)]
    assert conn.execute("select rate_max, rate_per, concurrency from pgq.limits").fetchall() == [(None, None, 7)]


def test_an_invalid_run_says_so_in_json() -> None:
    outcome = outcome_of(100.0)
    outcome.require(False, "a task was lost")

    assert as_json(outcome)["valid"] is False
    assert as_json(outcome)["problems"] == ["a task was lost"]


def test_repetitions_become_a_median_and_its_range() -> None:
    found = as_json(outcome_of(300.0, 100.0, 110.0))["cases"]["1 process"]["tasks_per_s"]

    assert found == {"median": 110.0, "min": 100.0, "max": 300.0}


def test_a_result_reads_back_as_it_was_written(tmp_path: Path) -> None:
    outcome = outcome_of(3.5, 0.1)
    outcome.problems.append("a reason")

    report.write(tmp_path, MANIFEST, [outcome])

    _, (again,) = report.read(tmp_path)
    assert again == outcome
    assert "**Invalid:** a reason" in (tmp_path / "SUMMARY.md").read_text()


def test_pictures_are_drawn_or_their_absence_is_told(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    assert pictures.draw(tmp_path, [outcome_of(1.0, 2.0)]) == ["drain.png"]
    assert (tmp_path / "drain.png").read_bytes().startswith(b"\x89PNG")


def test_cases_with_other_metrics_have_a_table_and_bars_of_their_own(tmp_path: Path) -> None:
    outcome = Outcome("limits")
    outcome.add("script", 0, {"permits_per_s": 5.0})
    outcome.add("drain", 0, {"tasks_per_s": 7.0})
    outcome.add("another script", 0, {"permits_per_s": 6.0})

    text = report.summary("x", MANIFEST, [outcome], [])

    assert "| | permits_per_s |\n|---|---|\n| script | 5 |\n| another script | 6 |\n\n| | tasks_per_s |" in text
    assert pictures.draw(tmp_path, [outcome]) in ([], ["limits.png"])


def test_the_server_and_its_work_are_found_when_they_are_here(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as conn:
        gauge = Gauge(conn, [os.getpid()])
        before = gauge.read()
        conn.execute("select count(*) from generate_series(1, 1000000)")
        spent = gauge.read() - before

        if postmaster(conn) is not None:
            assert spent.server_cpu > 0.01
        assert spent.at > 0


def test_a_server_elsewhere_has_no_cpu_figure() -> None:
    found = costs(Reading(1.0, 4_000, 1, float("nan"), 0.5), 10, "worker")

    assert found == {"wal_bytes_per_task": 400.0, "worker_cpu_s_per_10k": 500.0}


def test_percentiles_count_what_waited_for_the_backstop() -> None:
    found = wakeup.percentiles([1.0] * 98 + [600.0, 900.0])

    assert (found["p50_ms"], found["max_ms"], found["over_500ms"]) == (1.0, 900.0, 2.0)


def test_sizes_follow_the_kind_of_run() -> None:
    assert Bench("", True, 1, print).size("full", "quick") == "quick"
    assert Bench("", False, 1, print).size("full", "quick") == "full"
