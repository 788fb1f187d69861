"""The table of faults adds up, and is written into its own section of the page and nowhere else."""

from __future__ import annotations

from pathlib import Path

from fault_table import BEGIN, BEGIN_SUM, COLUMNS, END, END_SUM, Scenario, as_text, keep, total


def scenario(name: str, lost: int, *measured: str) -> Scenario:
    return Scenario(("test_x.py", 1), name, False, 2.0, dict.fromkeys(COLUMNS, 1) | {"lost": lost}, list(measured))


def test_the_last_row_is_the_sum_of_those_that_have_figures() -> None:
    summed = total([scenario("a", 0), scenario("b", 3), Scenario(("test_y.py", 1), "c", failed=True)])
    assert (summed.figures["lost"], summed.figures["acked"]) == (3, 2)
    assert (summed.failed, summed.seconds) == (True, 4.0)


def test_the_text_says_what_was_measured_below_its_scenario() -> None:
    lines = list(as_text([scenario("a kill", 0, "back after 1.0 s"), Scenario(("test_y.py", 1), "c", failed=True)]))
    assert lines[1].split() == ["1", "1", "0", "1", "1", "1", "1", "2", "a", "kill"]
    assert lines[2].strip() == "back after 1.0 s"
    assert lines[3].split() == [*"-------", "0", "c:", "FAILED"]


def test_a_new_table_takes_the_old_one_s_place_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    for name in ("first", "second"):
        keep(page, [scenario(name, 0, "x", "y")], ["-m", "fault"])
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n`pytest -m fault`, ")
    assert text.endswith(f"\n{END}after\n")
    assert "| second | 1 | 1 | 0 | 1 | 1 | 1 | 1 | 2 | x; y |\n" in text
    assert "first" not in text
    assert "old" not in text


def test_a_page_that_has_room_for_the_sum_gets_that_and_a_new_one_a_table(tmp_path: Path) -> None:
    readme, fresh = tmp_path / "README.md", tmp_path / "2026-long" / "SUMMARY.md"
    readme.write_text(f"before\n{BEGIN_SUM}old\n{END_SUM}after\n")
    for page in (readme, fresh):
        keep(page, [scenario("first", 0), scenario("second", 3)], ["-m", "fault"])
    said = "2 scenarios: 2 tasks acknowledged, 2 runs; 3 lost, 2 unexpected, 2 overlap, 2 stuck, 2 doubled."
    assert readme.read_text().startswith(f"before\n{BEGIN_SUM}\n{said}\n`pytest -m fault`, ")
    assert readme.read_text().endswith(f"\n{END_SUM}after\n")
    assert "| first | 1 | 1 | 0 |" in fresh.read_text()
