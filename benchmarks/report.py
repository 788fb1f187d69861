"""A result: manifest, raw.csv, series.csv, perhaps checks.jsonl, SUMMARY.md and pictures in one dated directory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import checks, pictures
from benchmarks.harness import scenario
from benchmarks.results import Moment, Outcome, Spread, as_json, number, spreads

RESULTS = Path(__file__).parent / "results"
_COLUMNS = ("scenario", "case", "repetition", "metric", "value")
_SERIES = ("scenario", "case", "repetition", "at", "metric", "value")


def write(directory: Path, manifest: Mapping[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Write a result; `directory` is made."""
    directory.mkdir(parents=True, exist_ok=True)
    problems = {outcome.scenario: outcome.problems for outcome in outcomes}
    (directory / "manifest.json").write_text(json.dumps({**manifest, "problems": problems}, indent=2) + "\n")
    samples = [
        (outcome.scenario, sample.case, sample.repetition, *pair)
        for outcome in outcomes
        for sample in outcome.samples
        for pair in sample.metrics.items()
    ]
    moments = [
        (outcome.scenario, moment.case, moment.repetition, moment.at, *pair)
        for outcome in outcomes
        for moment in outcome.series
        for pair in moment.metrics.items()
    ]
    _write(directory / "raw.csv", _COLUMNS, samples)
    (directory / "series.csv").unlink(missing_ok=True)  # one of another run that was written to the same place
    if moments:
        _write(directory / "series.csv", _SERIES, moments)
    summarise(directory)


