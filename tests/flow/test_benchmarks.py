"""The benchmarks work: a quick run measures what it says, and one that lost or doubled a task is not valid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks import harness, pictures, report
from benchmarks.harness import Bench
from benchmarks.measure import Gauge, Reading, costs, postmaster
from benchmarks.results import Outcome, as_json
from benchmarks.scenarios import drain, wakeup

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(line, check=False, cwd=ROOT, capture_output=True, text=True, timeout=150)


def outcome_of(*settled: float) -> Outcome:
    outcome = Outcome("drain")
    for repetition, rate in enumerate(settled):
        outcome.add("1 process", repetition, dict.fromkeys(drain.HEADLINE, rate))
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drain", "wakeup", "enqueue"])
def test_a_quick_run_is_valid_and_prints_one_json_object_per_scenario(name: str, server: str, tmp_path: Path) -> None:
    done = command("run", name, "--quick", "--json", "--dsn", server, "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    said: dict[str, Any] = json.loads(line)
    assert (said["scenario"], said["valid"], said["problems"]) == (name, True, [])
    for metrics in said["cases"].values():
        for headline in harness.scenario(name).HEADLINE:
            assert metrics[headline]["median"] > 0, headline


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
    machine = {"cpus": 1, "cpu": "c", "memory": "m", "system": "s", "load_average_before": [0.0]}
    manifest = {"command": "x", "started_at": "now", "commit": "", "changed_files": [], "machine": machine}

    report.write(tmp_path, {**manifest, "versions": {}, "server_settings": {}}, [outcome])

    _, (again,) = report.read(tmp_path)
    assert again == outcome
    assert "**Invalid:** a reason" in (tmp_path / "SUMMARY.md").read_text()


def test_pictures_are_drawn_or_their_absence_is_told(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    assert pictures.draw(tmp_path, [outcome_of(1.0, 2.0)]) == ["drain.png"]
    assert (tmp_path / "drain.png").read_bytes().startswith(b"\x89PNG")


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
