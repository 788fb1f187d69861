"""The table of all scenarios of faults: the ledger's figures of each, and what else it measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pgq.embedded import binaries

COLUMNS = ("acked", "runs", "lost", "unexpected", "overlap", "stuck", "doubled")
BEGIN, END = "<!-- table: written by pytest -m fault --keep-table -->\n", "<!-- end of table -->\n"
BEGIN_SUM, END_SUM = "<!-- sum: written by pytest -m fault --keep-table -->\n", "<!-- end of sum -->\n"


@dataclass(slots=True)
class Scenario:
    """One test of a fault; `figures` are the ledger's, where it had one."""

    place: tuple[str, int]  # file and line
    name: str
    failed: bool = False
    seconds: float = 0.0
    figures: Mapping[str, int] = field(default_factory=dict)
    measured: list[str] = field(default_factory=list)

    @property
    def cells(self) -> list[str]:
        """The ledger's figures, a dash for what it has none of."""
        return [str(self.figures.get(column, "-")) for column in COLUMNS]


def options(parser: pytest.Parser) -> None:
    """Add the options of tests of faults."""
    group = parser.getgroup("faults")
    long_help = "let every scenario of a fault last this many times as long: 120 makes an hour of half a minute"
    group.addoption("--long", type=float, default=1.0, metavar="TIMES", help=long_help)
    keep_help = "write the table of faults, or its sum, where a page has a place for it, or into a new page; many"
    group.addoption("--keep-table", action="append", default=[], type=Path, metavar="PAGE", help=keep_help)


def allow_time(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Let tests of faults last as long as `--long` makes them."""
    longer = config.getoption("long")
    for item in items:
        if longer > 1 and item.get_closest_marker("fault"):
            given = item.get_closest_marker("timeout")
            allowed = float(given.args[0] if given else config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(allowed * longer), append=False)


def show(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table at the end of a run, and keep it where that is asked for."""
    found = [] if hasattr(config, "workerinput") else scenarios(reporter)  # one table, by the process that has all
    if not found:
        return
    reporter.section("faults")
    for line in as_text(found):
        reporter.write_line(line)
    failed = sum(one.failed for one in found)
    for page in config.getoption("keep_table"):
        if failed:
            reporter.write_line(f"{page} is left as it was: {failed} of {len(found)} scenarios failed")
        else:
            keep(page, found, config.invocation_params.args)


def scenarios(reporter: pytest.TerminalReporter) -> list[Scenario]:
    """Return what ran, in the order of its files; by way of the reports, which come from other processes too."""
    by_test: dict[str, list[pytest.TestReport]] = defaultdict(list)
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and "fault" in report.keywords:
                by_test[report.nodeid].append(report)
    ran = (reports for reports in by_test.values() if not any(one.skipped for one in reports))
    return sorted(map(_scenario, ran), key=lambda one: (one.place, one.name))


def _scenario(reports: Sequence[pytest.TestReport]) -> Scenario:
    file, line, test = reports[0].location
    scenario = Scenario((file, line or 0), test.removeprefix("test_").replace("_", " "))
    for report in sorted(reports, key=lambda one: len(one.user_properties)):
        scenario.failed |= report.failed
        scenario.seconds += report.duration
        said = [tuple(pair) for pair in report.user_properties]
        scenario.figures = dict(said).get("account", {})
        scenario.measured = [str(text) for kind, text in said if kind == "measured"]
    return scenario


def total(found: Sequence[Scenario]) -> Scenario:
    """Return the sums of all scenarios."""
    with_figures = [one.figures for one in found if one.figures]
    sums = {column: sum(figures[column] for figures in with_figures) for column in COLUMNS}
    seconds = sum(one.seconds for one in found)
    return Scenario(("", 0), f"all {len(found)} scenarios", any(one.failed for one in found), seconds, sums)


def as_text(found: Sequence[Scenario]) -> Iterator[str]:
    """Yield the lines for a terminal; what was measured stands below its scenario."""
    yield " ".join(f"{column:>10}" for column in (*COLUMNS, "seconds")) + "  scenario"
    for one in (*found, total(found)):
        figures = " ".join(f"{cell:>10}" for cell in (*one.cells, f"{one.seconds:.0f}"))
        yield f"{figures}  {one.name}{': FAILED' if one.failed else ''}"
        yield from (f"{'':90}  {text}" for text in one.measured)


def as_markdown(found: Sequence[Scenario]) -> Iterator[str]:
    """Yield the lines for a page."""
    yield " | ".join(("| scenario", *COLUMNS, "seconds", "measured |"))
    yield "| --- |" + " ---: |" * (len(COLUMNS) + 1) + " --- |"
    for one in (*found, total(found)):
        yield " | ".join((f"| {one.name}", *one.cells, f"{one.seconds:.0f}", "; ".join(one.measured) + " |"))


def as_sentence(found: Sequence[Scenario]) -> str:
    """Return the sums as a sentence."""
    figures = total(found).figures
    said = ", ".join(f"{figures[column]:,} {column}" for column in COLUMNS[2:])
    return f"{len(found)} scenarios: {figures['acked']:,} tasks acknowledged, {figures['runs']:,} runs; {said}."


def keep(page: Path, found: Sequence[Scenario], arguments: Sequence[str]) -> None:
    """Write the table, or its sum, into its section of a page, with what it was measured on; a new page is a table."""
    version = subprocess.run([binaries.find_postgres() / "postgres", "--version"], capture_output=True, check=True)
    machine = f"{os.cpu_count()} processors, Python {platform.python_version()}, {version.stdout.decode().strip()}"
    said = f"`pytest {' '.join(arguments)}`, {time.strftime('%Y-%m-%d', time.gmtime())}: {machine}.\n"
    text = page.read_text() if page.exists() else f"# Faults\n\n{BEGIN}{END}"
    text = _between(text, BEGIN, END, said + "\n" + "".join(f"{line}\n" for line in as_markdown(found)))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_between(text, BEGIN_SUM, END_SUM, f"{as_sentence(found)}\n{said}"))


def _between(text: str, begin: str, end: str, said: str) -> str:
    """Return a page with something said in one section of it, if it has that."""
    before, there, rest = text.partition(begin)
    return f"{before}{begin}\n{said}\n{end}{rest.partition(end)[2]}" if there else text
