"""Every scenario of the suite runs, says what it measured, and is not valid when it measured something else."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from math import isnan
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from suite import MANIFEST, ROOT, command, outcome_of

from benchmarks import ablation, harness, pictures, report
from benchmarks.__main__ import main
from benchmarks.app import app, noop
from benchmarks.bell import Bell
from benchmarks.flow import Flow
from benchmarks.flowed import Plan
from benchmarks.harness import Bench
from benchmarks.horizon import held
from benchmarks.results import Moment, Outcome, as_json
from benchmarks.scenarios import ablation as ablations
from benchmarks.scenarios import soak
from benchmarks.tally import BUCKETS, Tally, bucket, doubled, missing, percentile


def quietly(_: str) -> None: ...


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("ablation", "cursor"),
        ("autoscale", ""),
        ("backlog", ""),
        ("bloat", ""),
        ("history", ""),
        ("latency", ""),
        ("pinned", "held"),
        ("readers", "full speed"),
        ("soak", ""),
        ("workers", ""),
    ],
)
def test_a_quick_run_is_valid(name: str, case: str, server: str, tmp_path: Path) -> None:
    done = command("run", name, "--quick", "--json", "--case", case, "--dsn", server, "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert (said["scenario"], said["valid"], said["problems"]) == (name, True, [])
    found = {metric for metrics in said["cases"].values() for metric in metrics}
    assert found & set(harness.scenario(name).HEADLINE)


@pytest.fixture
def dsn(direct_dsn: str) -> str:
    """Return the database itself: what is measured is a server."""
    return direct_dsn


def test_a_run_that_was_not_valid_ends_with_1_and_says_why(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Losing:
        HEADLINE = ("tasks_per_s",)

        @staticmethod
        def run(_: Bench) -> Outcome:
            outcome = outcome_of(1.0)
            outcome.require(False, "3 tasks never ran")
            return outcome

    monkeypatch.setattr(harness, "scenario", lambda _: Losing)

    done = CliRunner().invoke(main, ["run", "drain", "--json", "--dsn", server, "--out", str(tmp_path)])

    assert done.exit_code == 1
    assert "INVALID drain: 3 tasks never ran" in done.stderr
    assert json.loads(done.stdout)["valid"] is False


def test_a_run_in_which_the_worker_waited_for_the_producer_is_not_valid(dsn: str, conn: psycopg.Connection) -> None:
    outcome = Outcome("pinned")
    few = Plan(1.5, 0.75, ahead=50, order={"concurrency": 5})

    with psycopg.connect(dsn, autocommit=True) as other:
        app.declare(conn)
        Flow(other, dsn, few).run(outcome, "few wait", 0)

    (problem,) = outcome.problems
    assert problem.startswith("few wait, repetition 1: producer-bound")
    assert [moment.case for moment in outcome.series] == ["few wait"] * 2


def test_top_level_figures_stand_beside_the_cases() -> None:
    found = as_json(outcome_of(1.0, 5.0, 3.0), {"rate": ("1 process", "tasks_per_s"), "other": ("no such case", "x")})

    assert found["rate"] == 3.0
    assert "other" not in found


def test_the_drain_has_its_three_figures_at_the_top() -> None:
    assert set(harness.scenario("drain").TOP) == {"rate", "raw_sql_rate", "ratio_to_raw_sql"}


def test_a_series_reads_back_as_it_was_written_and_is_drawn(tmp_path: Path) -> None:
    outcome = Outcome("pinned")
    outcome.add("held", 0, {"tasks_per_s": 2.0})
    outcome.series += [Moment("held", 0, at, {"tasks_per_s": at, "waiting": 3.0}) for at in (5.0, 10.1)]
    outcome.series += [Moment("free", 0, 5.0, {"tasks_per_s": 4.0})]

    report.write(tmp_path, MANIFEST, [outcome])

    assert report.read(tmp_path)[1] == [outcome]
    pytest.importorskip("matplotlib")
    assert pictures.draw(tmp_path, [outcome]) == ["pinned.png", "pinned-series.png"]
    assert (tmp_path / "pinned-series.png").read_bytes().startswith(b"\x89PNG")
    assert "![pinned-series.png]" in (tmp_path / "SUMMARY.md").read_text()


def test_a_tally_knows_what_was_lost_and_what_ran_twice(tmp_path: Path) -> None:
    one, other = (Tally.make(tmp_path / name, 10) for name in ("one", "other"))
    for i in (0, 1, 2, 2, 9):
        one.note(i)
    for i in (1, 3):
        other.note(i)

    assert (one.count, one.doubled, Tally(tmp_path / "one").count) == (5, 1, 5)
    assert missing([one, other], 10) == 5
    assert doubled([one, other]) == 2


def test_waits_are_known_to_a_few_hundredths(tmp_path: Path) -> None:
    tally = Tally.make(tmp_path / "tally", 1)
    waits = [random.lognormvariate(1, 1) for _ in range(5_000)]
    for wait in waits:
        tally.note_wait(int(wait * 1e6))

    for share in (0.5, 0.99):
        exact = sorted(waits)[int(share * len(waits))]
        assert percentile(tally.waits, share) == pytest.approx(exact, rel=0.07)
    assert isnan(percentile([0] * BUCKETS, 0.5))
    assert [bucket(-5), bucket(0), bucket(1 << 60)] == [0, 0, BUCKETS - 1]


def test_a_bell_that_is_not_what_its_turn_says_is_a_problem(dsn: str, conn: psycopg.Connection) -> None:
    app.declare(conn)
    with Bell(dsn) as bell:
        for which in ("ours", "no_notify", "rung", "always"):
            with bell.set(which):
                noop.enqueue(conn, i=0)
                assert bell.problems(which, conn) == []
        with bell.set("ours"):
            noop.enqueue(conn, i=0)
            assert bell.problems("rung", conn) == ["rung: a listener heard 0 rings"]
            assert bell.problems("no_notify", conn) == ["no_notify: an enqueue holds 1 advisory locks"]


def test_a_horizon_that_was_not_held_to_the_end_is_a_problem(dsn: str, conn: psycopg.Connection) -> None:
    held_outcome, lost = Outcome("pinned"), Outcome("pinned")

    with held(dsn, held_outcome, "here"):
        pass
    with held(dsn, lost, "here"):
        conn.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where backend_xmin is not null"
                     " and pid <> pg_backend_pid() and datname = current_database()")  # fmt: skip

    assert held_outcome.problems == []
    assert lost.problems == ["here: the transaction did not hold the horizon"]


def test_every_piece_that_is_taken_out_is_there() -> None:
    line = [sys.executable, "-c", "from benchmarks import ablation; ablation.take_out(ablation.OUT)"]
    done = subprocess.run(line, check=False, cwd=ROOT, capture_output=True, text=True, timeout=30)

    assert done.returncode == 0, done.stderr
    assert {piece for pieces in ablations.FLOWS.values() for piece in pieces} | {"doorbell"} == set(ablation.OUT)


def test_memory_that_grows_has_a_slope() -> None:
    moments = [
        Moment("x", 0, at * 36.0, {"rss_mb": 40 + at * 0.01, "connections": 5.0, "fds": 20.0 + at % 2})
        for at in range(100)
    ]

    found = soak.slopes(moments)

    assert found["rss_slope_mb_per_h"] == pytest.approx(1.0)
    assert (found["connections_min"], found["connections_max"], found["fds_max"]) == (5.0, 5.0, 21.0)


def test_cases_are_chosen_by_parts_of_their_names() -> None:
    assert Bench("", False, 1, quietly).wants("anything")
    chosen = Bench("", False, 1, quietly, cases=("held", "free"))
    assert [name for name in ("a held one", "a free one", "another") if chosen.wants(name)] == [
        "a held one",
        "a free one",
    ]
    assert Bench("", True, 1, quietly, seconds=7).length(120, 3) == 7
