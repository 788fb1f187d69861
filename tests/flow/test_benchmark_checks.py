"""What a test keeps beside a benchmark's result: a line a run, a table a check, and sums of what can be added up."""

from __future__ import annotations

from pathlib import Path

from benchmarks import checks


def test_runs_of_a_check_add_up_and_times_do_not(tmp_path: Path) -> None:
    folder = tmp_path / "result"
    for first, took in ((7, 2.5), (9, 3.5)):
        checks.keep(folder, "random traces", "pytest x", {"first_seed": first, "traces": 1_000, "took_s": took})
    checks.keep(folder, "storm", "pytest y", {"faults": 20})
    kept = checks.read(folder)
    assert [one["check"] for one in kept] == ["random traces", "random traces", "storm"]
    assert all(one["started_at"] and one["command"].startswith("pytest") for one in kept)
    lines = checks.tables(kept)
    assert lines.count("## random traces") == lines.count("## storm") == 1
    assert "| | first_seed | traces | took_s |" in lines
    assert "| in all |  | 2,000 |  |" in lines
    assert [line for line in lines if line.startswith("| in all")] == ["| in all |  | 2,000 |  |"]
    assert lines[-2].endswith("| 20 |")


def test_a_result_without_checks_shows_none(tmp_path: Path) -> None:
    assert checks.tables(checks.read(tmp_path)) == []
