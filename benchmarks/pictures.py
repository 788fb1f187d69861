"""Pictures of a result, where matplotlib is installed: bars of the headlines, lines of what was seen on the way."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import scenario
from benchmarks.results import Outcome, Spread, number, spreads

WIDE = 30  # most to least, from which on a linear axis would hide the small ones


def draw(directory: Path, outcomes: Sequence[Outcome]) -> list[str]:
    """Draw one picture per scenario, two where it has a series; returns their names, none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    importlib.import_module("matplotlib").use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    names = []
    for outcome in outcomes:
        figures = {"": _bars(pyplot, outcome) if outcome.samples else None}
        figures["-series"] = _lines(pyplot, outcome) if outcome.series else None
        for suffix, figure in figures.items():
            if figure is not None:
                names.append(f"{outcome.scenario}{suffix}.png")
                figure.savefig(directory / names[-1], dpi=110)
    pyplot.close("all")
    return names


def _bars(pyplot: Any, outcome: Outcome) -> Any:
    """Return a figure: one row of bars per headline metric, one bar per case that has it, least to most a line."""
    rows = _rows(outcome)
    heights = [0.8 + 0.3 * len(cases) for cases in rows.values()]
    figure, axes = pyplot.subplots(
        len(rows), 1, figsize=(9, 0.5 + sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
    )
    for (metric, cases), axis in zip(rows.items(), axes[:, 0], strict=True):
        found = list(cases.values())
        bars = axis.barh(list(cases), [spread.median for spread in found], xerr=_reach(found), capsize=3)
        axis.bar_label(bars, labels=[number(spread.median) for spread in found], padding=6)
        wide = max(spread.max for spread in found) > WIDE * min(spread.min for spread in found)
        axis.set_xscale("log" if wide else "linear")
        axis.set_title(f"{metric} (logarithmic)" if wide else metric, loc="left", fontsize=10)
        axis.invert_yaxis()
        axis.margins(x=0.15)
    return figure


def _lines(pyplot: Any, outcome: Outcome) -> Any:
    """Return a figure: one axis per metric over the seconds, a line per case and repetition, a colour per case."""
    metrics = list(dict.fromkeys(metric for moment in outcome.series for metric in moment.metrics))
    cases = list(dict.fromkeys(moment.case for moment in outcome.series))
    figure, axes = pyplot.subplots(
        len(metrics), 1, figsize=(9, 0.6 + 2.2 * len(metrics)), layout="constrained", squeeze=False, sharex=True
    )
    for metric, axis in zip(metrics, axes[:, 0], strict=True):
        lines: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for moment in outcome.series:
            if metric in moment.metrics:
                lines.setdefault((moment.case, moment.repetition), []).append((moment.at, moment.metrics[metric]))
        for (case, repetition), points in lines.items():
            label = case if (case, repetition - 1) not in lines else None
            axis.plot(*zip(*points, strict=True), label=label, color=f"C{cases.index(case) % 10}", linewidth=1.2)
        axis.set_title(metric, loc="left", fontsize=10)
        axis.set_ylim(0, axis.get_ylim()[1] * 1.1)
        axis.legend(fontsize=8)
    axes[-1, 0].set_xlabel("seconds")
    return figure


def _rows(outcome: Outcome) -> dict[str, dict[str, Spread]]:
    """Return for each headline metric the cases that have it."""
    cases = spreads(outcome)
    metrics = scenario(outcome.scenario).HEADLINE
    rows = {metric: {case: found[metric] for case, found in cases.items() if metric in found} for metric in metrics}
    return {metric: row for metric, row in rows.items() if row}


def _reach(found: Sequence[Spread]) -> list[list[float]]:
    return [[s.median - s.min for s in found], [s.max - s.median for s in found]]