def read(directory: Path) -> tuple[dict[str, Any], list[Outcome]]:
    """Read a result back."""
    manifest = json.loads((directory / "manifest.json").read_text())
    outcomes = {name: Outcome(name, [], problems) for name, problems in manifest["problems"].items()}
    for (name, case, repetition), values in _read(directory / "raw.csv", _COLUMNS).items():
        outcomes[name].add(case, int(repetition), values)
    for (name, case, repetition, at), values in _read(directory / "series.csv", _SERIES).items():
        outcomes[name].series.append(Moment(case, int(repetition), float(at), values))
    return manifest, list(outcomes.values())


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def _read(path: Path, columns: Sequence[str]) -> dict[tuple[str, ...], dict[str, float]]:
    """Return the metrics of a file by everything that stands before them; none when there is no file."""
    metrics: dict[tuple[str, ...], dict[str, float]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                key = tuple(row[column] for column in columns[:-2])
                metrics.setdefault(key, {})[row["metric"]] = float(row["value"])
    return metrics


def added(
    directory: Path, manifest: Mapping[str, Any], outcomes: Sequence[Outcome]
) -> tuple[dict[str, Any], list[Outcome]]:
    """Return the result of a directory with more repetitions; the manifest stays that of the first."""
    if not (directory / "manifest.json").exists():
        return dict(manifest), list(outcomes)
    first, before = read(directory)
    joined = {outcome.scenario: outcome for outcome in before}
    for outcome in outcomes:
        joined.setdefault(outcome.scenario, Outcome(outcome.scenario)).join(outcome)
    further = [*first.get("further", []), f"`{manifest['command']}` at {manifest['started_at']}"]
    grown = {name: {**first.get(name, {}), **manifest.get(name, {})} for name in ("peers", "left_out")}
    return {**first, **grown, "further": further}, list(joined.values())


def directory(keep: str) -> Path:
    """Return where a new result goes: dated when it is kept, else with the time of day."""
    now = datetime.now(UTC)
    return RESULTS / (f"{now:%Y-%m-%d}-{keep}" if keep else f"local-{now:%Y%m%d-%H%M%S}")


def show(directory: Path, outcomes: Sequence[Outcome], say: Callable[[str], None], *, as_lines: bool) -> None:
    """Say what is not valid, and print one JSON object per scenario, or the summary."""
    for outcome in outcomes:
        for problem in outcome.problems:
            say(f"INVALID {outcome.scenario}: {problem}")
        if as_lines:
            print(json.dumps(as_json(outcome, getattr(scenario(outcome.scenario), "TOP", {}))))
    if not as_lines:
        print((directory / "SUMMARY.md").read_text())


def summarise(directory: Path) -> str:
    """Write SUMMARY.md and the pictures from manifest.json and raw.csv; returns the summary."""
    manifest, outcomes = read(directory)
    drawn = pictures.draw(directory, outcomes)
    text = summary(directory.name, manifest, outcomes, drawn, checks.read(directory))
    (directory / "SUMMARY.md").write_text(text)
    return text


def latest() -> Path:
    """Return the directory of the newest result. Raises FileNotFoundError."""
    found = sorted(RESULTS.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"no results in {RESULTS}")
    return found[-1].parent


def summary(
    title: str,
    manifest: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    drawn: Sequence[str],
    checked: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return SUMMARY.md."""
    lines = [f"# {title}", "", *_origin(manifest), ""]
    for outcome in outcomes:
        lines += [f"## {outcome.scenario}", "", *_tables(outcome), *_remarks(outcome)]
        lines += [f"**Invalid:** {problem}" for problem in outcome.problems]
    lines += checks.tables(checked)
    lines += [f"![{name}]({name})" for name in drawn] or ["No pictures: matplotlib is not installed (extra `bench`)."]
    return "\n".join(lines) + "\n"


def _origin(manifest: Mapping[str, Any]) -> list[str]:
    machine, settings, versions = manifest["machine"], manifest["server_settings"], manifest["versions"]
    changed = f" with {len(manifest['changed_files'])} changed files" if manifest["changed_files"] else ""
    return [
        f"`{manifest['command']}` at {manifest['started_at']}, commit {manifest['commit'][:12] or 'unknown'}{changed}.",
        f"{machine['cpus']} x {machine['cpu']}, {machine['memory']}; {machine['system']}.",
        f"Load before the run {machine['load_average_before'][0]:.2f}; server, clients and workers share the machine.",
        ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        *([f"Redis: {_settings(manifest['redis_settings'])}."] if manifest.get("redis_settings") else []),
        f"Postgres: {_settings(settings)}.",
        *(f"Further repetitions: {further}." for further in manifest.get("further", [])),
        "Each figure is the median of the repetitions (least to most).",
        *_peers(manifest),
    ]


def _peers(manifest: Mapping[str, Any]) -> list[str]:
    if "peers" not in manifest:
        return []
    lines = ["", "| | version | settings | what is left of a task that is done |", "|---|---|---|---|"]
    for name, peer in manifest["peers"].items():
        lines.append(f"| {name} | {peer['version']} | {peer['settings']} | {peer['retention']} |")
    return [*lines, "", *(f"Left out: {name}: {reason}." for name, reason in manifest["left_out"].items())]


def _remarks(outcome: Outcome) -> list[str]:
    """Return what a scenario has to say of its figures."""
    remarks: Callable[[Outcome], list[str]] | None = getattr(scenario(outcome.scenario), "remarks", None)
    return remarks(outcome) if remarks else []


def _settings(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


def _tables(outcome: Outcome) -> list[str]:
    """Return a table for all cases that have the same metrics, and one more for each other set of metrics."""
    groups: dict[tuple[str, ...], dict[str, dict[str, Spread]]] = {}
    for case, found in spreads(outcome).items():
        groups.setdefault(tuple(found), {})[case] = found
    return [line for metrics, cases in groups.items() for line in (*_table(metrics, cases), "")]


def _table(metrics: Sequence[str], cases: Mapping[str, Mapping[str, Spread]]) -> list[str]:
    lines = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for case, found in cases.items():
        cells = (_cell(found[metric]) for metric in metrics)
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return lines


def _cell(spread: Spread) -> str:
    if spread.min == spread.max:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.min)} to {number(spread.max)})"
